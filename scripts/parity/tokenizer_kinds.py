#!/usr/bin/env python3
"""Compares `quern tokenizer` with Hugging Face tokenizers for every kind of pipeline but BERT's (tokenizer.py has that): byte-level BPE as
GPT-2, RoBERTa and Llama 3 have it, BPE with byte fallback, with a suffix and with a prefix, Unigram, WordLevel, and all normalisers,
pre-tokenizers and decoders. Vocabularies are learned by the reference from glosses of data/wordnet and generated texts in many scripts.

    python3 scripts/parity/tokenizer_kinds.py [--lines 20000] [--seed 1] [--only KIND ...]
    python3 scripts/parity/tokenizer_kinds.py --golden tests/golden/tokenizer    # writes the small files that the unit tests read
"""
import argparse
import base64
import json
import os
import random
import struct
import subprocess
import tempfile

import tokenizer as base
from common import check, finish, wordnet
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = [f"<0x{i:02X}>" for i in range(256)]
HOSTILE = ["a" * 3000, "\u0301" * 2000, " " * 2000, "\u2581" * 1000, "ab" * 1500, "\U0001F468\u200D" * 500, "1" * 2000, "\r\t" * 700, "'s" * 500,
           "\ufdfa" * 200, "\u1100\u1161\u11a8" * 300, "\ufb01\u2460\u3392" * 200, "<mask><mask> <mask>", " \u00a0\u3000x", "\u0130\u0131\u1e9e", "\u212b\u2126"]


def double_array(rules):
    """SentencePiece's compiled map of {text: replacement}: a Darts double array, then the strings."""
    strings, keys = b"", {}
    for key, value in sorted(rules.items()):
        keys[key.encode()] = len(strings)
        strings += value.encode() + b"\0"
    units, used, taken = {0: 0}, {0}, set()
    queue = [(b"", 0)]
    while queue:
        prefix, place = queue.pop(0)
        labels = sorted({k[len(prefix)] for k in keys if k.startswith(prefix) and len(k) > len(prefix)})
        leaf = prefix in keys
        wanted = ([0] if leaf else []) + labels
        if not wanted:
            continue
        start = next(b for b in range(1, 1 << 20) if b not in taken and all(b ^ x not in used for x in wanted))
        taken.add(start)
        used.update(start ^ x for x in wanted)
        units[place] |= (place ^ start) << 10 | (0x100 if leaf else 0)
        if leaf:
            units[start] = 1 << 31 | keys[prefix]
        for x in labels:
            units[start ^ x] = x
            queue.append((prefix + bytes([x]), start ^ x))
    size = (max(units) // 256 + 1) * 256
    array = b"".join(struct.pack("<I", units.get(i, 0)) for i in range(size))
    return base64.b64encode(struct.pack("<I", len(array)) + array + strings).decode()


RULES = {"\u00a0": " ", "\u3000": " ", "\t": " ", "\u200b": "", "\ufb01": "fi", "\u2460": "1", "e\u0301": "\u00e9", "\uff21": "A", "\u00bd": "1\u20442",
         "\u212b": "\u00c5", "\ufdfa": "\u0635\u0644\u0649", "\u00ad": "", "\u200d": "", "\u2026": "...", "\u0130": "i\u0307"}


def train(tokenizer, trainer, corpus):
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def changed(tokenizer, **parts):
    data = json.loads(tokenizer.to_str())
    for name, part in parts.items():
        if name == "model":
            data["model"].update(part)
        else:
            data[name] = part
    return Tokenizer.from_str(json.dumps(data))


def template(first, pair, *tokens):
    return processors.TemplateProcessing(first, pair, list(tokens))


def byte_level(corpus, size):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    options = dict(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    train(t, trainers.BpeTrainer(special_tokens=special, **options), corpus)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    yield "gpt2", t
    t = Tokenizer.from_str(t.to_str())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    t.add_tokens([AddedToken("The", single_word=True), AddedToken("caf\u00e9", rstrip=True), AddedToken("ing", normalized=False)])
    yield "roberta", t
    for name, pattern in (("llama3", LLAMA3), ("qwen2", QWEN2)):
        t = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
        t.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        t.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        train(t, trainers.BpeTrainer(special_tokens=["<|begin|>", "<|end|>"], **options), corpus)
        t.decoder = decoders.ByteLevel()
        begin = template("<|begin|> $A", "<|begin|> $A <|begin|>:1 $B:1", ("<|begin|>", 0))
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=name == "qwen2"), begin])
        yield name, t


def fallback(corpus, size):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"] + BYTES
    train(t, trainers.BpeTrainer(vocab_size=size + 256, special_tokens=special, limit_alphabet=size // 4, show_progress=False), corpus)
    data = json.loads(t.to_str())
    added = [a for a in data["added_tokens"] if a["content"] not in BYTES]
    llama = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    t = changed(t, added_tokens=added, pre_tokenizer=None, normalizer=llama)
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = template("<s> $A", "<s> $A <s>:1 $B:1", ("<s>", 1))
    yield "llama2", t
    t = changed(t, normalizer=None, model={"byte_fallback": False})
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    yield "metaspace", t
    t = changed(t, model={"fuse_unk": False})
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(split=False)])
    t.normalizer = normalizers.Sequence([normalizers.Strip(left=False), normalizers.Replace(Regex("[0-9]+"), "7"), normalizers.BertNormalizer()])
    yield "unfused", t


def affixes(corpus, size):
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    digits = pre_tokenizers.Digits(individual_digits=True)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_previous"), digits])
    train(t, trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>"], end_of_word_suffix="</w>", limit_alphabet=size // 4, show_progress=False), corpus)
    t.decoder = decoders.BPEDecoder()
    yield "suffix", t
    t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits()])
    train(t, trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=size // 4, show_progress=False), corpus)
    t.decoder = decoders.WordPiece()
    yield "prefix", t


def unigram(corpus, size):
    few = sorted({c for text in corpus for c in text if ord(c) < 0x250})[: size // 3]
    keep = set(few)
    corpus = ["".join(c for c in text if c in keep) for text in corpus]
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    train(t, trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False), corpus)
    t.decoder = decoders.Metaspace()
    t.post_processor = template("<s> $A </s>", "<s> $A </s> </s> $B </s>", ("<s>", 0), ("</s>", 2))
    yield "unigram", t
    data = json.loads(t.to_str())
    rules = {"type": "Precompiled", "precompiled_charsmap": double_array(RULES)}
    t = changed(t, normalizer=rules, model={"vocab": data["model"]["vocab"] + [[b, 0.0] for b in BYTES], "byte_fallback": True})
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    yield "precompiled", t


def whole_words(corpus, size):
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    yield "wordlevel", train(t, trainers.WordLevelTrainer(vocab_size=size, special_tokens=["<unk>"], show_progress=False), corpus)
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]+"), "removed", invert=True)
    train(t, trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[UNK]"], limit_alphabet=size // 4, show_progress=False), corpus)
    t.decoder = decoders.WordPiece()
    yield "wordpiece", t


FAMILIES = {byte_level: ("gpt2", "roberta", "llama3", "qwen2"), fallback: ("llama2", "metaspace", "unfused"), affixes: ("suffix", "prefix"),
            unigram: ("unigram", "precompiled"), whole_words: ("wordlevel", "wordpiece")}


def kinds(corpus, size, only=None):
    """(name, tokenizer) of each wanted kind; only families that have one are trained."""
    for make, names in FAMILIES.items():
        if not only or set(names) & set(only):
            yield from ((name, tokenizer) for name, tokenizer in make(corpus, size) if not only or name in only)


def decoded(folder, rows, *options):
    text = "\n".join(json.dumps(r) for r in rows) + "\n"
    return quern_bytes("tokenizer", "decode", "--model", folder, *options, stdin=text.encode())


def quern_bytes(*arguments, stdin):
    done = subprocess.run([base.QUERN, *arguments], input=stdin, capture_output=True)
    return done.stdout.decode()


def compare(name, tokenizer, inputs):
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(os.path.join(folder, "tokenizer.json"))
        reference = base.reference(folder)
        base.compare(name, inputs, base.run(folder, inputs), (base.records(reference.encode(base.read(t))) for t in inputs))
        rows = [reference.encode(base.read(t)).ids for t in inputs[:20000]]
        for skip, options in ((True, []), (False, ["--special-tokens"])):
            expected = "".join(reference.decode(r, skip_special_tokens=skip) + "\n" for r in rows)
            check(f"{name}: decoding{'' if skip else ' with special tokens'}", decoded(folder, rows, *options) == expected, f"{len(rows)} texts")


def every_code_point():
    """Each code point between two letters through each normaliser: as tokens of single bytes, so that ids are the normalised text."""
    codes = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF and c not in (10, 13)]
    texts = [f"a{chr(c)}b" for c in codes]
    for step in (normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents(),
                 normalizers.BertNormalizer()):
        t = Tokenizer(models.BPE({b: i for i, b in enumerate(BYTES + ["<unk>"])}, [], unk_token="<unk>", byte_fallback=True))
        t.normalizer = step
        with tempfile.TemporaryDirectory() as folder:
            t.save(os.path.join(folder, "tokenizer.json"))
            text = "".join(t + "\n" for t in texts).encode()
            ours = quern_bytes("tokenizer", "encode", "--model", folder, "--format", "text", stdin=text).split("\n")
        wrong = [c for c, t, line in zip(codes, texts, ours) if json.loads(line)["ids"] != list(step.normalize_str(t).encode())]
        check(f"every code point, {type(step).__name__}", not wrong, f"{len(codes)} code points, {len(wrong)} differ" + "".join(f" U+{c:04X}" for c in wrong[:10]))


def write_golden(folder, corpus):
    inputs = base.texts(30, 17)
    inputs += [t[:60].encode() for t in HOSTILE] + [b"", b" ", b"  a  b ", b"\xff\xfe", b"x\xe2\x82y", b"it's 12345 don't\t\n".rstrip(b"\n")]
    for name, tokenizer in kinds(corpus, 700):
        path = os.path.join(folder, name)
        os.makedirs(path, exist_ok=True)
        tokenizer.save(os.path.join(path, "tokenizer.json"), pretty=False)
        tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        with open(os.path.join(path, "cases.jsonl"), "w", encoding="utf-8") as file:
            for i, text in enumerate(inputs):
                pair = inputs[i + 1] if i % 8 == 0 else None
                file.write(json.dumps(base.golden_case(tokenizer, text[:200], pair and pair[:200], {}), ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of kinds; code-points: every code point through each normaliser")
    parser.add_argument("--golden", metavar="DIR")
    arguments = parser.parse_args()
    glosses = [r["text"] for r in wordnet("train", 20000)]
    corpus = glosses + [base.read(t) for t in base.texts(4000, 77)]
    if arguments.golden:
        return write_golden(arguments.golden, corpus)
    inputs = [t.encode() for t in HOSTILE] + [g.encode() for g in glosses[: arguments.lines // 10]]
    inputs += base.texts(max(arguments.lines - len(inputs), 0), arguments.seed)
    random.Random(arguments.seed).shuffle(inputs)
    if not arguments.only or "code-points" in arguments.only:
        every_code_point()
    for name, tokenizer in kinds(corpus, 8000, arguments.only):
        compare(name, tokenizer, inputs)
    finish()


if __name__ == "__main__":
    main()
