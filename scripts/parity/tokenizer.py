#!/usr/bin/env python3
"""Compares `quern tokenizer` with Hugging Face tokenizers: ids, types, character offsets and word numbers of generated texts in many scripts,
alone, as pairs, and cut by every strategy; other settings and added tokens; a vocabulary learned from the same text; folders that
transformers must load.

    python3 scripts/parity/tokenizer.py [--lines 120000] [--seed 1] [--model DIR]
    python3 scripts/parity/tokenizer.py --golden tests/golden/tokenizer    # writes the small files that the unit tests read
"""
import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from common import ODD_TEXTS, QUERN, Workplace, check, finish, json_lines, minilm, quern, wordnet
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

BLOCKS = {
    "latin": [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)],
    "cyrillic": [(0x400, 0x52F)],
    "greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)],
    "arabic": [(0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF)],
    "hebrew": [(0x590, 0x5FF), (0xFB1D, 0xFB4F)],
    "devanagari": [(0x900, 0x97F), (0xA8E0, 0xA8FF)],
    "indic": [(0x980, 0xDFF)],
    "thai": [(0xE00, 0xE7F), (0xE80, 0xFFF)],
    "chinese": [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2FA1F), (0xF900, 0xFAFF), (0x3000, 0x303F)],
    "japanese": [(0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF00, 0xFFEF), (0x4E00, 0x4FFF)],
    "korean": [(0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x3130, 0x318F), (0x302A, 0x302F)],
    "emoji": [(0x1F300, 0x1FAFF), (0x2600, 0x27BF), (0x1F1E6, 0x1F1FF), (0x200D, 0x200D), (0xFE0E, 0xFE0F), (0x1F3FB, 0x1F3FF)],
    "control": [(0x02, 0x1F), (0x7F, 0xA0), (0xAD, 0xAD), (0x2000, 0x206F), (0xFEFF, 0xFEFF), (0xE000, 0xE0FF), (0xFFF0, 0xFFFF)],
    "marks": [(0x300, 0x36F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0x8D3, 0x8FF), (0x1E000, 0x1E02F), (0x1D15E, 0x1D172)],
    "symbols": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x2010, 0x2BFF), (0x1D100, 0x1D7FF), (0x1E900, 0x1E95F)],
    "anything": [(0x02, 0xD7FF), (0xE000, 0x10FFFF)],
}
ENGLISH = (
    "the of and a to in is was that for it with as his on be at by had not are but from or have an they which one you were all her she there "
    "would their we him been has when who will no more if out so up said what its about than into them can only other time new some could "
    "these two may first then do any like my now over such our man me even most made after also well did many fore must years way back where "
    "unaffable tokenization café naïve Zürich Ångström ISTANBUL İstanbul don't won't it's I'm they've we're 3.14 1,000,000 e-mail C++ "
    "http://example.org/a?b=c&d=é antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis"
).split()
SPECIALS = ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[mask]", " [MASK] ", "[MASK]s", "[[SEP]]", "[SEP", "##ing", "[unused0]", "<s>"]
SPACES = [" "] * 20 + ["  ", "\t", "\u00a0", "\u3000", "\u2028", "\r", "\u200b", ""]
ZWJ = ["\U0001F468\u200D\U0001F469\u200D\U0001F467", "\u2764\uFE0F", "\U0001F3F3\uFE0F\u200D\U0001F308", "1\uFE0F\u20E3", "\U0001F1E9\U0001F1EA"]


def char(rng, script):
    first, last = rng.choice(BLOCKS[script])
    while True:
        code = rng.randint(first, last)
        if not 0xD800 <= code < 0xE000 and code not in (0, 1, 10):
            return chr(code)


def word(rng, script):
    kind = rng.random()
    if script == "english" or kind < 0.1:
        w = rng.choice(ENGLISH)
        return w.upper() if rng.random() < 0.1 else w.title() if rng.random() < 0.1 else w
    length = min(1 + int(rng.expovariate(0.25)), 40)
    w = "".join(char(rng, script) for _ in range(length))
    if kind < 0.25:  # marks on letters, in any order
        w = "".join(c + "".join(char(rng, "marks") for _ in range(rng.randint(0, 3))) for c in w)
    if kind > 0.97:
        w = (w or "x") * rng.randint(10, 60)
    return w


def text(rng):
    script = rng.choice(["english"] * 3 + list(BLOCKS))
    parts = []
    for _ in range(rng.randint(0, 14)):
        s = script if rng.random() < 0.85 else rng.choice(list(BLOCKS))
        roll = rng.random()
        parts.append(rng.choice(SPECIALS) if roll < 0.04 else rng.choice(ZWJ) if roll < 0.06 else word(rng, s))
        if script not in ("chinese", "japanese", "thai") or rng.random() < 0.3:
            parts.append(rng.choice(SPACES))
        if rng.random() < 0.1:
            parts.append(rng.choice(".,;:!?()\"'-"))
    return "".join(parts)


def breakage(rng, data):
    """Bytes that are not UTF-8, put into, or taken out of, a text."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        if rng.random() < 0.5 and data:
            del data[min(at, len(data) - 1)]
        else:
            data[at:at] = rng.choice([b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\x80", b"\xf5\x80\x80\x80", b"\xe0\x80"])
    return bytes(b for b in data if b not in (0, 1, 10)).rstrip(b"\r")


def texts(count, seed):
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        data = text(rng).encode().rstrip(b"\r")  # a line's end is not part of a text
        out.append(breakage(rng, data) if rng.random() < 0.06 else data)
    return out


def read(data):
    return data.decode("utf-8", "replace")


def records(encoding):
    words = [-1 if w is None else w for w in encoding.word_ids]
    sequences = [-1 if s is None else s for s in encoding.sequence_ids]
    return {"ids": encoding.ids, "types": encoding.type_ids, "offsets": [list(o) for o in encoding.offsets], "words": words, "sequences": sequences}


def run(model, inputs, *options, second=None):
    """Yields the command's record of each text."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        command = [QUERN, "tokenizer", "encode", "--model", model, "--details", "--format", "text", *options]
        for name, lines in (("--input", inputs), ("--pair-input", second)):
            if lines is None:
                continue
            command += [name, os.path.join(folder, name[2:])]
            with open(command[-1], "wb") as file:
                file.write(b"".join(line + b"\n" for line in lines))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:  # broken UTF-8 gives a warning
            yield from map(json.loads, process.stdout)
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(errors.read().decode())


def compare(name, inputs, ours, theirs, fields=("ids", "types", "offsets", "words", "sequences")):
    """Of records that may come one by one, so that any number of texts fits in memory."""
    texts = tokens = wrong = 0
    for text, our, their in itertools.zip_longest(inputs, ours, theirs):
        if text is None or our is None or their is None:
            check(name, False, f"the numbers of texts and records differ, {len(inputs)} texts, one side ends after {texts}")
            return
        texts += 1
        tokens += len(their["ids"])
        bad = [f for f in fields if our[f] != their[f]]
        wrong += bool(bad)
        if bad and wrong <= 3:
            print("  text  ", text, file=sys.stderr)
        for field in bad if wrong <= 3 else ():
            print(f"  {field}: ours   {our[field]}\n  {field}: theirs {their[field]}", file=sys.stderr)
    check(name, not wrong, f"{texts} texts, {tokens} tokens, {wrong} texts differ")


def reference(model):
    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def variants(folder, model):
    """The model's tokenizer with other settings of the normaliser and with added tokens of every kind."""
    with open(os.path.join(model, "tokenizer.json"), encoding="utf-8") as file:
        base = json.load(file)
    flags = [(c, h, s, l) for c in (True, False) for h in (True, False) for s in (None, True, False) for l in (True, False)]
    for i, (clean, chinese, strip, lower) in enumerate(flags):
        base["normalizer"] = {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip, "lowercase": lower}
        path = os.path.join(folder, f"flags{i}")
        os.makedirs(path)
        with open(os.path.join(path, "tokenizer.json"), "w", encoding="utf-8") as file:
            json.dump(base, file, ensure_ascii=False)
        yield f"clean={clean} chinese={chinese} strip={strip} lower={lower}", path
    base["normalizer"] = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    added = [("The", True, False, False, True), ("fore", False, False, False, True), ("İstanbul", False, True, True, True), ("café", True, False, False, True),
             ("<s>", False, True, True, False), ("ing", True, False, False, False), ("一", False, True, False, True), ("C++", True, True, True, False)]
    for i, (content, single, left, right, normalized) in enumerate(added):
        base["added_tokens"].append({"id": 30522 + i, "content": content, "single_word": single, "lstrip": left, "rstrip": right, "normalized": normalized, "special": i % 2 == 0})
    vocabulary = base["model"]["vocab"]
    extra = 30522
    for item in base["added_tokens"][5:]:  # as the reference numbers them
        item["id"] = vocabulary.get(item["content"], extra)
        extra += item["content"] not in vocabulary
    path = os.path.join(folder, "added")
    os.makedirs(path)
    with open(os.path.join(path, "tokenizer.json"), "w", encoding="utf-8") as file:
        json.dump(base, file, ensure_ascii=False)
    yield "added tokens", path


def pairs(inputs):
    half = len(inputs) // 2
    return list(zip(inputs[:half], inputs[half : 2 * half]))


def check_cutting(model, tokenizer, inputs):
    both = pairs(inputs)
    for strategy in ("longest_first", "only_first", "only_second"):
        for side in ("right", "left"):
            for length in (3, 8, 17, 64):
                tokenizer.enable_truncation(length, strategy=strategy, direction=side)
                keep, theirs = [], []
                for a, b in both:
                    try:
                        theirs.append(records(tokenizer.encode(read(a), read(b))))
                        keep.append((a, b))
                    except BaseException:  # the reference cannot cut enough; nor can we, which the unit tests check
                        continue
                options = ["--max-length", str(length), "--truncation", strategy, "--truncation-side", side]
                ours = run(model, [a for a, _ in keep], *options, second=[b for _, b in keep])
                compare(f"pairs, {strategy}, {side}, {length} tokens", keep, ours, theirs)
    tokenizer.no_truncation()


def check_texts(model, lines, seed):
    tokenizer = reference(model)
    inputs = texts(lines, seed)
    compare("texts", inputs, run(model, inputs), (records(tokenizer.encode(read(t))) for t in inputs))
    some = inputs[:5000]
    plain = [records(tokenizer.encode(read(t), add_special_tokens=False)) for t in some]
    compare("no special tokens", some, run(model, some, "--no-special-tokens"), plain)
    both = pairs(inputs[:20000])
    theirs = [records(tokenizer.encode(read(a), read(b))) for a, b in both]
    compare("pairs", both, run(model, [a for a, _ in both], second=[b for _, b in both]), theirs)
    check_cutting(model, tokenizer, inputs[:4000])
    some = inputs[:6000]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in variants(folder, model):
            other = reference(path)
            compare(name, some, run(path, some), [records(other.encode(read(t))) for t in some])


def check_training(place):
    """Our vocabulary against the reference's from the same text. Ties are broken at random there, so that it differs from itself."""
    lines = [r["text"] for r in wordnet("train", 20000)]
    raw, folder = place.file("raw.txt", "\n".join(lines) + "\n"), place.file("trained")
    for size in (4000, 12000):
        quern("tokenizer", "train", "--train-file", raw, "--vocab-size", size, "--output-dir", folder)
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, limit_alphabet=1000, special_tokens=special, show_progress=False))
        with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as file:
            ours = set(file.read().split("\n")[:-1])
        same = len(ours & set(tokenizer.get_vocab()))
        check(f"a vocabulary of {size}", len(ours) == tokenizer.get_vocab_size() and same >= 0.998 * size, f"{same} of {size} tokens are the reference's")
    return folder


def check_transformers(place, folder):
    """A folder that we wrote loads in transformers and gives the same ids, from tokenizer.json and from vocab.txt alone."""
    from transformers import AutoTokenizer, BertTokenizer

    lines = [r["text"] for r in wordnet("test", 3000)] + ODD_TEXTS
    ours = json_lines(quern("tokenizer", "encode", "--model", folder, "--max-length", 512, stdin="\n".join(lines) + "\n"))
    loaded = AutoTokenizer.from_pretrained(folder)
    bare = place.file("bare")
    os.makedirs(bare)
    for name in ("vocab.txt", "tokenizer_config.json"):
        with open(os.path.join(folder, name), "rb") as source, open(os.path.join(bare, name), "wb") as target:
            target.write(source.read())
    for name, tokenizer in (("AutoTokenizer", loaded), ("BertTokenizer from vocab.txt", BertTokenizer.from_pretrained(bare))):
        same = sum(a["ids"] == tokenizer(t, truncation=True)["input_ids"] for a, t in zip(ours, lines))
        check(f"{name} loads the folder", same == len(lines) and tokenizer.model_max_length == 512, f"{same} of {len(lines)} texts equal, limit {tokenizer.model_max_length}")
    again = json_lines(quern("tokenizer", "encode", "--model", bare, "--max-length", 512, stdin="\n".join(lines) + "\n"))
    check("vocab.txt alone gives the same", again == ours, f"{len(lines)} texts")
    known = [loaded.pad_token_id, loaded.unk_token_id, loaded.cls_token_id, loaded.sep_token_id, loaded.mask_token_id]
    check("AutoTokenizer knows the special tokens", known == [0, 1, 2, 3, 4], str(known))
    texts_back = quern("tokenizer", "decode", "--model", folder, stdin="\n".join(json.dumps(a["ids"]) for a in ours) + "\n").split("\n")
    plain = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    same = sum(plain.decode(a["ids"]) == t for a, t in zip(ours, texts_back))
    check("decoding", same == len(lines), f"{same} of {len(lines)} texts equal")


# --- Golden files: small tokenizers and what the reference makes of texts, for the unit tests -----------------------------------------

FLAGS = [(c, h, s, l) for c in (True, False) for h in (True, False) for s in (True, False) for l in (True, False)]


def byte_places(data):
    """Where each character of data.decode("utf-8", "replace") begins in data, and the end."""
    places, at = [], 0
    while at < len(data):
        places.append(at)
        for length in (1, 2, 3, 4):
            try:
                data[at : at + length].decode("utf-8")
                break
            except UnicodeDecodeError as error:
                if length == 4 or at + length >= len(data) or error.reason != "unexpected end of data":
                    length = error.end - error.start
                    break
        at += length
    assert len(places) == len(read(data))
    return places + [len(data)]


def learn(inputs, size, lowercase, added):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=size, limit_alphabet=size // 4, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([read(t) for t in inputs], trainer)
    ids = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids)
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    for content, flags in added:
        tokenizer.add_tokens([AddedToken(content, **flags)])
    return tokenizer


def golden_case(tokenizer, a, b, options):
    theirs = records(tokenizer.encode(read(a), read(b)) if b is not None else tokenizer.encode(read(a)))
    places = [byte_places(a), byte_places(b) if b is not None else None]
    theirs["bytes"] = [[0, 0] if s < 0 else [places[s][x], places[s][y]] for s, (x, y) in zip(theirs["sequences"], theirs["offsets"])]
    theirs["decoded"] = tokenizer.decode(theirs["ids"])
    theirs["decoded_all"] = tokenizer.decode(theirs["ids"], skip_special_tokens=False)
    return {"text": a.hex(), **({"pair": b.hex()} if b is not None else {}), **options, **theirs}


def unicode_hashes():
    """One line for each setting and plane: a hash of every code point normalised alone, before and after marks, and of its words."""
    split = pre_tokenizers.BertPreTokenizer()
    for clean, chinese, strip, lower in FLAGS:
        normalizer = normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower)
        for plane in range(17):
            value = 0xCBF29CE484222325
            for code in range(plane << 16, (plane + 1) << 16):
                if 0xD800 <= code < 0xE000:
                    continue
                normal = normalizer.normalize_str(f"a{chr(code)}b\u0316{chr(code)}\u0301")
                pieces = [piece for piece, _ in split.pre_tokenize_str(normal)]
                for byte in (normal + "\n" + "\n".join(pieces) + "\n").encode():
                    value = (value ^ byte) * 0x100000001B3 % (1 << 64)
            yield f"{clean:d}{chinese:d}{strip:d}{lower:d} {plane} {value:016x}\n"


def write_golden(folder):
    os.makedirs(folder, exist_ok=True)
    inputs = texts(6000, 7)
    added = [("The", dict(single_word=True)), ("fore", dict()), ("<s>", dict(lstrip=True, rstrip=True, normalized=False)), ("\u4e00", dict(rstrip=True)),
             ("ing", dict(single_word=True, normalized=False)), ("C++", dict(single_word=True, lstrip=True))]
    for name, size, lowercase, extra in (("uncased", 2000, True, []), ("cased", 1600, False, added)):
        tokenizer = learn(inputs, size, lowercase, extra)
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        tokenizer.save(os.path.join(folder, name, "tokenizer.json"), pretty=False)
        some = texts(300, 11 if lowercase else 13)
        cases = [golden_case(tokenizer, a, None, {}) for a in some[:150]]
        for i, (a, b) in enumerate(pairs(some[150:250])):
            strategy, side, length = ("longest_first", "only_first", "only_second")[i % 3], ("right", "left")[i % 2], (8, 13, 32)[i % 7 % 3]
            tokenizer.enable_truncation(length, strategy=strategy, direction=side)
            try:
                cases.append(golden_case(tokenizer, a, b, {"max_length": length, "truncation": strategy, "left": side == "left"}))
            except BaseException:
                cases.append({"text": a.hex(), "pair": b.hex(), "max_length": length, "truncation": strategy, "left": side == "left", "fails": True})
            tokenizer.no_truncation()
        with open(os.path.join(folder, name, "cases.jsonl"), "w", encoding="utf-8") as file:
            for case in cases:
                file.write(json.dumps(case, ensure_ascii=True, separators=(",", ":")) + "\n")
    with open(os.path.join(folder, "unicode.txt"), "w", encoding="utf-8") as file:
        file.writelines(unicode_hashes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--lines", type=int, default=120000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--golden", metavar="DIR")
    arguments = parser.parse_args()
    if arguments.golden:
        return write_golden(arguments.golden)
    with Workplace() as place:
        check_texts(arguments.model or minilm(), arguments.lines, arguments.seed)
        check_transformers(place, check_training(place))
    finish()


if __name__ == "__main__":
    main()
