"""Real weights that packages carry: rxnmapper's ALBERT and rxnfp's BERT, both of 12 layers, on reactions written as SMILES.

Their weights are legacy PyTorch files; here they become safetensors as they stand, under the names of 2020. The wheels come by
`pip download`, without what they depend on.
"""
import glob
import json
import os
import subprocess
import sys
import zipfile

from common import Workplace, check, check_close, finish, json_lines, quern

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AlbertForMaskedLM, BertForPreTraining, BertTokenizer, logging

logging.disable_progress_bar()
logging.set_verbosity_error()
TEXTS = ["C C ( = O ) [MASK] c 1 c c c c c 1", "[MASK] = C C . O . C [MASK] > > C C O", "N c 1 c c c ( [MASK] ) c c 1 . C C ( = O ) Cl > > [MASK]",
         "O > > [MASK]", " ".join("C N ( C ) C = O . c 1 c c [MASK] c c 1 Br .".split() * 12)]


def unpack(place, wheel):
    """The wheel's models by the name of their folder."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place.path, wheel], check=True)
    name, version = wheel.split("==")
    folder = place.file(name)
    with zipfile.ZipFile(glob.glob(place.file(f"{name}-{version}-*.whl"))[0]) as z:
        z.extractall(folder)
    return os.path.join(folder, name, "models", "transformers")


def convert(folder, weights, **config):
    """config.json with what it lacks, and model.safetensors."""
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        known = json.load(f)
    with open(path, "w") as f:
        json.dump({**known, **config}, f)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, f)
    save_file({k: v.clone().contiguous() for k, v in weights.items()}, os.path.join(folder, "model.safetensors"))


def compare(what, folder, model, tokenizer):
    """Scores of words at every mask, and mean vectors."""
    ours, theirs, vectors = [], [], []
    rows = json_lines(quern("fill-mask", "--model", folder, "--top-k", 5, stdin="\n".join(TEXTS) + "\n"))
    for text, row in zip(TEXTS, rows):
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            done = model(**batch, output_hidden_states=True)
        scores = done.prediction_logits if "prediction_logits" in done else done.logits
        vectors.append(done.hidden_states[-1][0].mean(0).numpy())
        at = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten()
        check(f"{what}: masks of {text[:30]!r}", len(row["masks"]) == len(at), f"{len(row['masks'])} of {len(at)}")
        theirs += scores[0, at].softmax(-1).topk(5).values.flatten().tolist()
        ours += [c["score"] for m in row["masks"] for c in m["candidates"]]
    check_close(f"{what}: scores of five words", ours, theirs, 1e-5)
    printed = json_lines(quern("embed", "--model", folder, "--pooling", "mean", "--no-normalize", stdin="\n".join(TEXTS) + "\n"))
    check_close(f"{what}: mean vectors", [r["embedding"] if isinstance(r, dict) else r for r in printed], np.stack(vectors), 1e-4)


with Workplace() as place:
    folder = os.path.join(unpack(place, "rxnmapper==0.4.3"), "albert_heads_8_uspto_all_1310k")
    weights = torch.load(os.path.join(folder, "pytorch_model.bin"), map_location="cpu", weights_only=True)
    convert(folder, weights)
    model = AlbertForMaskedLM.from_pretrained(folder).eval()
    tokenizer = BertTokenizer(os.path.join(folder, "vocab.txt"), do_lower_case=False)
    compare("ALBERT", folder, model, tokenizer)

    folder = os.path.join(unpack(place, "rxnfp==0.1.0"), "bert_pretrained")
    weights = torch.load(os.path.join(folder, "pytorch_model.bin"), map_location="cpu", weights_only=True)
    convert(folder, weights, model_type="bert", architectures=["BertForPreTraining"])
    model = BertForPreTraining.from_pretrained(folder).eval()
    compare("BERT", folder, model, tokenizer)
    # The next-sentence head is two labels on the pooled vector, which is what a classifier is.
    weights = {k.replace("cls.seq_relationship", "classifier"): v for k, v in weights.items() if "cls.predictions" not in k}
    convert(folder, weights, model_type="bert", architectures=["BertForSequenceClassification"])
    with torch.no_grad():
        theirs = np.stack([model(**tokenizer(t, return_tensors="pt")).seq_relationship_logits[0].numpy() for t in TEXTS])
    rows = json_lines(quern("predict", "--model", folder, "--logits", stdin="\n".join(TEXTS) + "\n"))
    check_close("BERT: next sentence", [r["logits"] for r in rows], theirs, 1e-4)
finish()
