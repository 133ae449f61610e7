"""Texts for the comparison with the peers, the same on every machine: paragraphs of mixed length, made by joining WordNet's definitions
(data/wordnet/train.tsv) of one topic. A paragraph's wanted length is drawn from a log-normal distribution with mean 50 and 95th percentile
120 tokens, as English paragraphs have; definitions are added until the length is reached as nearly as whole definitions allow."""
import csv
import os
import random

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDNET = os.path.join(ROOT, "data", "wordnet")
MEAN_LOG, DEVIATION_LOG, LONGEST = 3.688, 0.67, 250  # exp(3.688 + 0.67^2 / 2) = 50; exp(3.688 + 1.645 * 0.67) = 120


def definitions(split="train"):
    with open(os.path.join(WORDNET, split + ".tsv"), encoding="utf-8", newline="") as file:
        return [(row["label"], row["text"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def paragraphs(count, length, seed=7):
    """[(topic, text)]; length(text) is a text's number of tokens without special ones."""
    rng = random.Random(seed)
    topics = {}
    for topic, text in definitions():
        topics.setdefault(topic, []).append(text)
    names = sorted(topics)
    weights = [len(topics[name]) for name in names]
    result = []
    for _ in range(count):
        topic = rng.choices(names, weights)[0]
        wanted, have, parts = min(rng.lognormvariate(MEAN_LOG, DEVIATION_LOG), LONGEST) - 2, 0, []
        while True:
            part = rng.choice(topics[topic])
            tokens = length(part) + 1
            if parts and have + tokens / 2 > wanted:
                break
            parts.append(part)
            have += tokens
        result.append((topic, "; ".join(parts)))
    return result


def of_length(tokens, count, length, seed=11):
    """Texts of exactly `tokens` tokens without special ones: definitions cut at a word, so that their number fits."""
    rng = random.Random(seed)
    texts = [text for _, text in definitions()]
    result = []
    while len(result) < count:
        words = []
        while length(" ".join(words)) < tokens:
            words += rng.choice(texts).split()
        while words and length(" ".join(words)) > tokens:
            words.pop()
        if length(" ".join(words)) == tokens:
            result.append(" ".join(words))
    return result


def batches_padded(ratio, mean, batch, count, length, seed=13):
    """Texts for `count` batches whose longest text is `ratio` times their mean of `mean` tokens (special ones included): so padded / real is
    `ratio`. One text in four is long where the ratio allows it; the rest is equally short."""
    longest = round(ratio * mean)
    long_texts = max(1, min(batch // 4, round(batch * 0.5 / ratio)))
    short = max(3, round((batch * mean - long_texts * longest) / (batch - long_texts)))
    rng = random.Random(seed)
    texts = []
    for k in range(count):
        part = of_length(longest - 2, long_texts, length, seed + 2 * k) + of_length(short - 2, batch - long_texts, length, seed + 2 * k + 1)
        rng.shuffle(part)
        texts += part
    return texts
