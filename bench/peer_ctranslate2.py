#!/usr/bin/env python3
"""Translation beside CTranslate2: the tokens a second of Quern and of CTranslate2, engines in turn, and whether they write the same.

usage: peer_ctranslate2.py MODEL PAIRS.tsv [--threads N] [--texts N] [--beam-size N] [--rounds N] [--dtypes float32 int8]
                           [--batch-tokens N ...]                    QUERN is the command, build/release/quern by default

MODEL is a folder of transformers, which is converted with CTranslate2's converter in each dtype; both engines read the converted folder.
PAIRS has the columns source and target. Both compute in the dtype that is named. A rate is the tokens of the best translations over the
time of the best round, tokens of the end not counted; CTranslate2 is given the tokens, so that cutting texts is in Quern's time alone, and
is run as one batch on all threads and as one batch for each thread, with several sizes of batches: its best figure counts.
"""
import argparse
import csv
import json
import os
import subprocess
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import ctranslate2
import sacrebleu
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.environ.get("QUERN", os.path.join(HERE, "..", "build", "release", "quern"))


def options():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("pairs")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--texts", type=int, default=500)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--beam-size", type=int, default=4)
    p.add_argument("--dtypes", nargs="*", default=["float32", "int8"])
    p.add_argument("--batch-tokens", type=int, nargs="*", default=[1024, 2048, 4096])
    p.add_argument("--work", help="keep the converted folders here")
    return p.parse_args()


def convert(model, folder, dtype):
    if not os.path.isdir(folder):
        files = [f for f in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json") if os.path.isfile(os.path.join(model, f))]
        TransformersConverter(model, copy_files=files).convert(folder, quantization=dtype)
    return folder


class Peer:
    """CTranslate2 on one converted folder."""

    def __init__(self, o, folder, dtype, texts):
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.sources = [self.tokenizer.encode(text).tokens for text in texts]
        self.options = dict(beam_size=o.beam_size, batch_type="tokens")
        self.forms = [(inter, batch) for inter in {1, o.threads} for batch in o.batch_tokens]
        self.translators = {inter: ctranslate2.Translator(folder, compute_type=dtype, inter_threads=inter, intra_threads=o.threads // inter)
                            for inter in {1, o.threads}}
        self.best = dict.fromkeys(self.forms, float("inf"))

    def round(self):
        for inter, batch in self.forms:
            begin = time.perf_counter()
            done = self.translators[inter].translate_batch(self.sources, max_batch_size=batch, **self.options)
            self.best[inter, batch] = min(self.best[inter, batch], time.perf_counter() - begin)
        self.tokens = sum(len(d.hypotheses[0]) for d in done)
        self.texts = [self.tokenizer.decode([self.tokenizer.token_to_id(t) for t in d.hypotheses[0]]) for d in done]


class Quern:
    def __init__(self, o, folder, dtype, file):
        self.folder, self.file = folder, file
        self.common = ["--threads", o.threads, "--dtype", {"float32": "f32", "float16": "f32"}.get(dtype, dtype)]
        self.search = ["--beam-size", o.beam_size]
        self.best = float("inf")

    def run(self, *args):
        return subprocess.run([QUERN, *map(str, args)], check=True, capture_output=True, text=True).stdout

    def round(self):
        done = self.run("bench", "--model", self.folder, "--input", self.file, "--measure", "translate", "--rounds", 1, "--max-texts", 4096,
                        "--json", *self.search, *self.common)
        point = json.loads(done)["points"][0]
        self.best, self.tokens = min(self.best, point["best_seconds"]), point["tokens"] - point["texts"]

    def translate(self):
        done = self.run("translate", "--model", self.folder, "--input", self.file, *self.search, *self.common)
        self.texts = done.split("\n")[:-1]


def main():
    o = options()
    with open(o.pairs, encoding="utf-8", newline="") as f:
        rows = [(r["source"], r["target"]) for r in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE)][: o.texts]
    with tempfile.TemporaryDirectory() as work:
        file = os.path.join(work, "source.txt")
        with open(file, "w", encoding="utf-8") as f:
            f.writelines(source + "\n" for source, _ in rows)
        for dtype in o.dtypes:
            folder = convert(o.model, os.path.join(o.work or work, dtype), dtype)
            ours, peer = Quern(o, folder, dtype, file), Peer(o, folder, dtype, [source for source, _ in rows])
            for _ in range(o.rounds):
                ours.round()
                peer.round()
            ours.translate()
            bleu = [sacrebleu.corpus_bleu(e.texts, [[target for _, target in rows]]).score for e in (ours, peer)]
            form = min(peer.best, key=peer.best.get)
            rates = ours.tokens / ours.best, peer.tokens / peer.best[form]
            print(f"{dtype}: {len(rows)} texts, beam {o.beam_size}, {o.threads} threads: Quern {rates[0]:.0f} tokens/s, "
                  f"CTranslate2 {ctranslate2.__version__} {rates[1]:.0f} ({form[0]} at once, batches of {form[1]}): {rates[0] / rates[1]:.2f} x; "
                  f"equal lines {sum(a == b for a, b in zip(ours.texts, peer.texts))} of {len(rows)}; "
                  f"BLEU {bleu[0]:.2f} and {bleu[1]:.2f}")
            print("    CTranslate2:", ", ".join(f"{i} x {b}: {peer.tokens / s:.0f}" for (i, b), s in sorted(peer.best.items())))


if __name__ == "__main__":
    main()
