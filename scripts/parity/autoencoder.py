"""Autoencoders of numbers beside PyTorch: 20 steps of `quern pretrain` with the same initial weights, order of rows, noise and rates end in
the same weights; PyTorch trained as long on the digits misses as much of the held-out ones; and what both take."""
import csv
import gzip
import json
import math
import os
import sys
import time

import numpy as np
import torch
from safetensors.torch import load_file

from common import ROOT, Workplace, check, check_close, finish, quern

sys.path.insert(0, os.path.join(ROOT, "tests", "golden", "autoencoder"))
from reference import Autoencoder, load, normal, philox

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
DIGITS = os.path.join(ROOT, "data", "digits")
RATE, DECAY, WARMUP, BATCH, SEED = 3e-3, 0.01, 0.06, 128, 5
EPOCHS = int(os.environ.get("EPOCHS", "100"))


def read(part):
    with gzip.open(os.path.join(DIGITS, part + ".csv.gz"), "rt") as file:
        rows = list(csv.reader(file))[1:]
    return torch.tensor([[float(x) for x in row[1:]] for row in rows])


def order(count, epoch):
    """The sampler's: Fisher and Yates with one number of the counter-based generator each."""
    items = list(range(count))
    words = philox(SEED ^ 0x6F726465722E2E2E, epoch, np.arange(count))
    for step, i in enumerate(range(count, 1, -1)):
        j = ((int(words[1][step]) << 32 | int(words[0][step])) * i) >> 64
        items[i - 1], items[j] = items[j], items[i - 1]
    return items


def noise_seed(step):
    return int(philox(SEED, 0x64726F70, step)[0][0]) | SEED << 32


def rate(step, total):
    """Linear with warmup, of step 0, 1, ..."""
    at = step / total
    return RATE * min((at + 1 / total) / WARMUP, 1) if at < WARMUP else RATE * (1 - at) / (1 - WARMUP)


def train(model, x, steps, total, config):
    optimizer, batches = model.optimizer(RATE, DECAY, (0.9, 0.98)), []
    epoch = 0
    for step in range(steps):
        if not batches:
            rows = order(len(x), epoch)
            batches = [rows[i:i + BATCH] for i in range(0, len(x), BATCH)]
            epoch += 1
        batch = x[batches.pop(0)]
        warm = config.get("beta_warmup_steps", 0)
        beta = config.get("beta", 1.0) * (min(1, (step + 1) / warm) if warm else 1)
        noise = normal(noise_seed(step), 0, len(batch), config["latent_size"]).to(x.dtype) if model.variational else None
        loss = model.loss(batch, noise, beta)[0]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate(step, total)
        optimizer.step()


def run(place, config, name, steps, rate=RATE):
    path = place.file(f"{name}.json")
    with open(path, "w") as file:
        json.dump(config, file)
    out = place.file(name)
    quern("pretrain", "--quiet", "--model", path, "--output-dir", out, "--learning-rate", rate, "--max-steps", steps,
          "--per-device-train-batch-size", BATCH, "--seed", SEED, "--threads", torch.get_num_threads(), os.path.join(DIGITS, "train.csv.gz"))
    return out


rows, held_out = read("train"), read("test")
with Workplace() as place:
    for kind in ["autoencoder", "vae"]:
        with open(os.path.join(ROOT, "examples", f"digits-{kind}.json")) as file:
            config = json.load(file)
        # A run of rate 0 leaves the initial weights behind.
        start = run(place, config, f"{kind}-start", 1, 0)
        after = run(place, config, f"{kind}-after", 20)
        model, shift, scale = load(start, torch.float64)
        initial = {k: v.clone() for k, v in model.state_dict().items()}
        x = (rows.double() - shift) / scale
        train(model, x, 20, 20, config)
        theirs = load_file(os.path.join(after, "model.safetensors"))
        worst = max(float((theirs[k].double() - v).abs().max() / v.abs().max()) for k, v in model.state_dict().items())
        check(f"{kind}: weights after 20 steps", worst <= 1e-5, f"largest difference {worst:.1e} of the largest weight (at most 1e-05)")

        # As long as a user would train; PyTorch in float32.
        total = EPOCHS * math.ceil(len(rows) / BATCH)
        began = time.perf_counter()
        out = run(place, config, kind, total)
        ours_seconds = time.perf_counter() - began
        result = json.loads(quern("eval", "--model", out, "--data", os.path.join(DIGITS, "test.csv.gz")))
        model = Autoencoder(config)
        model.load_state_dict({k: v.float() for k, v in initial.items()})
        x32 = x.float()
        ready = torch.randn(len(rows), config["latent_size"])
        began = time.perf_counter()
        optimizer = model.optimizer(RATE, DECAY, (0.9, 0.98))
        step = 0
        for epoch in range(EPOCHS):
            for batch in torch.randperm(len(x32)).split(BATCH):
                warm = config.get("beta_warmup_steps", 0)
                beta = config.get("beta", 1.0) * (min(1, (step + 1) / warm) if warm else 1)
                noise = torch.randn(len(batch), config["latent_size"]) if model.variational else None
                loss = model.loss(x32[batch], noise, beta)[0]
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                for group in optimizer.param_groups:
                    group["lr"] = rate(step, total)
                optimizer.step()
                step += 1
        theirs_seconds = time.perf_counter() - began
        with torch.no_grad():
            test = ((held_out.double() - shift) / scale).float()
            theirs_error = float(((model.outputs(test) - test) ** 2).mean())
        check(f"{kind}: squared error of held-out digits after {EPOCHS} epochs", result["mse"] <= 1.05 * theirs_error,
              f"{result['mse']:.5f}, PyTorch {theirs_error:.5f} (at most 5 % above)")
        print(f"INFO {kind}: {ours_seconds:.2f} s the whole command, {theirs_seconds:.2f} s PyTorch's steps alone: {theirs_seconds / ours_seconds:.1f} x")
        if kind == "autoencoder":
            # The outputs themselves, through the command.
            model, shift, scale = load(out)
            lines = [json.loads(line) for line in quern("reconstruct", "--model", out, "--input", os.path.join(DIGITS, "test.csv.gz")).splitlines()]
            with torch.no_grad():
                theirs = model.outputs((held_out - shift) / scale) * scale + shift
            check_close("reconstructions of held-out digits", [line["output"] for line in lines], theirs.numpy(), 1e-4)
finish()
