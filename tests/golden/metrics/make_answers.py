"""Writes answers.json beside this file: predictions, right answers, and the exact match and F1 of SQuAD's evaluation script, whose formulas
(normalise, compare, bags of words, best of the right answers) are written out here.

Usage: python make_answers.py
"""
import collections
import json
import os
import random
import re
import string

PIECES = ["the", "The", "a", "an", "An", "mill", "Mill's", "grinds", "corn,", "1,000.5", "\u00dcber", "\u0130stanbul", "\u4e2d\u6587", "the-end", "\u00a0",
          "a.", "-", "(see)", "\u201cquoted\u201d", "an\u00e9", "stra\u00dfe", "\t", "U.S.", "don't", "e\u0301a"]


def normalize(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(prediction, gold):
    a, b = normalize(prediction).split(), normalize(gold).split()
    if not a or not b:
        return float(a == b)
    same = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 2 * same / (len(a) + len(b)) if same else 0.0


def main():
    rng = random.Random(4)
    def text():
        return " ".join(rng.choice(PIECES) for _ in range(rng.randint(0, 6)))
    cases = []
    for i in range(150):
        gold = [t for t in (text() for _ in range(rng.randint(0, 3))) if t]
        prediction = rng.choice(gold).upper() if gold and i % 4 == 0 else text()
        right = gold or [""]
        cases.append({"prediction": prediction, "gold": gold, "normalized": normalize(prediction),
                      "exact": any(normalize(prediction) == normalize(g) for g in right), "f1": max(f1(prediction, g) for g in right)})
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers.json"), "w") as file:
        json.dump(cases, file, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
