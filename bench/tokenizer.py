#!/usr/bin/env python3
"""Quern's tokenizer beside Hugging Face tokenizers on the same texts, one thread each, processor time: encoding of English and of mixed
scripts, and learning a vocabulary from 100 MB.

    python3 bench/tokenizer.py --bench build/release/bench_tokenizer [--megabytes 100]
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scripts", "parity"))
from common import minilm, wordnet
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

# Letters of living scripts, in words of 2 to 8 letters; a line keeps to one script.
SCRIPTS = [[(0x61, 0x7A), (0xDF, 0xFF)], [(0x410, 0x44F)], [(0x3B1, 0x3C9)], [(0x621, 0x64A)], [(0x5D0, 0x5EA)], [(0x905, 0x939), (0x93E, 0x94C)],
           [(0xE01, 0xE30)], [(0x4E00, 0x8000)], [(0x3042, 0x3093), (0x30A2, 0x30F3)], [(0xAC00, 0xD7A3)], [(0x1F600, 0x1F64F)]]


def mixed(rng):
    script = rng.choice(SCRIPTS)
    letter = lambda: chr(rng.randint(*rng.choice(script)))
    return " ".join("".join(letter() for _ in range(rng.randint(2, 8))) for _ in range(rng.randint(4, 24))) + "."


def ours(bench, *arguments):
    return subprocess.run([bench, *map(str, arguments)], check=True, capture_output=True, text=True).stdout.strip()


def encoding(bench, name, lines, folder):
    path = os.path.join(folder, "lines.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    size = os.path.getsize(path)
    tokenizer = Tokenizer.from_file(os.path.join(minilm(), "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    best = {}
    for _ in range(3):
        for what, run in (("encode", lambda: [tokenizer.encode(line) for line in lines]), ("encode_batch_fast", lambda: tokenizer.encode_batch_fast(lines))):
            start = time.process_time()
            run()
            best[what] = min(best.get(what, 1e9), time.process_time() - start)
    quern = ours(bench, "encode", minilm(), path)
    speed = float(quern.split()[0])
    print(f"{name}, {size / 1e6:.1f} MB: quern {quern}")
    for what, seconds in best.items():
        print(f"  tokenizers {what} {size / seconds / 1e6:.2f} MB/s; quern is {speed / (size / seconds / 1e6):.1f} times as fast", flush=True)


def learning(bench, megabytes, folder):
    path = os.path.join(folder, "raw.txt")
    rng = random.Random(1)
    glosses = [r["text"] for r in wordnet("train")]
    words = sorted({w for g in glosses for w in g.split()})
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < megabytes * 1e6:  # glosses, with some words made of two, so that there are many different ones
            line = rng.choice(glosses) + " " + rng.choice(words) + rng.choice(words) + "\n"
            written += len(line.encode())
            file.write(line)
    quern = ours(bench, "train", path, 30000)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    start = time.process_time()
    tokenizer.train([path], trainers.WordPieceTrainer(vocab_size=30000, min_frequency=2, limit_alphabet=1000, special_tokens=special, show_progress=False))
    seconds = time.process_time() - start
    print(f"learning: quern {quern}\n  tokenizers {seconds:.2f} s; quern is {seconds / float(quern.split()[0]):.1f} times as fast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/release/bench_tokenizer")
    parser.add_argument("--megabytes", type=float, default=100)
    arguments = parser.parse_args()
    rng = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        encoding(arguments.bench, "English", [r["text"] for r in wordnet("train")], folder)
        encoding(arguments.bench, "mixed scripts", [mixed(rng) for _ in range(40000)], folder)
        print(ours(arguments.bench, "hostile", minilm()))
        learning(arguments.bench, arguments.megabytes, folder)


if __name__ == "__main__":
    main()
