"""Question answering: a folder that Quern trained gives the same answers in transformers, found as run_qa.py does, and the same exact match
and F1; long contexts in windows, questions without an answer. Data: scripts/make-wordnet-questions.sh, from data/wordnet."""
import json
import os
import subprocess
import sys

import numpy as np
import torch
from common import ROOT, Workplace, check, check_close, finish, json_lines, minilm, quern
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

sys.path.insert(0, os.path.join(ROOT, "tests", "golden", "metrics"))
from make_answers import f1, normalize

LENGTH, STRIDE, BEST, LONGEST = 80, 24, 20, 30


def read(path, limit):
    return [json.loads(line) for line in open(path, encoding="utf-8")][:limit]


class Reference:
    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model, info = AutoModelForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
        missing, extra = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
        check("transformers finds every weight", not missing and not extra, f"missing {missing}, unexpected {extra}")
        self.model.eval()

    def answer(self, question, context, allow_none):
        """(text, score of the best span, margin of none) as postprocess_qa_predictions of run_qa.py"""
        e = self.tokenizer(question, context, truncation="only_second", max_length=LENGTH, stride=STRIDE, return_overflowing_tokens=True,
                           return_offsets_mapping=True)
        found, null = [], None
        for i in range(len(e["input_ids"])):
            args = {k: torch.tensor([e[k][i]]) for k in ("input_ids", "token_type_ids", "attention_mask")}
            with torch.no_grad():
                out = self.model(**args)
            starts, ends = out.start_logits[0].double().numpy(), out.end_logits[0].double().numpy()
            offsets = [o if s == 1 else None for o, s in zip(e["offset_mapping"][i], e.sequence_ids(i))]
            null = min(x for x in (null, starts[0] + ends[0]) if x is not None)
            for s in np.argsort(starts)[-1 : -BEST - 1 : -1]:
                for t in np.argsort(ends)[-1 : -BEST - 1 : -1]:
                    if offsets[s] is not None and offsets[t] is not None and s <= t < s + LONGEST:
                        found.append((starts[s] + ends[t], offsets[s][0], offsets[t][1]))
        found.sort(key=lambda f: f[0], reverse=True)
        scores = [f[0] for f in found[:BEST]]
        if allow_none:
            scores = sorted(scores + [null], reverse=True)[:BEST]
            scores += [null] if null not in scores else []
        p = np.exp(found[0][0] - scores[0]) / np.exp(np.array(scores) - scores[0]).sum()
        none = allow_none and null > found[0][0]
        return None if none else context[found[0][1] : found[0][2]], p, null - found[0][0]


with Workplace() as place:
    folder = place.file("questions")
    subprocess.run([os.path.join(ROOT, "scripts", "make-wordnet-questions.sh"), folder], check=True)
    train, test = read(os.path.join(folder, "train.jsonl"), 600), read(os.path.join(folder, "test.jsonl"), 60)
    lines = lambda rows: "".join(json.dumps(r) + "\n" for r in rows)
    output, data = place.file("model"), place.file("test.jsonl", lines(test))
    quern("finetune", "--task", "answer", "--model", minilm(), "--train-file", place.file("train.jsonl", lines(train)), "--output-dir", output,
          "--learning-rate", "2e-4", "--per-device-train-batch-size", 8, "--max-steps", 60, "--max-seq-length", LENGTH, "--doc-stride", STRIDE)
    reference = Reference(output)
    exact, overlap = [], []
    for allow in (False, True):
        options = ["--allow-none"] if allow else []
        ours = json_lines(quern("answer", "--model", output, "--input", data, "--max-seq-length", LENGTH, "--doc-stride", STRIDE, *options))
        theirs = [reference.answer(r["question"], r["context"], allow) for r in test]
        same = sum(o["answer"] == (t[0].strip() if t[0] is not None else None) for o, t in zip(ours, theirs))
        check(f"answers{', or none' if allow else ''}", same == len(test), f"{same} of {len(test)} are equal")
        check_close("probabilities", [o["score"] for o in ours if o["answer"]], [t[1] for t in theirs if t[0]], 1e-5)
        check_close("margins of none", [o["none_margin"] for o in ours], [t[2] for t in theirs], 1e-4)
    for r, t in zip(test, theirs):
        gold = r["answers"] or [""]
        exact.append(max(normalize(t[0] or "") == normalize(g) for g in gold))
        overlap.append(max(f1(t[0] or "", g) for g in gold))
    metrics = json.loads(quern("eval", "--model", output, "--data", data, "--max-seq-length", LENGTH, "--doc-stride", STRIDE))
    check_close("exact match", metrics["exact_match"], np.mean(exact), 1e-8)
    check_close("F1", metrics["f1"], np.mean(overlap), 1e-8)
    # The same questions as SQuAD's JSON.
    squad = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": r["context"], "qas": [
        {"id": str(i), "question": r["question"], "is_impossible": not r["answers"],
         "answers": [{"text": a, "answer_start": r["context"].index(a)} for a in r["answers"]]}]}]} for i, r in enumerate(test)]}
    again = json.loads(quern("eval", "--model", output, "--data", place.file("test.json", json.dumps(squad)), "--max-seq-length", LENGTH,
                             "--doc-stride", STRIDE))
    check("SQuAD's JSON says the same", again == metrics, f"F1 {again['f1']:.4f}")
finish()
