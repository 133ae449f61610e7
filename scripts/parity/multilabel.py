"""A multi-label classifier fine-tuned by Quern loads in transformers and gives the same logits to 1e-4."""
import json

from common import ODD_TEXTS, Workplace, check, check_close, finish, quern, quern_logits, small_start, transformers_logits, wordnet

with Workplace() as place:
    words = ["of", "a", "the", "person", "genus"]
    rows = [{"text": r["text"], "label": [w for w in words if w in r["text"].split()]} for r in wordnet("train", 1500)]
    train = place.file("train.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    texts = [r["text"] for r in wordnet("test", 300)] + ODD_TEXTS
    output = place.file("model")
    quern("finetune", "--task", "classify", "--multi-label", *small_start(place)[0], "--train-file", train, "--output-dir", output,
          "--learning-rate", "1e-3", "--per-device-train-batch-size", 32, "--max-steps", 30, "--seed", 7)
    theirs, config = transformers_logits(output, texts)
    check("the configuration says multi-label", config.problem_type == "multi_label_classification" and config.num_labels == len(words),
          f"problem_type {config.problem_type}, {config.num_labels} labels")
    check_close("logits", quern_logits(output, texts), theirs, 1e-4)
finish()
