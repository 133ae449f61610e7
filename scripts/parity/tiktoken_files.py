#!/usr/bin/env python3
"""Compares `quern tokenizer` on tiktoken files with the package tiktoken: each pattern over a vocabulary that is learned here, ids and decoded
texts, special tokens included; with --files, over published ranks.

    python3 scripts/parity/tiktoken_files.py [--lines 20000] [--seed 1] [--only NAME ...] [--files cl100k_base.tiktoken ...]
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


def compare(name, ranks, inputs, published=False):
    """Of published ranks the special tokens have their published ids, in any others they follow behind the last rank."""
    parts = getattr(public, name)()
    special = dict(parts["special_tokens"])
    if not published:
        special = {token: len(ranks) + i for i, token in enumerate(special)}
    reference = tiktoken.Encoding(name, pat_str=parts["pat_str"], mergeable_ranks=ranks, special_tokens=special)
    inputs = inputs + [(token + "x " + token).encode() for token in special]
    what = f"{name}, {'published' if published else 'learned'} ranks"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"mine.{name}.tiktoken")
        with open(path, "wb") as file:
            file.writelines(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
        theirs = ({"ids": reference.encode(base.read(t), allowed_special="all")} for t in inputs)
        base.compare(what, inputs, base.run(path, inputs), theirs, ["ids"])
        rows = [reference.encode(base.read(t), allowed_special="all") for t in inputs[-20000:]]
        expected = "".join(reference.decode(r) + "\n" for r in rows)
        check(f"{what}: decoding", tokenizer_kinds.decoded(path, rows, "--special-tokens") == expected, f"{len(rows)} texts")


def read_ranks(path):
    with open(path, "rb") as file:
        return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in file if line.strip())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--files", nargs="*", default=[], help="published files, whose names say the encoding, instead of learned ranks")
    arguments = parser.parse_args()
    inputs = [t.encode() for t in tokenizer_kinds.HOSTILE] + base.texts(arguments.lines - len(tokenizer_kinds.HOSTILE), arguments.seed)
    random.Random(arguments.seed).shuffle(inputs)
    for path in arguments.files:
        compare(os.path.basename(path).split(".")[-2], read_ranks(path), inputs, published=True)
    if arguments.files:
        finish()
    corpus = [r["text"] for r in wordnet("train", 20000)] + [base.read(t) for t in base.texts(4000, 77)]
    learned = {name: ranks_of(t) for name, t in tokenizer_kinds.kinds(corpus, 8000, ["gpt2", "llama3"])}
    for name in arguments.only:
        compare(name, learned["llama3" if name in ("cl100k_base", "o200k_base") else "gpt2"], inputs)
    finish()


if __name__ == "__main__":
    main()
