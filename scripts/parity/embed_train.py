"""Losses, training and evaluators of sentence embeddings equal those of sentence-transformers, from the same weights on the same batches."""
import json
import os

from common import Workplace, check, check_close, finish, quern, small_start, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from sentence_transformers.sentence_transformer import evaluation, losses
from sentence_transformers.util import cos_sim, pairwise_cos_sim

STEPS, COUNT, RATE, EPSILON = 6, 24, 1e-3, 1e-3  # a large epsilon keeps updates smooth in the gradient


def examples():
    rows = wordnet("train", 2 * COUNT)
    for i in range(COUNT):
        yield {"anchor": rows[i]["word"].replace("_", " "), "positive": rows[i]["text"], "negative": rows[i + COUNT]["text"],
               "score": (i * 7 % 11) / 10, "label": i % 2}


ROWS = list(examples())
PAIR, TRIPLET = ["anchor", "positive"], ["anchor", "positive", "negative"]
CASES = [  # name, columns of texts, number, options of quern, loss of sentence-transformers
    ("multiple-negatives", PAIR, None, [], lambda m: losses.MultipleNegativesRankingLoss(m)),
    ("multiple-negatives", TRIPLET, None, ["--scale", 10], lambda m: losses.MultipleNegativesRankingLoss(m, scale=10)),
    ("multiple-negatives", PAIR, None, ["--symmetric"], lambda m: losses.MultipleNegativesSymmetricRankingLoss(m)),
    ("multiple-negatives", TRIPLET, None, ["--mini-batch", 16], lambda m: losses.CachedMultipleNegativesRankingLoss(m, mini_batch_size=16)),
    ("multiple-negatives", PAIR, None, ["--matryoshka-dims", "64,32,8", "--matryoshka-weights", "1,0.5,0.25"],
     lambda m: losses.MatryoshkaLoss(m, losses.MultipleNegativesRankingLoss(m), [64, 32, 8], [1, 0.5, 0.25])),
    ("cosent", PAIR, "score", [], lambda m: losses.CoSENTLoss(m)),
    ("cosine", PAIR, "score", ["--pooling", "cls"], lambda m: losses.CosineSimilarityLoss(m)),
    ("triplet", TRIPLET, None, ["--pooling", "max"], lambda m: losses.TripletLoss(m)),
    ("triplet", TRIPLET, None, ["--similarity", "cosine", "--margin", 0.3],
     lambda m: losses.TripletLoss(m, losses.TripletDistanceMetric.COSINE, 0.3)),
    ("margin-mse", TRIPLET, "score", [], lambda m: losses.MarginMSELoss(m)),
    ("contrastive", PAIR, "label", ["--normalize"], lambda m: losses.ContrastiveLoss(m)),
]


# From a folder with poolings side by side, a dense layer and a normalisation; the query's prompt is not pooled.
MODULE_CASES = [
    ("multiple-negatives", PAIR, None, [], lambda m: losses.MultipleNegativesRankingLoss(m)),
    ("cosent", PAIR, "score", ["--query-prompt", "query", "--document-prompt", "text: "], lambda m: losses.CoSENTLoss(m)),
    ("triplet", TRIPLET, None, ["--query-prompt", "word : ", "--mini-batch", 7], lambda m: losses.TripletLoss(m)),
]


def with_modules(base, folder):
    torch.manual_seed(5)
    model = SentenceTransformer(base, device="cpu", prompts={"query": "the word "})
    model[1] = Pooling(64, ("weightedmean", "cls", "lasttoken"), include_prompt=False)
    model.append(Dense(192, 24, activation_function=torch.nn.GELU()))
    model.append(Normalize())
    model.save(folder)
    return folder


def torch_model(folder, options):
    model = SentenceTransformer(folder, device="cpu")
    if "--pooling" in options:
        model[1].pooling_mode = options[options.index("--pooling") + 1]
    if "--normalize" in options:
        model.append(Normalize())
    model.max_seq_length = 64
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def train_torch(folder, columns, number, options, make):
    """The losses of the steps, and the model: each step sees all examples."""
    model = torch_model(folder, options)
    loss = make(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0, eps=EPSILON)
    given = {o: options[options.index(o) + 1] if o in options else "" for o in ("--query-prompt", "--document-prompt")}
    prompts = [model.prompts.get(p, p) for p in given.values()]
    features = [model.preprocess([r[c] for r in ROWS], prompt=prompts[k > 0] or None) for k, c in enumerate(columns)]
    labels = torch.tensor([float(r[number]) if number else 0.0 for r in ROWS])
    values = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss([dict(f) for f in features], labels)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values, model.eval()


def train_quern(place, folder, name, columns, number, options):
    keys = columns + ([number] if number else [])
    data, output = place.tsv("train.tsv", [{k: r[k] for k in keys} for r in ROWS]), place.file("trained")
    quern("finetune", "--task", "embed", "--model", folder, "--train-file", data, "--output-dir", output, "--overwrite", "--loss", name,
          "--batch-size", COUNT, "--max-steps", STEPS, "--learning-rate", RATE, "--lr-scheduler-type", "constant", "--warmup-ratio", 0,
          "--weight-decay", 0, "--adam-epsilon", EPSILON, "--max-grad-norm", 0, "--dropout", 0, "--max-length", 64, "--logging-steps", 1,
          "--no-no-duplicates", *options)
    with open(os.path.join(output, "log.jsonl")) as f:
        return [e["loss"] for e in map(json.loads, f) if e.get("event") == "train"], output


def compare_training(place, folder, cases):
    texts = [r["positive"] for r in ROWS] + [r["anchor"] for r in ROWS]
    for name, columns, number, options, make in cases:
        ours, output = train_quern(place, folder, name, columns, number, options)
        theirs, model = train_torch(folder, columns, number, options, make)
        what = " ".join(map(str, [name, len(columns), "texts", *options]))
        check_close(f"{what}: loss of the first step", ours[:1], theirs[:1], 1e-5 * max(1, abs(theirs[0])))
        check_close(f"{what}: losses of {STEPS} steps", ours, theirs, 1e-4 * max(1, abs(theirs[0])))
        loaded = SentenceTransformer(output, device="cpu").encode(texts, convert_to_numpy=True)
        lines, vectors = place.file("texts.txt", "\n".join(texts) + "\n"), place.file("vectors.npy")
        quern("embed", "--model", output, "--input", lines, "--output", vectors)
        check_close(f"{what}: the folder's vectors", np.load(vectors), loaded, 1e-5)
        check_close(f"{what}: vectors after {STEPS} steps", loaded, model.encode(texts, convert_to_numpy=True), 1e-4 * max(1, np.abs(loaded).max()))


def compare_evaluators(place, folder):
    model = SentenceTransformer(folder, device="cpu")
    rows = wordnet("test", 400)
    pairs = [{"query": r["word"].replace("_", " "), "document": r["text"]} for r in rows]
    ours = json.loads(quern("eval", "--task", "retrieval", "--model", folder, "--data", place.tsv("retrieval.tsv", pairs)))
    queries, documents = list(dict.fromkeys(p["query"] for p in pairs)), list(dict.fromkeys(p["document"] for p in pairs))
    relevant = {str(i): {f"{documents.index(p['document']):06d}" for p in pairs if p["query"] == q} for i, q in enumerate(queries)}
    theirs = evaluation.InformationRetrievalEvaluator({str(i): q for i, q in enumerate(queries)}, {f"{i:06d}": d for i, d in enumerate(documents)},
                                                      relevant, precision_recall_at_k=[1, 5, 10], score_functions={"cosine": cos_sim})(model)
    names = ["ndcg@10", "mrr@10", "accuracy@1", "recall@1", "recall@5", "recall@10", "map@100"]
    check_close("retrieval", [ours[n.replace("@", "_at_")] for n in names], [theirs["cosine_" + n] for n in names], 1e-5)
    triplets = [{k: r[k] for k in TRIPLET} for r in ROWS]
    ours = json.loads(quern("eval", "--task", "triplets", "--model", folder, "--data", place.tsv("triplets.tsv", triplets)))
    theirs = evaluation.TripletEvaluator(*[[r[k] for r in triplets] for k in TRIPLET])(model)
    check_close("triplets", ours["accuracy"], theirs["cosine_accuracy"], 1e-6)
    scored = [{"sentence1": r["anchor"], "sentence2": r["positive"], "score": r["score"]} for r in ROWS]
    ours = json.loads(quern("eval", "--task", "embed", "--model", folder, "--data", place.tsv("sts.tsv", scored)))
    theirs = evaluation.EmbeddingSimilarityEvaluator([r["sentence1"] for r in scored], [r["sentence2"] for r in scored], [r["score"] for r in scored])(model)
    check_close("pairs with scores", [ours["pearson"], ours["spearman"]], [theirs["pearson_cosine"], theirs["spearman_cosine"]], 1e-5)


with Workplace() as place:
    start, text = small_start(place)
    base = place.file("base")
    quern("pretrain", "--objective", "mlm", *start, "--train-file", text, "--output-dir", base, "--learning-rate", "1e-3", "--max-steps", 40,
          "--batch-tokens", 1024, "--seed", 7)
    compare_training(place, base, CASES)
    compare_training(place, with_modules(base, place.file("modules")), MODULE_CASES)
    compare_evaluators(place, base)
finish()
