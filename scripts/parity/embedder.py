"""Folders of sentence-transformers: what Quern writes loads there and gives the vectors of `quern embed`, and modules, prompts and
truncation of a folder that sentence-transformers writes are computed as there."""
import os

from common import ODD_TEXTS, Workplace, check_close, finish, quern, small_start, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

TEXTS = [r["text"] for r in wordnet("test", 300)] + ODD_TEXTS
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
FOLDERS = [  # poolings, include_prompt, dense layers (width, activation), normalize
    *[((mode,), False, [], False) for mode in MODES],
    (("cls", "mean"), True, [], True),
    (("lasttoken", "max", "weightedmean"), False, [(40, torch.nn.Tanh())], False),
    (("mean",), True, [(96, torch.nn.GELU()), (24, torch.nn.Identity())], True),
    (("mean", "max"), False, [(32, torch.nn.ReLU()), (48, torch.nn.SiLU())], True),
]
PROMPTS = {"query": "find what this is about: ", "document": "text: "}


def build(encoder, poolings, include_prompt, layers, normalize):
    transformer = Transformer(encoder)
    transformer.max_seq_length = 100
    modules, width = [transformer, Pooling(64, poolings, include_prompt=include_prompt)], 64 * len(poolings)
    for out, activation in layers:
        modules.append(Dense(width, out, bias=out != 48, activation_function=activation))
        width = out
    if normalize:
        modules.append(Normalize())
    return SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS, default_prompt_name="document").eval()


with Workplace() as place:
    start, text = small_start(place)
    model = place.file("model")
    quern("pretrain", "--objective", "mlm", *start, "--train-file", text, "--output-dir", model, "--learning-rate", "1e-3",
          "--max-steps", 40, "--batch-tokens", 1024, "--seed", 7)
    lines, output = place.file("texts.txt", "\n".join(TEXTS) + "\n"), place.file("vectors.npy")

    def embed(folder, *options):
        quern("embed", "--model", folder, "--input", lines, "--output", output, *options)
        return np.load(output)

    check_close("vectors", embed(model), SentenceTransformer(model, device="cpu").encode(TEXTS), 1e-5)
    for number, (poolings, include_prompt, layers, normalize) in enumerate(FOLDERS):
        torch.manual_seed(number)
        theirs, folder = build(model, poolings, include_prompt, layers, normalize), place.file(f"modules-{number}")
        theirs.save(folder)
        what = f"{'+'.join(poolings)}, {'with' if include_prompt else 'without'} the prompt, {len(layers)} dense{', unit' if normalize else ''}"
        scale = 1e-5 * max(1, np.abs(theirs.encode(TEXTS[:20])).max())
        check_close(f"{what}: default prompt", embed(folder), theirs.encode(TEXTS), scale)
        check_close(f"{what}: prompt by name", embed(folder, "--prompt", "query"), theirs.encode_query(TEXTS), scale)
        check_close(f"{what}: another prompt", embed(folder, "--prompt", "and "), theirs.encode(TEXTS, prompt="and "), scale)
        check_close(f"{what}: no prompt", embed(folder, "--prompt", ""), theirs.encode(TEXTS, prompt=""), scale)
        short = theirs.encode(TEXTS, truncate_dim=10, normalize_embeddings=normalize)
        check_close(f"{what}: 10 dimensions", embed(folder, "--dimensions", 10), short, scale)
        # Written again, by a training of no consequence.
        data = place.tsv("pairs.tsv", [{"anchor": r["word"], "positive": r["text"]} for r in wordnet("train", 16)])
        again = place.file(f"again-{number}")
        quern("finetune", "--task", "embed", "--model", folder, "--train-file", data, "--output-dir", again, "--max-steps", 1, "--learning-rate", 0)
        check_close(f"{what}: written again", SentenceTransformer(again, device="cpu").encode(TEXTS), theirs.encode(TEXTS), scale)
finish()
