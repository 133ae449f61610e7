#!/usr/bin/env python3
"""Compares `quern tokenizer` on tiktoken files with the package tiktoken: each pattern over a vocabulary that is learned here, ids and decoded
texts, special tokens included. The saved tokenizer.json goes to Hugging Face tokenizers too.

    python3 scripts/parity/tiktoken_files.py [--lines 20000] [--seed 1]
"""
import argparse
import base64
import os
import random
import tempfile

import tiktoken
import tiktoken_ext.openai_public as public
import tokenizer as base
import tokenizer_kinds
from common import check, finish, wordnet

# Regular expressions of the published encodings. Their constructors would load files, so these are kept from that.
public.load_tiktoken_bpe = public.data_gym_to_mergeable_bpe_ranks = lambda *arguments, **options: {}
NAMES = ["gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base"]


def ranks_of(tokenizer):
    """{bytes: rank} of a byte-level tokenizer, its special tokens left out."""
    bytes_of = {chr(code): byte for byte, code in byte_characters().items()}
    special = {t.content for t in tokenizer.get_added_tokens_decoder().values()}
    vocabulary = sorted((i, t) for t, i in tokenizer.get_vocab().items() if t not in special)
    return {bytes(bytes_of[c] for c in token): rank for rank, (_, token) in enumerate(vocabulary)}


def byte_characters():
    """GPT-2's code points of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: b for b in printable}, **{b: 256 + i for i, b in enumerate(others)}}


def compare(name, ranks, inputs):
    parts = getattr(public, name)()
    special = {token: len(ranks) + i for i, token in enumerate(parts["special_tokens"])}
    reference = tiktoken.Encoding(name, pat_str=parts["pat_str"], mergeable_ranks=ranks, special_tokens=special)
    inputs = inputs + [(token + "x " + token).encode() for token in special]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"mine.{name}.tiktoken")
        with open(path, "wb") as file:
            file.writelines(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
        theirs = [reference.encode(base.read(t), allowed_special="all") for t in inputs]
        ours = [r["ids"] for r in base.run(path, inputs)]
        wrong = [i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b]
        check(name, len(ours) == len(theirs) and not wrong, f"{len(inputs)} texts, {sum(map(len, theirs))} tokens, {len(wrong)} texts differ")
        for i in wrong[:3]:
            print("  text", inputs[i], "\n  ours  ", ours[i], "\n  theirs", theirs[i])
        expected = "".join(reference.decode(r) + "\n" for r in theirs)
        check(f"{name}: decoding", tokenizer_kinds.decoded(path, theirs, "--special-tokens") == expected, f"{len(theirs)} texts")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=NAMES)
    arguments = parser.parse_args()
    corpus = [r["text"] for r in wordnet("train", 20000)] + [base.read(t) for t in base.texts(4000, 77)]
    learned = {name: ranks_of(t) for name, t in tokenizer_kinds.kinds(corpus, 8000, ["gpt2", "llama3"])}
    inputs = [t.encode() for t in tokenizer_kinds.HOSTILE] + base.texts(arguments.lines - len(tokenizer_kinds.HOSTILE), arguments.seed)
    random.Random(arguments.seed).shuffle(inputs)
    for name in arguments.only:
        compare(name, learned["llama3" if name in ("cl100k_base", "o200k_base") else "gpt2"], inputs)
    finish()


if __name__ == "__main__":
    main()
