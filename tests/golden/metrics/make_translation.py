"""Writes translation.json beside this file: segments and what sacrebleu says of them, each alone and all together.

Usage: python make_translation.py (needs sacrebleu; made with sacrebleu 2.6).
"""
import json
import os
import random

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

PIECES = ["the", "The", "mill", "grinds", "1,000.5", "grain.", "...", "a-b", "3-4", "$5", "(see)", "don't", "\u00fcber", "\u4e2d\u6587", "&amp;",
          "&quot;x&quot;", "end.", "3.", ".5", ",", "-", "x,y", "<skipped>", "\u00ab\u00bb", "\U0001F600", "a/b", "[1]", "e.g.", "10%", "2,", "\u3000", "\u00a0"]


def segments(rng, count):
    for _ in range(count):
        reference = [rng.choice(PIECES) for _ in range(rng.randint(0, 14))]
        output = [w for w in reference if rng.random() > 0.2]
        for _ in range(rng.randint(0, 3)):
            output.insert(rng.randint(0, len(output)), rng.choice(PIECES))
        second = [w for w in reference if rng.random() > 0.3] + ["grain"]
        yield " ".join(output), [" ".join(reference), " ".join(second)]


def scores(outputs, references):
    bleu, chrf = BLEU().corpus_score(outputs, references), CHRF().corpus_score(outputs, references)
    return {"bleu": bleu.score, "precisions": bleu.precisions, "brevity": bleu.bp, "length_ratio": bleu.ratio, "chrf": chrf.score}


def main():
    cases = list(segments(random.Random(1), 60))
    cases += [("", ["a reference"]), ("an output", [""]), ("", [""]), ("same words here now", ["same words here now"]), ("-", ["x-\ny z"]), ("a b", ["c d"])]
    cases = [(o, r if len(r) == 2 else r * 2) for o, r in cases]
    outputs, references = [o for o, _ in cases], [[r[0] for _, r in cases], [r[1] for _, r in cases]]
    result = {"cases": [{"output": o, "references": r, "scores": scores([o], [[x] for x in r])} for o, r in cases],
              "first": scores(outputs, references[:1]), "both": scores(outputs, references)}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "translation.json"), "w") as file:
        json.dump(result, file, indent=0)
        file.write("\n")
    print(sacrebleu.__version__)


main()
