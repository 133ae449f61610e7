"""A folder that Quern writes loads in sentence-transformers, which gives the vectors of `quern embed`."""
import os

from common import ODD_TEXTS, Workplace, check_close, finish, quern, small_start, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
from sentence_transformers import SentenceTransformer

with Workplace() as place:
    start, text = small_start(place)
    model = place.file("model")
    quern("pretrain", "--objective", "mlm", *start, "--train-file", text, "--output-dir", model, "--learning-rate", "1e-3",
          "--max-steps", 40, "--batch-tokens", 1024, "--seed", 7)
    texts = [r["text"] for r in wordnet("test", 300)] + ODD_TEXTS
    lines, output = place.file("texts.txt", "\n".join(texts) + "\n"), place.file("vectors.npy")
    quern("embed", "--model", model, "--input", lines, "--output", output)
    check_close("vectors", np.load(output), SentenceTransformer(model, device="cpu").encode(texts, convert_to_numpy=True), 1e-5)
finish()
