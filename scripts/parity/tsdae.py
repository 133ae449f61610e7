"""Training with the loss tsdae equals sentence-transformers' DenoisingAutoEncoderLoss, from the same weights, on the same texts with the same
deleted words: losses, and the vectors of the folder that remains. The decoder of a checkpoint is one of transformers."""
import json
import os
import shutil
import sys

from common import ROOT, Workplace, check, check_close, finish, quern, small_start, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, os.path.join(ROOT, "bench"))
import numpy as np
import torch
from noise import Noise
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from transformers import AutoModelForCausalLM

STEPS, COUNT, RATE, EPSILON, SEED = 6, 24, 1e-3, 1e-3, 5  # a large epsilon keeps updates smooth in the gradient
TEXTS = [r["text"] for r in wordnet("train", COUNT)]


def torch_loss(folder, tied, pooling):
    torch.manual_seed(3)
    model = SentenceTransformer(folder, device="cpu")
    model[1].pooling_mode = pooling
    loss = DenoisingAutoEncoderLoss(model, None if tied else folder, tie_encoder_decoder=tied)
    for module in loss.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return loss.train()


def padded(rows):
    width = max(map(len, rows))
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
    return {"input_ids": torch.tensor([r + [0] * (width - len(r)) for r in rows]), "attention_mask": mask,
            "token_type_ids": torch.zeros_like(mask)}


def train_torch(loss):
    """The losses of the steps: each is an epoch with words deleted anew."""
    tokenizer = loss.tokenizer_encoder
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    noise = Noise(special, continues=lambda id: pieces[id].startswith("##"), deletion=0.6, words=True, seed=SEED)
    ids = tokenizer(TEXTS)["input_ids"]
    optimizer = torch.optim.AdamW(loss.parameters(), lr=RATE, weight_decay=0, eps=EPSILON)
    values = []
    for epoch in range(STEPS):
        optimizer.zero_grad()
        value = loss([padded([noise(row, i, epoch) for i, row in enumerate(ids)]), padded(ids)], None)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values


def compare(place, base, tied, pooling):
    what = f"{'tied' if tied else 'own'} decoder, {pooling} pooling"
    loss, start, output = torch_loss(base, tied, pooling), place.file("start-" + pooling), place.file("trained-" + pooling)
    shutil.copytree(base, start)
    loss.decoder.save_pretrained(os.path.join(start, "decoder"))
    with open(os.path.join(start, "decoder", "config.json")) as f:
        config = json.load(f)
    config["tie_encoder_decoder"] = tied
    with open(os.path.join(start, "decoder", "config.json"), "w") as f:
        json.dump(config, f)
    data = place.file("texts.tsv", "text\n" + "\n".join(TEXTS) + "\n")
    quern("finetune", "--task", "embed", "--loss", "tsdae", "--model", start, "--train-file", data, "--output-dir", output, "--pooling", pooling,
          "--batch-size", COUNT, "--max-steps", STEPS, "--learning-rate", RATE, "--lr-scheduler-type", "constant", "--warmup-ratio", 0,
          "--weight-decay", 0, "--adam-epsilon", EPSILON, "--max-grad-norm", 0, "--dropout", 0, "--logging-steps", 1, "--seed", SEED,
          "--save-steps", STEPS)
    with open(os.path.join(output, "log.jsonl")) as f:
        ours = [e["loss"] for e in map(json.loads, f) if e.get("event") == "train"]
    theirs = train_torch(loss)
    check_close(f"{what}: loss of the first step", ours[:1], theirs[:1], 1e-5 * theirs[0])
    check_close(f"{what}: losses of {STEPS} steps", ours, theirs, 1e-4 * theirs[0])
    check(f"{what}: no decoder remains", not os.path.exists(os.path.join(output, "decoder")), os.listdir(output))
    folder = SentenceTransformer(output, device="cpu").encode(TEXTS, convert_to_numpy=True)
    check_close(f"{what}: vectors after {STEPS} steps", folder, loss.encoder.eval().encode(TEXTS, convert_to_numpy=True), 1e-4 * np.abs(folder).max())
    decoder, info = AutoModelForCausalLM.from_pretrained(os.path.join(output, f"checkpoint-{STEPS}", "decoder"), output_loading_info=True)
    left = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])
    check(f"{what}: transformers opens the checkpoint's decoder", not left and decoder.config.add_cross_attention, left)
    own = dict(loss.decoder.named_parameters())
    worst = max(float((p - own[n]).detach().abs().max()) for n, p in decoder.named_parameters())
    check(f"{what}: its weights after {STEPS} steps", worst <= 1e-4, f"largest difference {worst:.2e}")


with Workplace() as place:
    start, text = small_start(place)
    base = place.file("base")
    quern("pretrain", "--objective", "mlm", *start, "--train-file", text, "--output-dir", base, "--learning-rate", "1e-3", "--max-steps", 40,
          "--batch-tokens", 1024, "--seed", 7)
    compare(place, base, True, "cls")
    compare(place, base, False, "mean")
finish()
