"""Quern's autoencoder of numbers in PyTorch: the same layers, losses and noise; for the golden cases and scripts/parity/autoencoder.py."""
import json
import os

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "tanh": torch.tanh,
               "linear": lambda x: x}


def philox(seed, stream, counter):
    """Philox4x32-10 (Salmon et al. 2011): four 32-bit numbers for each counter, as arrays of uint64."""
    low, word = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter = np.atleast_1d(np.asarray(counter, np.uint64))
    c = [counter & low, counter >> word, np.full_like(counter, stream & 0xFFFFFFFF), np.full_like(counter, stream >> 32)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> word) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> word) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def normal(seed, stream, rows, columns):
    """Standard normal numbers (Box & Muller 1958), each from the counter of its place."""
    v = philox(seed, stream, np.arange(rows * columns))
    a, b = (v[1] << np.uint64(32)) | v[0], (v[3] << np.uint64(32)) | v[2]
    eleven = np.uint64(11)
    radius = ((a >> eleven) + np.uint64(1)).astype(np.float64) * 2.0**-53
    angle = (b >> eleven).astype(np.float64) * 2.0**-53
    return torch.from_numpy((np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)).reshape(rows, columns))


class Autoencoder(nn.Module):
    """Parameters have the names of Quern's files."""

    def __init__(self, config):
        super().__init__()
        self.config, self.act = config, ACTIVATIONS[config.get("hidden_act", "relu")]
        width = config.get("input_size") or int(np.prod(config["input_shape"]))
        hidden, latent = config.get("hidden_sizes", []), config["latent_size"]
        self.inputs, self.variational = width, config.get("variational", False)
        sizes = [width, *hidden]
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))})
        for name in ["mean", "log_variance"] if self.variational else ["latent"]:
            self.encoder[name] = nn.Linear(sizes[-1], latent)
        back = [latent, *reversed(hidden)]
        self.decoder = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(a, b) for a, b in zip(back, back[1:])),
                                      "output": nn.Linear(back[-1], width)})

    def encode(self, x):
        for layer in self.encoder["layers"]:
            x = self.act(layer(x))
        if not self.variational:
            return self.encoder["latent"](x), None
        return self.encoder["mean"](x), self.encoder["log_variance"](x)

    def decode(self, z):
        for layer in self.decoder["layers"]:
            z = self.act(layer(z))
        return self.decoder["output"](z)

    def loss(self, x, noise=None, beta=1.0):
        """(loss, error, KL) as Quern's: per number; KL is that of a row."""
        mean, log_variance = self.encode(x)
        z = mean if noise is None else mean + torch.exp(log_variance / 2) * noise
        y = self.decode(z)
        error = F.binary_cross_entropy_with_logits(y, x) if self.config.get("reconstruction_loss", "mse") == "bce" else F.mse_loss(y, x)
        if not self.variational:
            return error, error, torch.zeros(())
        kl = torch.distributions.kl_divergence(torch.distributions.Normal(mean, torch.exp(log_variance / 2)),
                                               torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
        return error + beta / self.inputs * kl, error, kl

    def outputs(self, x):
        """Reconstructions through the mean, of scaled numbers."""
        y = self.decode(self.encode(x)[0])
        return torch.sigmoid(y) if self.config.get("reconstruction_loss", "mse") == "bce" else y

    def optimizer(self, rate, decay, betas=(0.9, 0.999)):
        """AdamW that decays weights, not biases."""
        groups = [{"params": [p for p in self.parameters() if p.dim() == 2], "weight_decay": decay},
                  {"params": [p for p in self.parameters() if p.dim() == 1], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=1e-8)


def load(folder, dtype=torch.float32):
    """The model of a folder of Quern, and its shift and scale."""
    with open(os.path.join(folder, "config.json")) as file:
        model = Autoencoder(json.load(file)).to(dtype)
    state = load_file(os.path.join(folder, "model.safetensors"))
    shift, scale = state.pop("input.shift").to(dtype), state.pop("input.scale").to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in state.items()})
    return model, shift, scale
