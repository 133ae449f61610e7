#!/usr/bin/env python3
"""Makes the reference cases of this folder: tiny random encoders with a decoder that reads a text's vector alone, the loss of restoring texts
from their noisy forms as sentence-transformers' DenoisingAutoEncoderLoss has it, and every gradient. Both stacks are transformers' own.

usage: make.py [NAME ...]        (needs torch, transformers and safetensors; README.md describes the files)

Computed in float64 on weights that are exact in float32, and stored as float32.
"""
import json
import os
import sys
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers as hf
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
NOISY, WHOLE = [3, 2, 9, 5], [7, 2, 20, 6]  # tokens
VOCABULARY, WIDTH = 43, 16
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
             max_position_embeddings=40, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

# name: (configuration, encoder, decoder, options, tied, layers of the decoder, pooling, width of the vector)
CASES = {
    "bert-tied": (hf.BertConfig, hf.BertModel, hf.BertLMHeadModel, {}, True, 2, "mean", WIDTH),
    "bert-narrow-vector": (hf.BertConfig, hf.BertModel, hf.BertLMHeadModel, dict(hidden_act="relu"), False, 1, "mean", 6),
    "roberta": (hf.RobertaConfig, hf.RobertaModel, hf.RobertaForCausalLM, dict(type_vocab_size=1, pad_token_id=1), False, 2, "cls", WIDTH),
    "prelayernorm-tied": (hf.RobertaPreLayerNormConfig, hf.RobertaPreLayerNormModel, hf.RobertaPreLayerNormForCausalLM, dict(pad_token_id=1),
                          True, 2, "cls", WIDTH),
    "electra-tied": (hf.ElectraConfig, hf.ElectraModel, hf.ElectraForCausalLM, dict(embedding_size=8), True, 2, "cls", WIDTH),
}


def randomize(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.copy_(0.1 * torch.randn(p.shape))
            elif p.dim() == 1:  # norms
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            elif "embeddings" in name and "project" not in name:
                p.copy_(0.3 * torch.randn(p.shape))
            else:
                p.copy_(torch.randn(p.shape) * p.shape[1] ** -0.5)


def tie(encoder, decoder):
    """As sentence-transformers: the encoder's parameters become the decoder's of the same names."""
    modules = dict(encoder.named_modules())
    for name, p in getattr(decoder, decoder.base_model_prefix).named_parameters():
        module, _, attribute = name.rpartition(".")
        if module in modules and hasattr(modules[module], attribute):
            setattr(modules[module], attribute, p)


class Autoencoder(nn.Module):
    def __init__(self, config_class, encoder, decoder, options, tied, layers, pooling, width):
        super().__init__()
        shape = dict(SHAPE, **options)
        self.encoder = encoder(config_class(**shape, attn_implementation="eager"))
        own = config_class(**dict(shape, num_hidden_layers=layers), is_decoder=True, add_cross_attention=True, attn_implementation="eager")
        self.decoder = decoder(own)
        self.dense = nn.Linear(WIDTH, width) if width != WIDTH else None
        self.enc_to_dec_proj = nn.Linear(width, WIDTH) if width != WIDTH else None
        self.pooling, self.tied = pooling, tied
        randomize(self)
        if tied:
            tie(self.encoder, self.decoder)

    def vector(self, ids):
        hidden = self.encoder(ids[None]).last_hidden_state[0]
        x = hidden[0] if self.pooling == "cls" else hidden.mean(0)
        return torch.tanh(self.dense(x)) if self.dense else x

    def forward(self, noisy, whole):
        vectors, logits = torch.stack([self.vector(ids) for ids in noisy]), []
        for v, ids in zip(vectors, whole):
            v = self.enc_to_dec_proj(v) if self.enc_to_dec_proj else v
            logits.append(self.decoder(ids[None, :-1], encoder_hidden_states=v[None, None], use_cache=False).logits[0])
        return vectors, torch.cat(logits)


def write_folder(folder, model, width):
    """As Quern writes one."""
    encoder = {n: p for n, p in model.encoder.named_parameters() if not n.startswith("pooler.")}
    own = dict(model.decoder.named_parameters())  # what is tied is there once
    if model.enc_to_dec_proj:
        own.update({"enc_to_dec_proj." + n: p for n, p in model.enc_to_dec_proj.named_parameters()})
    for path, tensors in ((folder, encoder), (os.path.join(folder, "decoder"), own)):
        os.makedirs(path, exist_ok=True)
        save_file({n: p.detach().float().contiguous() for n, p in tensors.items()}, os.path.join(path, "model.safetensors"))
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")]
    if model.dense:
        modules.append(("2", "2_Dense", "Dense"))
        os.makedirs(os.path.join(folder, "2_Dense"), exist_ok=True)
        save_file({"linear." + n: p.detach().float() for n, p in model.dense.named_parameters()}, os.path.join(folder, "2_Dense/model.safetensors"))
        write_json(folder, "2_Dense/config.json", dict(in_features=WIDTH, out_features=width, bias=True, activation_function="torch.nn.modules.activation.Tanh"))
    write_json(folder, "modules.json", [dict(idx=int(i), name=i, path=path, type="sentence_transformers.models." + kind) for i, path, kind in modules])
    os.makedirs(os.path.join(folder, "1_Pooling"), exist_ok=True)
    write_json(folder, "1_Pooling/config.json", dict(word_embedding_dimension=WIDTH, pooling_mode_cls_token=model.pooling == "cls",
                                                     pooling_mode_mean_tokens=model.pooling == "mean"))
    for config, where, kind in ((model.encoder.config, "config.json", type(model.encoder)), (model.decoder.config, "decoder/config.json", type(model.decoder))):
        content = {k: v for k, v in config.to_dict().items() if k not in ("dtype", "transformers_version", "_name_or_path")}
        content["architectures"] = [kind.__name__]
        if where.startswith("decoder"):
            content["tie_encoder_decoder"] = model.tied
        write_json(folder, where, content)


def write_json(folder, name, content):
    with open(os.path.join(folder, name), "w") as f:
        f.write(json.dumps(content, indent=2, sort_keys=True) + "\n")


def gradients(model):
    """Under the names of the files: the decoder's own with "decoder." in front."""
    out, shared = {}, {id(p) for p in model.encoder.parameters()}
    parts = [("", model.encoder), ("sentence.", model.dense), ("decoder.", model.decoder), ("decoder.enc_to_dec_proj.", model.enc_to_dec_proj)]
    for prefix, part in parts:
        for name, p in part.named_parameters() if part else ():
            if name.startswith("pooler.") or (part is model.decoder and id(p) in shared):
                continue
            out[f"grad.{prefix}{name}"] = torch.zeros_like(p) if p.grad is None else p.grad
    return out


def make(name):
    torch.manual_seed(zlib.crc32(name.encode()))
    model, folder = Autoencoder(*CASES[name]).eval(), os.path.join(HERE, name)
    write_folder(folder, model, CASES[name][-1])
    noisy, whole = ([torch.randint(5, VOCABULARY, (n,)) for n in lengths] for lengths in (NOISY, WHOLE))
    model = model.double()
    if model.tied:
        tie(model.encoder, model.decoder)
    vectors, logits = model(noisy, whole)
    loss = F.cross_entropy(logits, torch.cat([ids[1:] for ids in whole]))
    loss.backward()
    golden = {"vectors": vectors, "logits": logits, "loss": loss.reshape(1), **gradients(model)}
    golden = {k: v.detach().float().contiguous() for k, v in golden.items()}
    golden.update(ids=torch.cat([x for pair in zip(noisy, whole) for x in pair]).int(),
                  offsets=torch.tensor([0] + [n for pair in zip(NOISY, WHOLE) for n in pair]).cumsum(0).int())
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    print(f"{name:20s} {sum(p.numel() for p in model.parameters()):6d} parameters, loss {loss.item():.4f}")


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case)
