"""Writes reranking.json beside this file: gains and scores of documents for some queries, and what sentence-transformers' evaluator for
cross-encoders computes of them: MRR@10, scikit-learn's nDCG@10 and average precision.

Usage: python make_reranking.py (needs numpy and scikit-learn)
"""
import json
import os

import numpy as np
from sklearn.metrics import average_precision_score, ndcg_score


def main():
    rng = np.random.default_rng(5)
    rows, mrr, ndcg, ap = [], [], [], []
    for query in range(12):
        n = int(rng.integers(2, 30))
        gain = (rng.random(n) < 0.25).astype(float) if query else np.zeros(n)  # the first query has no answer
        score = rng.normal(size=n).astype(np.float32)
        rows += [[query, g, float(s)] for g, s in zip(gain, score)]
        if not gain.any():
            continue
        order = np.argsort(-score)
        ranks = [i + 1 for i, k in enumerate(order[:10]) if gain[k]]
        mrr.append(1 / ranks[0] if ranks else 0.0)
        ndcg.append(ndcg_score([gain], [score], k=10))
        ap.append(average_precision_score(gain, score))
    order = rng.permutation(len(rows))
    result = {"rows": [rows[i] for i in order], "queries": len(mrr), "mrr": np.mean(mrr), "ndcg": np.mean(ndcg), "map": np.mean(ap)}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "reranking.json"), "w") as file:
        json.dump(result, file)
        file.write("\n")


if __name__ == "__main__":
    main()
