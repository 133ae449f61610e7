"""Tagging: a folder that Quern trained gives the same tags, spans and scores in transformers, the same entity scores in seqeval, and the
same weights after some steps. Data: names in WordNet's definitions (scripts/make-wordnet-tags.sh)."""
import json
import os
import subprocess

import numpy as np
import torch
from common import ROOT, Workplace, check, check_close, finish, json_lines, minilm, quern
from seqeval.metrics import f1_score
from transformers import AutoModelForTokenClassification, AutoTokenizer


def read_conll(path, limit):
    texts = open(path, encoding="utf-8").read().strip().split("\n\n")[:limit]
    return [[line.split(" ") for line in text.split("\n")] for text in texts]


def write_conll(place, name, texts):
    return place.file(name, "".join("".join(f"{w} {t}\n" for w, t in text) + "\n" for text in texts))


class Reference:
    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model, info = AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
        missing, extra = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
        check("transformers finds every weight", not missing and not extra, f"missing {missing}, unexpected {extra}")
        self.model.eval()
        self.names = self.model.config.id2label

    def scores(self, words):
        """log-softmax of each word's first token, [words, labels]"""
        e = self.tokenizer(words, is_split_into_words=True, return_tensors="pt")
        ids = e.word_ids()
        first = [i for i, w in enumerate(ids) if w is not None and (i == 0 or ids[i - 1] != w)]
        with torch.no_grad():
            return torch.log_softmax(self.model(**e).logits[0, first].double(), -1).numpy()


def viterbi(scores, names):
    """The best sequence in which I-X stands behind B-X or I-X."""
    def legal(a, b):
        return not names[b].startswith("I-") or (a is not None and names[a][:1] in "BI" and names[a][2:] == names[b][2:])
    best = [{k: (scores[0][k], [k]) for k in names if legal(None, k)}]
    for row in scores[1:]:
        best.append({k: max((s + row[k], path + [k]) for j, (s, path) in best[-1].items() if legal(j, k))
                     for k in names if any(legal(j, k) for j in best[-1])})
    return max(best[-1].values())[1]


def spans(words, tags, scores, names):
    """(label, start, end, score) in characters, as seqeval's default mode reads the tags."""
    starts = np.cumsum([0] + [len(w) + 1 for w in words])
    out, last = [], "O"
    for i, k in enumerate(tags):
        name = names[k]
        if name != "O" and (name[0] == "B" or last == "O" or last[2:] != name[2:]):
            out.append([name[2:], i, i, []])
        if name != "O":
            out[-1][2] = i
            out[-1][3].append(np.exp(scores[i][k]))
        last = name
    return [(label, int(starts[a]), int(starts[b] + len(words[b])), float(np.mean(p))) for label, a, b, p in out]


def compare_spans(what, folder, reference, texts, *options, decode):
    lines = [" ".join(w for w, _ in text) for text in texts]
    found = json_lines(quern("predict", "--model", folder, "--split-by-space", *options, stdin="\n".join(lines) + "\n"))
    worst, wrong = 0.0, 0
    for text, ours in zip(texts, found):
        words = [w for w, _ in text]
        scores = reference.scores(words)
        theirs = spans(words, decode(scores), scores, reference.names)
        mine = [(s["label"], s["start"], s["end"], s["score"]) for s in ours["spans"]]
        wrong += [m[:3] for m in mine] != [t[:3] for t in theirs]
        worst = max([worst] + [abs(m[3] - t[3]) for m, t in zip(mine, theirs)])
    check(f"spans, {what}", wrong == 0, f"{wrong} of {len(texts)} texts differ")
    check(f"scores of spans, {what}", worst <= 1e-5, f"largest difference {worst:.2e} (at most 1e-05)")


def train_steps(folder, texts, output, steps):
    """AdamW on all texts at once, as Quern does with one batch per epoch, without dropout."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = sorted({t for text in texts for _, t in text})
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(output, num_labels=len(names))
    model.train()
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0.0
    e = tokenizer([[w for w, _ in t] for t in texts], is_split_into_words=True, padding=True, return_tensors="pt")
    labels = torch.full(e["input_ids"].shape, -100)
    for i, text in enumerate(texts):
        ids = e.word_ids(i)
        for k, w in enumerate(ids):
            if w is not None and ids[k - 1] != w:
                labels[i, k] = names.index(text[w][1])
    decay = [p for n, p in model.named_parameters() if p.dim() > 1]
    plain = [p for n, p in model.named_parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], lr=1e-4, eps=1e-8)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**e, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


with Workplace() as place:
    folder = place.file("names")
    subprocess.run([os.path.join(ROOT, "scripts", "make-wordnet-tags.sh"), folder], check=True, stdout=subprocess.DEVNULL)
    train, test = read_conll(os.path.join(folder, "train.conll"), 1200), read_conll(os.path.join(folder, "test.conll"), 300)
    output = place.file("model")
    options = ["--task", "tag", "--train-file", write_conll(place, "train.conll", train), "--per-device-train-batch-size", 32]
    quern("finetune", *options, "--model", minilm(), "--output-dir", output, "--learning-rate", "3e-4", "--num-train-epochs", 1, "--seed", 7)
    reference = Reference(output)
    names = reference.names
    compare_spans("best tag of each word", output, reference, test, "--unconstrained", decode=lambda s: s.argmax(-1).tolist())
    compare_spans("best legal sequence", output, reference, test, decode=lambda s: viterbi(s, names))
    metrics = json.loads(quern("eval", "--model", output, "--data", write_conll(place, "test.conll", test)))
    gold = [[t for _, t in text] for text in test]
    predicted = [[names[k] for k in reference.scores([w for w, _ in text]).argmax(-1)] for text in test]
    check_close("F1 as seqeval counts it", metrics["f1"], f1_score(gold, predicted), 1e-8)
    check_close("macro F1", metrics["macro_f1"], f1_score(gold, predicted, average="macro"), 1e-8)
    # From the same weights, some steps on one batch, with and without torch.
    few = write_conll(place, "few.conll", train[:16])
    start, after = place.file("start"), place.file("after")
    same = ["--task", "tag", "--train-file", few, "--per-device-train-batch-size", 16, "--dropout", 0, "--warmup-ratio", 0,
            "--lr-scheduler-type", "constant", "--weight-decay", 0.01]
    quern("finetune", *same, "--model", output, "--output-dir", start, "--max-steps", 1, "--learning-rate", 0)
    quern("finetune", *same, "--model", start, "--output-dir", after, "--max-steps", 10, "--learning-rate", "1e-4")
    theirs = train_steps(minilm(), train[:16], start, 10)
    ours = Reference(after)
    mine, other = [], []
    for text in test[:50]:
        e = ours.tokenizer([w for w, _ in text], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            mine.append(ours.model(**e).logits[0].numpy())
            other.append(theirs(**e).logits[0].numpy())
    check_close("logits after 10 steps of both", np.concatenate(mine), np.concatenate(other), 2e-3)
finish()
