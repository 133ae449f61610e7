"""Writes tagging.json beside this file: sequences of tags and what seqeval says of them, in its default mode and strictly.

Usage: python make_tagging.py (needs seqeval; made with seqeval 1.2.2). Predictions are gold tags with random changes, so that sequences
which are not well-formed occur as often as a model makes them.
"""
import json
import os
import random
import warnings

from seqeval.metrics import accuracy_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient
from seqeval.metrics.v1 import precision_recall_fscore_support as strict
from seqeval.scheme import IOB2, IOBES

warnings.filterwarnings("ignore")
TYPES = ["LOC", "PER", "x-y"]


def sentence(rng, scheme):
    tags = []
    for _ in range(rng.randint(0, 6)):
        if rng.random() < 0.4:
            tags += ["O"] * rng.randint(1, 3)
            continue
        kind, length = rng.choice(TYPES), rng.choice([1, 1, 2, 3, 4])
        if scheme == "BIO":
            tags += ["B-" + kind] + ["I-" + kind] * (length - 1)
        else:
            tags += ["S-" + kind] if length == 1 else ["B-" + kind] + ["I-" + kind] * (length - 2) + ["E-" + kind]
    return tags or ["O"]


def scores(gold, predicted, scheme):
    out = {"accuracy": accuracy_score(gold, predicted)}
    for name, score, options in (("lenient", lenient, {}), ("strict", strict, {"scheme": scheme})):
        micro, macro, weighted = (score(gold, predicted, average=a, **options) for a in ("micro", "macro", "weighted"))
        out[name] = {"precision": micro[0], "recall": micro[1], "f1": micro[2], "macro_precision": macro[0], "macro_recall": macro[1],
                     "macro_f1": macro[2], "weighted_f1": weighted[2]}
    return {k: {n: float(x) for n, x in v.items()} if isinstance(v, dict) else float(v) for k, v in out.items()}


def main():
    rng = random.Random(3)
    cases = []
    for scheme, token, prefixes in (("BIO", IOB2, "BI"), ("BIOES", IOBES, "BIES")):
        labels = ["O"] + [p + "-" + t for p in prefixes for t in TYPES]
        for noise in (0, 0.1, 0.3, 1):
            gold = [sentence(rng, scheme) for _ in range(12)]
            predicted = [[rng.choice(labels) if rng.random() < noise else t for t in s] for s in gold]
            cases.append({"labels": labels, "gold": gold, "predicted": predicted, "scores": scores(gold, predicted, token)})
        nothing = [["O"] * len(s) for s in gold]
        cases.append({"labels": labels, "gold": gold, "predicted": nothing, "scores": scores(gold, nothing, token)})
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tagging.json"), "w") as file:
        json.dump(cases, file)
        file.write("\n")


if __name__ == "__main__":
    main()
