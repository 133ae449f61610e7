"""Reranking: a folder that Quern trained gives the same scores in sentence-transformers' CrossEncoder, and its evaluator the same measures.
Data: words and definitions of WordNet; a word's own definition fits, others do not."""
import json

import numpy as np
from common import Workplace, check, check_close, finish, json_lines, minilm, quern, wordnet
from sentence_transformers import CrossEncoder
from sklearn.metrics import average_precision_score, ndcg_score

with Workplace() as place:
    rows, test = wordnet("train", 300), wordnet("test", 120)
    triples = [{"query": r["word"], "positive": r["text"], "negative": rows[(i + 7) % len(rows)]["text"]} for i, r in enumerate(rows)]
    output = place.file("model")
    quern("finetune", "--task", "rerank", "--model", minilm(), "--train-file", place.tsv("train.tsv", triples), "--output-dir", output,
          "--learning-rate", "2e-4", "--per-device-train-batch-size", 16, "--max-steps", 30)
    model = CrossEncoder(output)
    documents = [r["text"] for r in test]
    folder = place.file("documents.txt", "\n".join(documents) + "\n")
    ours = json_lines(quern("rerank", "--model", output, "--query", test[3]["word"], "--top", 0, folder))
    theirs = model.predict([(test[3]["word"], d) for d in documents])
    check_close("scores", [r["score"] for r in ours], [theirs[r["index"]] for r in ours], 1e-5)
    check("order", [r["score"] for r in ours] == sorted((r["score"] for r in ours), reverse=True), f"{len(ours)} documents")
    pairs = [{"query": test[i]["word"], "document": test[(i + k * k) % len(test)]["text"], "label": int(k == 0)} for i in range(20) for k in range(6)]
    scores = model.predict([(p["query"], p["document"]) for p in pairs], activation_fn=None).reshape(20, 6)
    gold = np.array([p["label"] for p in pairs]).reshape(20, 6)
    ranks = [1 + int((s > s[0]).sum()) for s in scores]
    metrics = json.loads(quern("eval", "--model", output, "--data", place.tsv("test.tsv", pairs)))
    check_close("MRR@10", metrics["mrr_at_10"], np.mean([1 / r for r in ranks]), 1e-6)
    check_close("nDCG@10", metrics["ndcg_at_10"], np.mean([ndcg_score([g], [s], k=10) for g, s in zip(gold, scores)]), 1e-6)
    check_close("average precision", metrics["map"], np.mean([average_precision_score(g, s) for g, s in zip(gold, scores)]), 1e-6)
finish()
