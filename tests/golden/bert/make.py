#!/usr/bin/env python3
"""Makes the reference cases of this folder: tiny random BERTs, their outputs, losses, every gradient and 20 AdamW steps.

usage: make.py [NAME ...]        (needs torch, transformers and safetensors; README.md describes the files)

Everything is computed in float64 on weights that are exact in float32, and stored as float32. The trunk is written out below, so that
pre-norm and sinusoidal positions, which transformers' BERT lacks, share one definition with the rest; wherever transformers has the same
model, its own forward is run too and must agree to 1e-12.
"""
import copy
import json
import os
import sys
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import (BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification,
                          RobertaPreLayerNormConfig, RobertaPreLayerNormForMaskedLM, logging)

logging.set_verbosity_error()
logging.disable_progress_bar()
HERE = os.path.dirname(os.path.abspath(__file__))
LENGTHS = [7, 1, 33, 2, 70]  # one token, two, an odd number, and more than one block of 64
SPECIAL = 5  # ids below are padding and special tokens; id 0 and 1 never occur, so no padding row is read

# name: (head, loss, options of the config). `width` is the width of one head.
CASES = {
    "mlm-gelu-w8": ("mlm", "mlm", dict(heads=3, width=8, layers=3, ffn=56, act="gelu")),
    "pretrain-gelu_new-w20": ("pretrain", "pretrain", dict(heads=2, width=20, layers=2, ffn=72, act="gelu_new")),
    "classify-relu-w32": ("classify", "single", dict(heads=2, width=32, layers=1, ffn=72, act="relu", labels=5)),
    "multilabel-silu-w64": ("classify", "multi", dict(heads=1, width=64, layers=1, ffn=72, act="silu", labels=6)),
    "regress-gelu-w20": ("classify", "regression", dict(heads=2, width=20, layers=2, ffn=64, act="gelu", labels=1)),
    "regress3-gelu_pytorch_tanh-w8": ("classify", "regression", dict(heads=4, width=8, layers=2, ffn=64, act="gelu_pytorch_tanh", labels=3)),
    "smooth-weighted-gelu-w32": ("classify", "smooth", dict(heads=1, width=32, layers=2, ffn=64, act="gelu", labels=4)),
    "mlm-sinusoidal-relu-w8": ("mlm", "mlm", dict(heads=4, width=8, layers=2, ffn=48, act="relu", sinusoidal=True)),
    "classify-prenorm-gelu_new-w20": ("classify", "single", dict(heads=2, width=20, layers=2, ffn=60, act="gelu_new", prenorm=True, labels=4)),
    "pretrain-prenorm-sinusoidal-silu-w32": ("pretrain", "pretrain", dict(heads=1, width=32, layers=2, ffn=48, act="silu", prenorm=True, sinusoidal=True)),
    "roberta_prelayernorm-mlm-gelu-w8": ("roberta", "mlm", dict(heads=5, width=8, layers=2, ffn=56, act="gelu", prenorm=True)),
}
MODELS = {"mlm": BertForMaskedLM, "pretrain": BertForPreTraining, "classify": BertForSequenceClassification,
          "roberta": RobertaPreLayerNormForMaskedLM}


def build(head, loss, heads, width, layers, ffn, act, labels=2, prenorm=False, sinusoidal=False):
    """The model with random weights, its configuration complete in `model.config`."""
    problem = {"single": "single_label_classification", "smooth": "single_label_classification",
               "multi": "multi_label_classification", "regression": "regression"}.get(loss)
    common = dict(vocab_size=101, hidden_size=heads * width, num_hidden_layers=layers, num_attention_heads=heads,
                  intermediate_size=ffn, hidden_act=act, max_position_embeddings=80, type_vocab_size=2, layer_norm_eps=1e-12,
                  hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager")
    if head == "classify":
        common.update(problem_type=problem, id2label={i: f"topic {i}" for i in range(labels)},
                      label2id={f"topic {i}": i for i in range(labels)})
    if head == "roberta":
        model = MODELS[head](RobertaPreLayerNormConfig(**common))
    else:
        if prenorm:
            common["norm_position"] = "pre"
        if sinusoidal:
            common["position_embedding_type"] = "sinusoidal"
        model = MODELS[head](BertConfig(**common))
        if prenorm:
            model.bert.encoder.LayerNorm = nn.LayerNorm(heads * width, 1e-12)
        if sinusoidal:
            del model.bert.embeddings.position_embeddings
    model.config.architectures = [type(model).__name__]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "LayerNorm.weight" in name or "layer_norm.weight" in name:
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn(p.shape))
            elif "embeddings" in name:
                p.copy_(0.3 * torch.randn(p.shape))
            else:
                p.copy_(torch.randn(p.shape) * p.shape[1] ** -0.5)
    return model.eval()


def sinusoid(count, d):
    """P[pos, 2i] = sin(pos / 10000^(2i/d)), P[pos, 2i+1] = cos of the same angle: [count, d]."""
    angle = torch.arange(count).double()[:, None] / 10000.0 ** (torch.arange(0, d, 2).double() / d)
    return torch.stack([angle.sin(), angle.cos()], -1).reshape(count, d)


def activation(name):
    return {"gelu": F.gelu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu,
            "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh")}[name]


def trunk(model, ids, types, mask):
    """Last hidden states [n, s, d] of a padded batch, mask [n, s] true on real tokens."""
    c, roberta = model.config, hasattr(model, "roberta_prelayernorm")
    bert = model.roberta_prelayernorm if roberta else model.bert
    pre = roberta or getattr(c, "norm_position", "post") == "pre"
    e, act, (n, s), heads = bert.embeddings, activation(c.hidden_act), ids.shape, c.num_attention_heads
    if hasattr(e, "position_embeddings"):
        first = c.pad_token_id + 1 if roberta else 0  # RoBERTa counts positions from padding + 1
        positions = e.position_embeddings.weight[first:first + s]
    else:
        positions = sinusoid(s, c.hidden_size)
    x = e.LayerNorm(e.word_embeddings(ids) + positions + e.token_type_embeddings(types))

    def attend(block, x):
        q, k, v = (f(x).view(n, s, heads, -1).transpose(1, 2) for f in (block.self.query, block.self.key, block.self.value))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        p = scores.masked_fill(~mask[:, None, None, :], float("-inf")).softmax(-1)
        return block.output.dense((p @ v).transpose(1, 2).reshape(n, s, -1))

    for block in bert.encoder.layer:
        norm1 = block.attention.LayerNorm if roberta else block.attention.output.LayerNorm
        norm2 = block.intermediate.LayerNorm if roberta else block.output.LayerNorm
        forward = lambda y: block.output.dense(act(block.intermediate.dense(y)))
        if pre:
            x = x + attend(block.attention, norm1(x))
            x = x + forward(norm2(x))
        else:
            x = norm1(x + attend(block.attention, x))
            x = norm2(x + forward(x))
    if not pre:
        return x
    return bert.LayerNorm(x) if roberta else bert.encoder.LayerNorm(x)


def outputs(model, head, batch):
    """Every output, packed: last_hidden_state [T, d], pooler_output [n, d], logits [T, vocabulary] or [n, labels], ..."""
    ids, types, mask = batch["padded_ids"], batch["padded_types"], batch["mask"]
    hidden = trunk(model, ids, types, mask)
    out = {"last_hidden_state": hidden[mask]}
    if head in ("pretrain", "classify"):
        out["pooler_output"] = torch.tanh(model.bert.pooler.dense(hidden[:, 0]))
    if head == "classify":
        out["logits"] = model.classifier(out["pooler_output"])
    elif head == "roberta":
        out["logits"] = model.lm_head(hidden[mask])
    else:
        out["logits"] = model.cls.predictions(hidden[mask])
    if head == "pretrain":
        out["next_sentence_logits"] = model.cls.seq_relationship(out["pooler_output"])
    return out


def loss_of(kind, out, batch):
    logits, targets = out["logits"], batch["targets"]
    if kind in ("multi", "replaced"):
        return F.binary_cross_entropy_with_logits(logits, targets)
    if kind == "regression":
        return F.mse_loss(logits, targets)
    if kind == "span":  # among the rows of each sequence, without padding
        rows = logits.split(LENGTHS)
        return torch.stack([F.cross_entropy(r[None, :, k], t[k : k + 1]) for r, t in zip(rows, targets.view(-1, 2)) for k in (0, 1)]).mean()
    if kind == "smooth":
        return F.cross_entropy(logits, targets, weight=batch["class_weights"], label_smoothing=0.1)
    loss = F.cross_entropy(logits, targets, ignore_index=-100)
    if kind == "pretrain":
        loss = loss + F.cross_entropy(out["next_sentence_logits"], batch["next_sentence_targets"])
    return loss


def make_batch(kind, vocabulary, labels):
    """Five ragged sequences, packed and (for the reference only) padded, with targets."""
    total, n, longest = sum(LENGTHS), len(LENGTHS), max(LENGTHS)
    b = {"ids": torch.randint(SPECIAL, vocabulary, (total,)), "types": torch.randint(0, 2, (total,)),
         "offsets": torch.tensor([0] + LENGTHS).cumsum(0)}
    b["mask"] = torch.arange(longest)[None] < torch.tensor(LENGTHS)[:, None]
    b["padded_ids"] = torch.full((n, longest), 1).masked_scatter(b["mask"], b["ids"])
    b["padded_types"] = torch.zeros(n, longest, dtype=torch.long).masked_scatter(b["mask"], b["types"])
    if kind == "span":
        b["targets"] = torch.cat([torch.randint(0, length, (2,)) for length in LENGTHS])
    elif kind == "tag":
        b["targets"] = torch.where(torch.rand(total) < 0.7, torch.randint(0, labels, (total,)), -100)
    elif kind in ("mlm", "pretrain"):
        chosen = torch.rand(total) < 0.2
        chosen[0] = True
        b["targets"] = torch.where(chosen, torch.randint(SPECIAL, vocabulary, (total,)), -100)
        if kind == "pretrain":
            b["next_sentence_targets"] = torch.randint(0, 2, (n,))
    elif kind == "replaced":
        b["targets"] = torch.randint(0, 2, (total, 1)).double()
    elif kind == "multi":
        b["targets"] = torch.randint(0, 2, (n, labels)).double()
    elif kind == "regression":
        b["targets"] = torch.randn(n, labels).double()
    else:
        b["targets"] = torch.randint(0, labels, (n,))
    if kind == "smooth":
        b["class_weights"] = (0.5 + 2 * torch.rand(labels)).double()
    return b


def check_against_transformers(model, head, kind, batch, out, loss):
    """transformers' own forward must give the same, where it has the same model."""
    if getattr(model.config, "norm_position", "post") == "pre" or getattr(model.config, "position_embedding_type", "absolute") == "sinusoidal":
        return "own"
    args = dict(input_ids=batch["padded_ids"], token_type_ids=batch["padded_types"], attention_mask=batch["mask"].long())
    if head == "classify":
        args["labels"] = batch["targets"]
    else:
        args["labels"] = torch.full(batch["mask"].shape, -100).masked_scatter(batch["mask"], batch["targets"])
    if kind == "pretrain":
        args["next_sentence_label"] = batch["next_sentence_targets"]
    theirs = model(**args)
    logits = theirs.prediction_logits if kind == "pretrain" else theirs.logits
    logits = logits if head == "classify" else logits[batch["mask"]]
    assert (logits - out["logits"]).abs().max() < 1e-12
    if kind == "pretrain":
        assert (theirs.seq_relationship_logits - out["next_sentence_logits"]).abs().max() < 1e-12
    if kind != "smooth":
        assert (theirs.loss - loss).abs() < 1e-12
    return "transformers"


def adamw_losses(model, head, kind, batch):
    """The losses before each of 20 steps on the same batch."""
    decay = [p for p in model.parameters() if p.dim() > 1]  # neither biases nor norms
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=0.01), dict(params=plain, weight_decay=0.0)], lr=1e-3,
                                  betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loss_of(kind, outputs(model, head, batch), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def make(name):
    head, kind, options = CASES[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    folder = os.path.join(HERE, name)
    model = build(head, kind, **options)
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    config = {k: v for k, v in json.load(open(path)).items() if k not in ("dtype", "transformers_version")}
    with open(path, "w") as f:
        f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    model = model.double()
    batch = make_batch(kind, model.config.vocab_size, options.get("labels", 0))
    out = outputs(model, head, batch)
    loss = loss_of(kind, out, batch)
    source = check_against_transformers(model, head, kind, batch, out, loss)
    loss.backward()
    golden = {k: batch[k].int() for k in ("ids", "types", "offsets")}
    golden.update({k: batch[k] for k in ("targets", "next_sentence_targets", "class_weights") if k in batch})
    golden.update(out, loss=loss.reshape(1))
    golden.update({"grad." + n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()})
    golden["adamw_losses"] = adamw_losses(copy.deepcopy(model), head, kind, batch)
    golden = {k: (v.float() if v.is_floating_point() else v).detach().contiguous() for k, v in golden.items()}
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name:38s} {source:12s} {sum(p.numel() for p in model.parameters()):7d} parameters, {size // 1024:4d} KB, "
          f"loss {loss.item():.4f} -> {golden['adamw_losses'][-1].item():.4f}")
    return size


if __name__ == "__main__":
    total = sum(make(name) for name in sys.argv[1:] or CASES)
    print(f"{total / 1e6:.2f} MB")
