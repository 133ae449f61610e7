"""Vectors of all-MiniLM-L6-v2 from `quern embed` equal those of sentence-transformers to 1e-5."""
import json
import os

from common import ODD_TEXTS, Workplace, check_close, finish, json_lines, minilm, quern, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
from sentence_transformers import SentenceTransformer

texts = [r["text"] for r in wordnet("test", 2000)] + ODD_TEXTS + [" ".join(["word"] * n) for n in (1, 2, 15, 16, 17, 62, 63, 64, 65, 127, 253, 254, 255, 300)]
with Workplace() as place:
    folder = minilm()
    reference = SentenceTransformer(folder, device="cpu").encode(texts, batch_size=32, convert_to_numpy=True)
    lines = place.file("texts.txt", "\n".join(texts) + "\n")
    output = place.file("vectors.npy")
    quern("embed", "--model", folder, "--input", lines, "--output", output)
    check_close("vectors of plain lines, .npy", np.load(output), reference, 1e-5)

    rows = place.file("texts.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in texts[:100]))
    quern("embed", "--model", folder, "--input", rows, "--output", output)
    check_close("vectors of JSON lines, .npy", np.load(output), reference[:100], 1e-5)

    printed = json_lines(quern("embed", "--model", folder, stdin="\n".join(texts[:100]) + "\n"))
    vectors = [r["embedding"] if isinstance(r, dict) else r for r in printed]
    check_close("vectors on standard output", vectors, reference[:100], 1e-5)
finish()
