"""ColBERT: a folder that Quern wrote gives the same vectors and scores by the rules of PyLate's ColBERT over transformers' BertModel, and
trains by the same losses. Where PyLate itself is installed, it opens the folder too. Data: words and definitions of WordNet."""
import json
import os
import shutil

import numpy as np
import torch
from common import Workplace, check, check_close, finish, json_lines, minilm, quern, wordnet
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, logging

logging.disable_progress_bar()
logging.set_verbosity_error()


class Reference(torch.nn.Module):
    """As pylate.models.ColBERT: tokenize, forward and the masks of encode."""

    def __init__(self, folder):
        super().__init__()
        with open(os.path.join(folder, "config_sentence_transformers.json"), encoding="utf-8") as f:
            self.settings = json.load(f)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder)
        weights = load_file(os.path.join(folder, "1_Dense", "model.safetensors"))
        self.linear = torch.nn.Linear(*reversed(weights["linear.weight"].shape), bias=False)
        self.linear.load_state_dict({"weight": weights["linear.weight"]})
        self.skipped = set(self.tokenizer.convert_tokens_to_ids(self.settings["skiplist_words"]))

    def forward(self, texts, query):
        side = "query" if query else "document"
        length, prefix = self.settings[side + "_length"], self.tokenizer.convert_tokens_to_ids(self.settings[side + "_prefix"])
        rows = [self.tokenizer(t, max_length=length - 1, truncation=True)["input_ids"] for t in texts]
        rows = [r[:1] + [prefix] + r[1:] for r in rows]
        longest = length if query else max(map(len, rows))
        fill = self.tokenizer.mask_token_id if query else self.tokenizer.pad_token_id
        ids = torch.tensor([r + [fill] * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = torch.nn.functional.normalize(self.linear(hidden), dim=-1)
        kept = torch.ones_like(mask) if query else mask * torch.tensor([[int(int(i) not in self.skipped) for i in r] for r in ids])
        return vectors, kept.bool()


def scores(model, queries, documents):
    q, _ = model(queries, True)
    d, kept = model(documents, False)
    products = torch.einsum("qtd,nsd->qnts", q, d).masked_fill(~kept[None, :, None, :], -1e9)
    return products.max(-1).values.sum(-1)


with Workplace() as place:
    rows = [r for r in wordnet("train", 32)]
    pairs = place.tsv("pairs.tsv", [{"query": r["word"], "document": r["text"] + ", (or so)!"} for r in rows])
    first, second = place.file("first"), place.file("second")
    common = ["--task", "embed", "--multi-vector", "--train-file", pairs, "--per-device-train-batch-size", 32, "--dropout", 0, "--warmup-ratio", 0,
              "--lr-scheduler-type", "constant", "--max-grad-norm", 0, "--weight-decay", 0, "--logging-steps", 1]
    quern("finetune", *common, "--model", minilm(), "--dense", 64, "--max-steps", 10, "--learning-rate", "1e-4", "--output-dir", first)
    model = Reference(first).eval()
    texts = ["a mill for grain", "na\u00efve, caf\u00e9; and more.", "?", "word " * 300]
    for query in (True, False):
        ours = json_lines(quern("embed", "--model", first, *(["--queries"] if query else []), *texts))
        with torch.no_grad():
            vectors, kept = zip(*(model([t], query) for t in texts))
        for text, o, v, k in zip(texts, ours, vectors, kept):
            check_close(f"vectors of a {'query' if query else 'document'} of {len(text)} characters", o["vectors"], v[0][k[0]], 2e-5)
    with torch.no_grad():
        theirs = scores(model, [r["word"] for r in rows], [r["text"] + ", (or so)!" for r in rows]).numpy()
    ranks = 1 + (theirs > theirs.diagonal()[:, None]).sum(1)
    metrics = json.loads(quern("eval", "--task", "retrieval", "--model", first, "--data", pairs))
    check_close("MRR@10", metrics["mrr_at_10"], np.mean([1 / r if r <= 10 else 0 for r in ranks]), 1e-3)
    index = place.file("index")
    quern("index", "--model", first, "--input", pairs, "--text-column", "document", "--output", index)
    found = json_lines(quern("search", "--index", index, "--json", "--top-k", 5, rows[3]["word"]))[0]["results"]
    check_close("scores of a search", [f["score"] for f in found], np.sort(theirs[3])[::-1][:5], 1e-4)
    # The same model as colbert-ir keeps it: one file of weights, and artifact.metadata.
    stanford = place.file("stanford")
    os.makedirs(stanford)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(os.path.join(first, name), stanford)
    weights = {"bert." + k: v for k, v in load_file(os.path.join(first, "model.safetensors")).items()}
    weights["linear.weight"] = model.linear.weight.detach().clone()
    save_file(weights, os.path.join(stanford, "model.safetensors"))
    with open(os.path.join(first, "config.json"), encoding="utf-8") as f:
        place.file(os.path.join("stanford", "config.json"), json.dumps({**json.load(f), "architectures": ["HF_ColBERT"]}))
    place.file(os.path.join("stanford", "artifact.metadata"), json.dumps(dict(
        query_token_id="[unused0]", doc_token_id="[unused1]", query_maxlen=32, doc_maxlen=180, mask_punctuation=True, dim=64)))
    for options in ([], ["--queries"]):
        ours, theirs = (json_lines(quern("embed", "--model", folder, *options, *texts)) for folder in (stanford, first))
        check("a folder of colbert-ir", ours == theirs, "gives the same vectors")
    # Three steps over all pairs, the same from the same folder.
    quern("finetune", *common, "--model", first, "--max-steps", 3, "--learning-rate", "5e-5", "--output-dir", second)
    with open(os.path.join(second, "log.jsonl"), encoding="utf-8") as f:
        ours = [e["loss"] for e in map(json.loads, f) if e["event"] == "train"]
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0), []
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(scores(model, [r["word"] for r in rows], [r["text"] + ", (or so)!" for r in rows]),
                                                 torch.arange(len(rows)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    check_close("losses of three steps", ours, losses, 2e-4)
    try:
        from pylate import models
    except ImportError:
        print("SKIP late: PyLate is not installed")
    else:
        pylate = models.ColBERT(first)
        for query in (True, False):
            ours = json_lines(quern("embed", "--model", first, *(["--queries"] if query else []), *texts))
            for o, v in zip(ours, pylate.encode(texts, is_query=query)):
                check_close("vectors of PyLate", o["vectors"], v, 2e-5)
        check("folder", True, "opens in PyLate")
finish()
