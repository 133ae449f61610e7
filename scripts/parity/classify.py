"""A classifier fine-tuned by Quern loads in transformers and gives the same logits to 1e-4; from scratch and from all-MiniLM-L6-v2."""
from common import (ODD_TEXTS, Workplace, check, check_close, finish, minilm, quern, quern_logits, small_start, transformers_logits,
                    wordnet)

with Workplace() as place:
    train = place.tsv("train.tsv", [{"label": r["label"], "text": r["text"]} for r in wordnet("train", 1500)])
    labels = sorted({r["label"] for r in wordnet("train", 1500)})
    texts = [r["text"] for r in wordnet("test", 300)] + ODD_TEXTS
    for name, start in (("from scratch", small_start(place)[0]), ("all-MiniLM-L6-v2", ["--model", minilm()])):
        output = place.file(name.replace(" ", "-"))
        quern("finetune", "--task", "classify", *start, "--train-file", train, "--output-dir", output,
              "--learning-rate", "5e-4", "--per-device-train-batch-size", 32, "--max-steps", 20, "--seed", 7)
        theirs, config = transformers_logits(output, texts)
        check_close(f"logits, {name}", quern_logits(output, texts), theirs, 1e-4)
        names = [config.id2label[i] for i in range(len(config.id2label))]
        check(f"label names, {name}", sorted(names) == labels, f"{len(names)} labels")
finish()
