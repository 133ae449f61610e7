#!/usr/bin/env python3
"""Makes the reference cases of this folder: tiny random encoder-decoders of each family, their outputs, losses, every gradient, 20 AdamW
steps, and what beam search writes. Forward pass and search are transformers' own.

usage: make.py [NAME ...]        (needs torch, transformers and safetensors; README.md describes the files)

All but the search is computed in float64 on weights that are exact in float32, and stored as float32.
"""
import copy
import json
import os
import sys
import tempfile
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers as hf
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES, TARGETS = [7, 1, 33, 2, 50], [5, 9, 1, 50, 20]  # tokens; the longest are more than one block of queries
VOCABULARY, LONGEST, SPECIAL = 43, 60, 5
SHAPE = dict(vocab_size=VOCABULARY, d_model=16, encoder_layers=2, decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=4,
             encoder_ffn_dim=24, decoder_ffn_dim=20, max_position_embeddings=LONGEST, dropout=0.0, attention_dropout=0.0)
MARIAN = dict(SHAPE, activation_function="swish", pad_token_id=VOCABULARY - 1, decoder_start_token_id=VOCABULARY - 1, eos_token_id=0,
              forced_eos_token_id=0, scale_embedding=True)
T5 = dict(vocab_size=VOCABULARY, d_model=16, d_kv=6, d_ff=24, num_layers=3, num_decoder_layers=2, num_heads=4, dropout_rate=0.0,
          relative_attention_num_buckets=8, relative_attention_max_distance=20, n_positions=LONGEST, decoder_start_token_id=0)

# name: (configuration, class of the model, options, label smoothing)
CASES = {
    "marian": (hf.MarianConfig, hf.MarianMTModel, MARIAN, 0.1),
    "marian-two-vocabularies": (hf.MarianConfig, hf.MarianMTModel,
                                dict(MARIAN, share_encoder_decoder_embeddings=False, decoder_vocab_size=37, pad_token_id=36,
                                     decoder_start_token_id=36, activation_function="relu", scale_embedding=False), 0.0),
    "bart": (hf.BartConfig, hf.BartForConditionalGeneration, SHAPE, 0.0),
    "mbart": (hf.MBartConfig, hf.MBartForConditionalGeneration, dict(SHAPE, activation_function="relu", scale_embedding=True), 0.0),
    "t5": (hf.T5Config, hf.T5ForConditionalGeneration, dict(T5, feed_forward_proj="relu"), 0.0),
    "t5-gated": (hf.T5Config, hf.T5ForConditionalGeneration, dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False), 0.0),
}
# What is searched: name and the options of generate().
SEARCHES = {
    "greedy": dict(num_beams=1),
    "beam": dict(num_beams=4, num_return_sequences=4),
    "short": dict(num_beams=3, num_return_sequences=2, length_penalty=0.2, early_stopping=True),
    "long": dict(num_beams=4, num_return_sequences=1, length_penalty=2.0, early_stopping="never", min_length=6),
    "ngrams": dict(num_beams=4, num_return_sequences=2, no_repeat_ngram_size=2, bad_words_ids=[[7], [9]]),
    "forced": dict(num_beams=4, num_return_sequences=4, forced_bos_token_id=11),
}
MOST = 25  # tokens of a search, the first one included


# T5's norm computes in float32 whatever the dtype is.
T5Norm = hf.models.t5.modeling_t5.T5LayerNorm
T5Norm.forward = lambda self, x: self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def build(config_class, model_class, options):
    """The model with random weights that are far from what training starts with, so that no part of it is near linear."""
    config = config_class(**options, attn_implementation="eager")
    model = model_class(config)
    model.config.architectures = [model_class.__name__]
    if options.get("tie_word_embeddings") is False:
        model.lm_head.weight = nn.Parameter(torch.empty(VOCABULARY, config.d_model))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_positions" in name and not p.requires_grad:
                continue
            if name.endswith("bias"):
                p.copy_(0.1 * torch.randn(p.shape))
            elif p.dim() == 1:  # norms
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            elif "shared" in name or "embed" in name or "attention_bias" in name:
                p.copy_(0.3 * torch.randn(p.shape))
            else:
                p.copy_(torch.randn(p.shape) * p.shape[1] ** -0.5)
            if name.endswith("Attention.q.weight"):  # T5 does not scale its scores, and begins so
                p.mul_(config.d_kv**-0.5)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.copy_(0.5 * torch.randn(model.final_logits_bias.shape))
    model.eval()
    # What ends a text are tokens that this model writes now and then; one, as usual, or several.
    written = model.generate(torch.randint(SPECIAL, 30, (40, 9)), max_length=MOST, do_sample=False, num_beams=1)
    counts = torch.bincount(written.flatten(), minlength=VOCABULARY)
    ends = (SPECIAL + counts[SPECIAL:35].argsort(descending=True)).tolist()
    end = ends[1] if config_class is hf.MarianConfig else ends[1:5]
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    if getattr(model.config, "forced_eos_token_id", None) is not None:
        last = end if isinstance(end, int) else end[0]
        model.config.forced_eos_token_id = model.generation_config.forced_eos_token_id = last
    return model


def padded(rows, value):
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def make_batch(model):
    """Five ragged pairs; some labels do not count."""
    target_vocabulary = getattr(model.config, "decoder_vocab_size", None) or VOCABULARY
    sources = [torch.randint(SPECIAL, VOCABULARY - 1, (n,)) for n in SOURCES]
    labels = [torch.randint(SPECIAL, target_vocabulary - 1, (n,)) for n in TARGETS]
    for row in labels[:2]:  # mBART's reference looks for its last label from the end of those that count
        row[-1 if isinstance(model, hf.MBartForConditionalGeneration) else 2] = -100
    return {"sources": sources, "labels": labels}


def outputs(model, batch):
    """Packed: logits [T, V], encoder_last_hidden_state [S, d]."""
    sources, labels = batch["sources"], batch["labels"]
    mask, counted = (padded([torch.ones_like(r) for r in rows], 0).bool() for rows in (sources, labels))
    pad = model.config.pad_token_id
    done = model(input_ids=padded(sources, pad), attention_mask=mask.long(), labels=padded(labels, -100))
    return {"encoder_last_hidden_state": done.encoder_last_hidden_state[mask], "logits": done.logits[counted]}


def loss_of(out, batch, smoothing):
    """As transformers' Trainer counts it, which is torch's smoothing."""
    return F.cross_entropy(out["logits"], torch.cat(batch["labels"]), ignore_index=-100, label_smoothing=smoothing)


def adamw_losses(model, batch, smoothing):
    """The losses before each of 20 steps on the same batch."""
    trained = [p for p in model.parameters() if p.requires_grad]
    decay, plain = [p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=0.01), dict(params=plain, weight_decay=0.0)], lr=1e-3,
                                  betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loss_of(outputs(model, batch), batch, smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def gradients(model):
    """Under the names of the file: saved like weights."""
    holder = copy.deepcopy(model)
    with torch.no_grad():
        for p, q in zip(holder.parameters(), model.parameters()):
            p.copy_(torch.zeros_like(q) if q.grad is None else q.grad)
    with tempfile.TemporaryDirectory() as folder:
        holder.save_pretrained(folder)
        with safe_open(os.path.join(folder, "model.safetensors"), "pt") as saved:
            return {"grad." + n: saved.get_tensor(n) for n in saved.keys() if n != "final_logits_bias"}


def searches(model, batch):
    """Of each search the tokens that are written after the first one, all sources' best ones behind each other, where each begins, and
    their scores: sums of logarithms over the length to the power of the penalty."""
    out = {}
    for name, options in SEARCHES.items():
        rows, scores = [], []
        for source in batch["sources"]:
            done = model.generate(input_ids=source[None], attention_mask=torch.ones_like(source)[None], max_length=MOST, do_sample=False,
                                  output_scores=True, return_dict_in_generate=True, **options)
            ends = model.config.eos_token_id
            ends = ends if isinstance(ends, list) else [ends]
            for row in done.sequences.tolist():
                row = row[1:]
                while any(t in ends for t in row[:-1]):  # padding
                    row.pop()
                rows.append(torch.tensor(row, dtype=torch.int32))
            if options["num_beams"] == 1:
                steps = [s.log_softmax(-1)[0, t].item() for s, t in zip(done.scores, done.sequences[0, 1:])]
                scores.append(sum(steps) / len(steps))
            else:
                scores.extend(done.sequences_scores.tolist())
        out[f"search.{name}.ids"] = torch.cat(rows)
        out[f"search.{name}.offsets"] = torch.tensor([0] + [len(r) for r in rows], dtype=torch.int32).cumsum(0).int()
        out[f"search.{name}.scores"] = torch.tensor(scores)
    return out


def make(name):
    config_class, model_class, options, smoothing = CASES[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    folder = os.path.join(HERE, name)
    model = build(config_class, model_class, options)
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    config = {k: v for k, v in json.load(open(path)).items() if k not in ("dtype", "transformers_version")}
    with open(path, "w") as f:
        f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    batch = make_batch(model)
    found = searches(model, batch)
    model = model.double()
    out = outputs(model, batch)
    loss = loss_of(out, batch, smoothing)
    loss.backward()
    golden = {"ids": torch.cat(batch["sources"]).int(), "offsets": torch.tensor([0] + SOURCES).cumsum(0).int(),
              "labels": torch.cat(batch["labels"]).int(), "label_offsets": torch.tensor([0] + TARGETS).cumsum(0).int(),
              "smoothing": torch.tensor([smoothing])}
    golden.update(out, loss=loss.reshape(1))
    golden.update(gradients(model))
    golden["adamw_losses"] = adamw_losses(copy.deepcopy(model), batch, smoothing)
    golden.update(found)
    golden = {k: (v.float() if v.is_floating_point() else v).detach().contiguous() for k, v in golden.items()}
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name:28s} {sum(p.numel() for p in model.parameters()):7d} parameters, {size // 1024:4d} KB, "
          f"loss {loss.item():.4f} -> {golden['adamw_losses'][-1].item():.4f}, "
          f"beams of {(golden['search.beam.offsets'][1:] - golden['search.beam.offsets'][:-1]).tolist()} tokens")
    return size


if __name__ == "__main__":
    total = sum(make(name) for name in sys.argv[1:] or CASES)
    print(f"{total / 1e6:.2f} MB")
