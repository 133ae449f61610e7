"""Writes metrics.json beside this file: small inputs and what scikit-learn and SciPy say of them.

Usage: python make.py (needs numpy, scipy, scikit-learn; made with scikit-learn 1.9, SciPy 1.17).
Values that these libraries leave undefined are null. The expected calibration error, which neither has, is computed by numpy here.
"""
import json
import math
import os
import warnings

import numpy as np
from scipy import stats
from sklearn import metrics as m

warnings.filterwarnings("ignore")


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (np.integer, int)):
        return int(value)
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else None


def calibration_error(gold, predicted, probability, bins=15):
    top = probability[np.arange(len(gold)), predicted]
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    error = 0.0
    for b in range(bins):
        inside = bin_of == b
        if inside.any():
            error += inside.mean() * abs((gold == predicted)[inside].mean() - top[inside].mean())
    return error


def classification(name, classes, gold, predicted, probability=None):
    gold, predicted = np.array(gold), np.array(predicted)
    labels = range(classes)
    p, r, f, _ = m.precision_recall_fscore_support(gold, predicted, labels=labels, zero_division=np.nan)
    macro = m.precision_recall_fscore_support(gold, predicted, average="macro", zero_division=0)
    case = {
        "name": name, "classes": classes, "gold": gold, "predicted": predicted,
        "accuracy": m.accuracy_score(gold, predicted), "macro_precision": macro[0], "macro_recall": macro[1],
        "macro_f1": m.f1_score(gold, predicted, average="macro"), "weighted_f1": m.f1_score(gold, predicted, average="weighted"),
        "micro_f1": m.f1_score(gold, predicted, average="micro"), "mcc": m.matthews_corrcoef(gold, predicted),
        "precision": p, "recall": r, "f1": f, "confusion": m.confusion_matrix(gold, predicted, labels=labels),
    }
    if probability is not None:
        probability = np.array(probability, dtype=np.float32).astype(np.float64)
        case["probability"] = probability.reshape(-1)
        # scikit-learn wants rows that sum to 1 in the type given; ours do in float32 only, hence the loss by hand and a check.
        chosen = np.clip(probability[np.arange(len(gold)), gold], np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
        case["log_loss"] = -np.log(chosen).mean()
        assert abs(case["log_loss"] - m.log_loss(gold, probability, labels=labels)) < 1e-6
        case["ece"] = calibration_error(gold, predicted, probability)
    return case


def multilabel(name, gold, score, threshold):
    gold = np.array(gold)
    score = np.array(score, dtype=np.float32).astype(np.float64)
    predicted = (score >= threshold).astype(int)
    p, r, f, _ = m.precision_recall_fscore_support(gold, predicted, zero_division=np.nan)
    return {
        "name": name, "labels": gold.shape[1], "threshold": threshold, "gold": gold.reshape(-1), "score": score.reshape(-1),
        "micro_precision": m.precision_score(gold, predicted, average="micro"),
        "micro_recall": m.recall_score(gold, predicted, average="micro"), "micro_f1": m.f1_score(gold, predicted, average="micro"),
        "macro_f1": m.f1_score(gold, predicted, average="macro"), "weighted_f1": m.f1_score(gold, predicted, average="weighted"),
        "subset_accuracy": m.accuracy_score(gold, predicted), "hamming_loss": m.hamming_loss(gold, predicted),
        "mean_average_precision": m.average_precision_score(gold, score, average="macro"),
        "precision": p, "recall": r, "f1": f,
        "average_precision": [m.average_precision_score(gold[:, k], score[:, k]) if gold[:, k].any() else None
                              for k in range(gold.shape[1])],
    }


def regression(name, gold, predicted):
    gold = np.array(gold, dtype=np.float32).astype(np.float64)
    predicted = np.array(predicted, dtype=np.float32).astype(np.float64)
    mse = m.mean_squared_error(gold, predicted)
    return {
        "name": name, "gold": gold, "predicted": predicted, "mse": mse, "rmse": math.sqrt(mse),
        "mae": m.mean_absolute_error(gold, predicted), "r2": m.r2_score(gold, predicted) if len(gold) > 1 else None,
        "pearson": stats.pearsonr(gold, predicted)[0] if len(gold) > 1 else None,
        "spearman": stats.spearmanr(gold, predicted)[0] if len(gold) > 1 else None,
    }


def main():
    rng = np.random.default_rng(7)

    def softmax(n, k, gold, strength):
        logits = rng.normal(size=(n, k)) * 1.5
        logits[np.arange(n), gold] += strength
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    cases = {"classification": [], "multilabel": [], "regression": []}
    for name, n, k, strength in [("five classes", 80, 5, 1.5), ("two classes", 40, 2, 0.7), ("twelve classes, some absent", 30, 12, 1.0)]:
        gold = rng.integers(0, k, size=n)
        if k == 12:
            gold[gold == 3] = 4
        probability = softmax(n, k, gold, strength).astype(np.float32)
        cases["classification"].append(classification(name, k, gold, probability.argmax(1), probability))
    cases["classification"] += [
        classification("constant prediction", 3, [0, 1, 2, 1, 0, 0], [1] * 6),
        classification("constant gold", 3, [2] * 5, [2, 2, 0, 1, 2]),
        classification("all right", 3, [0, 1, 2, 2], [0, 1, 2, 2]),
        classification("all wrong", 2, [0, 1, 1, 0], [1, 0, 0, 1]),
        classification("one class", 1, [0, 0, 0], [0, 0, 0]),
        classification("class absent from both", 4, [0, 1, 3, 3], [0, 3, 3, 1]),
        classification("sure and wrong", 2, [0, 1, 1], [1, 1, 1], [[0, 1], [0, 1], [0.25, 0.75]]),
    ]
    score = rng.random((40, 6))
    gold = (rng.random((40, 6)) < 0.25 + 0.4 * score).astype(int)
    cases["multilabel"] += [
        multilabel("six labels", gold, score, 0.5),
        multilabel("ties", gold[:, :4], np.round(score[:, :4] * 5) / 5, 0.4),
        multilabel("label without positives", [[1, 0, 0], [1, 0, 1], [0, 0, 1]], [[.9, .1, .2], [.4, .2, .8], [.6, .7, .7]], 0.5),
        multilabel("label in neither", [[1, 0], [0, 0]], [[.9, .1], [.6, .2]], 0.5),
    ]
    gold = rng.normal(size=50) * 2 + 3
    cases["regression"] += [
        regression("noise", gold, gold * 0.8 + rng.normal(size=50) * 0.5),
        regression("ties", rng.integers(0, 6, size=40), rng.integers(0, 6, size=40) / 2),
        regression("constant prediction", [1, 2, 3, 4], [2.1] * 4),
        regression("constant gold", [2.1] * 4, [1, 2, 3, 4]),
        regression("constant gold, all right", [0.1] * 3, [0.1] * 3),
        regression("inverse", [1, 2, 3], [30, 20, 10]),
        regression("two", [1, 2], [5, 9]),
        regression("one", [1], [2]),
    ]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics.json")
    with open(path, "w") as file:
        file.write("{\n")
        for i, (kind, entries) in enumerate(cases.items()):
            lines = ",\n".join("  " + json.dumps({"name": e.pop("name")} | plain(e)) for e in entries)
            file.write(f' "{kind}": [\n{lines}\n ]{"," if i < 2 else ""}\n')
        file.write("}\n")


main()
