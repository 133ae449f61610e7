#!/usr/bin/env python3
"""Compares the vocabularies that `quern tokenizer train` learns with those of Hugging Face's trainers on the same text: BPE (of bytes, and with
byte fallback) and WordLevel token for token, Unigram by the bits per character of held-out text; what was learned loads in Hugging Face
tokenizers and gives equal ids.

    python3 scripts/parity/tokenizer_learn.py [--vocab-size 8000] [--only KIND ...]
"""
import argparse
import json
import math
import os
import tempfile

import tokenizer as base
from common import check, finish, quern, wordnet
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
BYTES = [f"<0x{i:02X}>" for i in range(256)]


def reference(kind, size, path):
    options = dict(vocab_size=size, show_progress=False)
    if kind == "bpe":
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(special_tokens=SPECIAL, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    elif kind == "byte-fallback":
        t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(special_tokens=SPECIAL + BYTES, min_frequency=2, **options)
    elif kind == "wordlevel":
        t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer()
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], min_frequency=2, **options)
    else:
        t = Tokenizer(models.Unigram())
        t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        t.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(special_tokens=SPECIAL, unk_token="<unk>", **options)
    with open(path, encoding="utf-8", newline="\n") as file:
        t.train_from_iterator([line.rstrip("\n") for line in file], trainer)  # train() would leave line ends in the text
    return t


def bits_per_character(tokenizer, texts):
    """Of the best segmentation under the model's own probabilities, which sum to one over its pieces."""
    model = json.loads(tokenizer.to_str())["model"]
    scores = [score for token, score in model["vocab"]]
    nats = -sum(scores[i] for text in texts for i in tokenizer.encode(text, add_special_tokens=False).ids)
    return nats / math.log(2) / sum(map(len, texts))


def compare(kind, size, path, held_out):
    theirs = reference(kind, size, path)
    with tempfile.TemporaryDirectory() as folder:
        options = ["--kind", "bpe", "--byte-fallback", "--limit-alphabet", 0] if kind == "byte-fallback" else ["--kind", kind]
        quern("tokenizer", "train", "--train-file", path, "--format", "text", "--vocab-size", size, "--output-dir", folder, "--quiet", *options)
        ours = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        if kind == "unigram":
            a, b = bits_per_character(ours, held_out), bits_per_character(theirs, held_out)
            check(f"{kind}: bits per character of held-out text", a <= b * 1.005 and abs(ours.get_vocab_size() - theirs.get_vocab_size()) <= 1,
                  f"{a:.4f} with {ours.get_vocab_size()} tokens, the reference {b:.4f} with {theirs.get_vocab_size()}")
        else:
            a, b = (json.loads(t.to_str())["model"] for t in (ours, theirs))
            check(f"{kind}: vocabulary", a["vocab"] == b["vocab"], f"{len(b['vocab'])} tokens")
            check(f"{kind}: merges", a.get("merges") == b.get("merges"), f"{len(b.get('merges', []))} merges")
        texts = [t.encode() for t in held_out[:2000]]
        base.compare(f"{kind}: what was learned, in the reference", texts, base.run(folder, texts), [base.records(ours.encode(t)) for t in held_out[:2000]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--only", nargs="*", default=["bpe", "byte-fallback", "wordlevel", "unigram"])
    arguments = parser.parse_args()
    glosses = [r["text"] for r in wordnet("train", 50000)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text.txt")
        mixed = [base.read(t).replace("\r", " ") for t in base.texts(2000, 77)]
        for kind in arguments.only:
            # The reference numbers what is equally frequent at random only in Unigram, which gets plain English.
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write("\n".join(glosses[:45000] + (mixed if kind in ("bpe", "wordlevel") else [])) + "\n")
            compare(kind, arguments.vocab_size, path, glosses[45000:])
    finish()


if __name__ == "__main__":
    main()
