#!/usr/bin/env python3
"""Makes the reference cases of autoencoders of numbers: a tiny random model each, with its loss, every gradient and the weights after 20
AdamW steps, by PyTorch in float64 on weights that are exact in float32. Needs torch, numpy and safetensors.

In a case's folder are config.json, model.safetensors and expected.safetensors: `x` [rows, inputs], already scaled, `loss` (loss, error,
divergence), `outputs`, `latent`, `grad.NAME` and `after.NAME`. Noise has the seed of the step, counted from 1; gradients are of step 1.
"""
import json
import os

import torch
from safetensors.torch import save_file

from reference import Autoencoder, normal

HERE = os.path.dirname(os.path.abspath(__file__))
RATE, DECAY, STEPS, ROWS = 1e-2, 0.1, 20, 9
CASES = {
    "plain": dict(input_size=7, hidden_sizes=[6, 5], latent_size=3, hidden_act="gelu", reconstruction_loss="mse"),
    "variational": dict(input_shape=[2, 3, 1], hidden_sizes=[5], latent_size=2, hidden_act="tanh", reconstruction_loss="bce", variational=True,
                        beta=0.7),
    "linear": dict(input_size=5, hidden_sizes=[], latent_size=2, reconstruction_loss="mse", variational=True),
}
for name, config in CASES.items():
    torch.manual_seed(len(name))
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    model = Autoencoder(config)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape))
    inputs, beta = model.inputs, config.get("beta", 1.0)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state |= {"input.shift": torch.zeros(inputs), "input.scale": torch.ones(inputs)}
    save_file(state, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({"model_type": "autoencoder", **config}, file, indent=2)
        file.write("\n")
    x = torch.rand(ROWS, inputs)
    out = {"x": x}
    model, x = model.double(), x.double()
    optimizer = model.optimizer(RATE, DECAY)
    with torch.no_grad():
        out["outputs"], out["latent"] = model.outputs(x), model.encode(x)[0]
    for step in range(1, STEPS + 1):
        noise = normal(step, 0, ROWS, config["latent_size"]) if model.variational else None
        parts = model.loss(x, noise, beta)
        optimizer.zero_grad()
        parts[0].backward()
        if step == 1:
            out["loss"] = torch.stack([p.detach().double() for p in parts])
            out |= {f"grad.{k}": p.grad.clone() for k, p in model.named_parameters()}
        optimizer.step()
    out |= {f"after.{k}": p.detach() for k, p in model.named_parameters()}
    save_file({k: v.float().contiguous() for k, v in out.items()}, os.path.join(folder, "expected.safetensors"))
