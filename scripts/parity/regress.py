"""A regression model fine-tuned by Quern loads in transformers and gives the same outputs to 1e-4."""
from common import ODD_TEXTS, Workplace, check, check_close, finish, quern, quern_logits, small_start, transformers_logits, wordnet

with Workplace() as place:
    rows = [{"text": r["text"], "score": round(len(r["text"].split()) / 10, 3)} for r in wordnet("train", 1500)]
    train = place.tsv("train.tsv", rows)
    texts = [r["text"] for r in wordnet("test", 300)] + ODD_TEXTS
    output = place.file("model")
    quern("finetune", "--task", "regress", *small_start(place)[0], "--train-file", train, "--output-dir", output,
          "--learning-rate", "1e-3", "--per-device-train-batch-size", 32, "--max-steps", 30, "--seed", 7)
    theirs, config = transformers_logits(output, texts)
    check("the configuration says regression", config.problem_type == "regression" and config.num_labels == 1,
          f"problem_type {config.problem_type}, {config.num_labels} output")
    check_close("outputs", quern_logits(output, texts).reshape(len(texts), -1), theirs, 1e-4)
finish()
