"""Trains a translator with PyTorch + transformers, as the peer of `quern finetune --task translate`: from the same first weights, over the same
batches, with the same schedule. Prints a JSON object with the time, tokens and loss of each step, and writes the model to --output.

    peer_translate.py MODEL TRAIN.tsv --threads N --max-steps N --batch-tokens N [--output DIR] [--learning-rate X] [--warmup-steps N]
        [--label-smoothing X] [--dropout X] [--max-length N] [--seed N] [--grouped] [--bf16]

MODEL is a folder that Quern wrote: with --learning-rate 0 --max-steps 1 one with the weights that every run begins with. The order of pairs is
drawn as Quern draws it (src/data/sampler.c): Philox numbers of seed and epoch, and batches of as many pairs as fit the tokens of both sides.
Dropout cannot be the same, since the two draw its masks in different ways."""
import argparse
import csv
import json
import math
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

M32 = 0xFFFFFFFF


def philox(seed, stream, counters):
    """The first 64 bits of Philox4x32-10 for each counter."""
    c = [counters & M32, counters >> 32, numpy.full_like(counters, stream & M32), numpy.full_like(counters, stream >> 32)]
    c = [x.astype(numpy.uint64) for x in c]
    k0, k1 = seed & M32, seed >> 32
    for _ in range(10):
        p0, p1 = c[0] * numpy.uint64(0xD2511F53), c[2] * numpy.uint64(0xCD9E8D57)
        c = [(p1 >> numpy.uint64(32)) ^ c[1] ^ numpy.uint64(k0), p1 & numpy.uint64(M32),
             (p0 >> numpy.uint64(32)) ^ c[3] ^ numpy.uint64(k1), p0 & numpy.uint64(M32)]
        k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
    return (c[1].astype(object) << 32) | c[0].astype(object)


class Shuffler:
    """Shuffles as Quern does, one list after the other."""

    def __init__(self, seed, epoch):
        self.seed, self.epoch, self.used = seed ^ 0x6F726465722E2E2E, epoch, 0

    def shuffle(self, items):
        count = max(len(items) - 1, 0)
        numbers = philox(self.seed, self.epoch, numpy.arange(self.used, self.used + count, dtype=numpy.uint64))
        self.used += count
        for number, i in zip(numbers, range(len(items), 1, -1)):
            j = int(number) * i >> 64
            items[i - 1], items[j] = items[j], items[i - 1]


def cut(order, lengths, budget):
    out, batch, tokens = [], [], 0
    for i in order:
        if batch and tokens + lengths[i] > budget:
            out.append(batch)
            batch, tokens = [], 0
        batch.append(i)
        tokens += lengths[i]
    return out + [batch] if batch else out


def batches(lengths, budget, seed, grouped):
    """Endless; each is a list of pairs' indices."""
    count, epoch = len(lengths), 0
    fits = min(max(int(budget / (sum(lengths) / count)), 1), count)
    group = fits * max(min(count // (fits * 4), 50), 1)
    while True:
        shuffler, order = Shuffler(seed, epoch), list(range(count))
        shuffler.shuffle(order)
        if grouped:
            found = []
            for at in range(0, count, group):
                found += cut(sorted(order[at : at + group], key=lambda i: -lengths[i]), lengths, budget)
            shuffler.shuffle(found)
        else:
            found = cut(order, lengths, budget)
        yield from found
        epoch += 1


def padded(rows, fill):
    out = numpy.full((len(rows), max(map(len, rows))), fill, numpy.int64)
    for r, row in enumerate(rows):
        out[r, : len(row)] = row
    return torch.from_numpy(out)


def parameter_groups(model, decay):
    """As Quern: biases and norms, which are vectors, do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [{"params": [p for p in trained if p.dim() > 1], "weight_decay": decay}, {"params": [p for p in trained if p.dim() == 1], "weight_decay": 0.0}]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--max-steps", type=int, required=True)
    parser.add_argument("--batch-tokens", type=int, required=True)
    parser.add_argument("--output")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--warmup-steps", type=int, default=400)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--beta2", type=float, default=0.98)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grouped", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(a.seed)
    with open(a.train, encoding="utf-8", newline="") as file:
        rows = [(row["source"], row["target"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    sides = [tokenizer([row[k] for row in rows], truncation=True, max_length=a.max_length)["input_ids"] for k in range(2)]
    options = {} if a.dropout is None else {"dropout": a.dropout, "attention_dropout": 0.0, "activation_dropout": 0.0}
    model = AutoModelForSeq2SeqLM.from_pretrained(a.model, dtype=torch.float32, **options).train()
    pad, start = model.config.pad_token_id, model.config.decoder_start_token_id
    optimizer = torch.optim.AdamW(parameter_groups(model, a.weight_decay), lr=a.learning_rate, betas=(0.9, a.beta2), eps=1e-8, fused=True)
    steps = []
    source = batches([len(x) + len(y) for x, y in zip(*sides)], a.batch_tokens, a.seed, a.grouped)
    for step in range(a.max_steps):
        batch = next(source)
        begin = time.perf_counter()
        rate = min(1, (step + 1) / a.warmup_steps) if step < a.warmup_steps else math.sqrt(a.warmup_steps / step)
        for group in optimizer.param_groups:
            group["lr"] = a.learning_rate * rate
        x, y = [sides[0][i] for i in batch], [sides[1][i] for i in batch]
        ids, inputs, labels = padded(x, pad), padded([[start] + row[:-1] for row in y], pad), padded(y, -100)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.bf16):
            logits = model(input_ids=ids, attention_mask=(ids != pad).long(), decoder_input_ids=inputs).logits.float()
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, label_smoothing=a.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        steps.append({"seconds": time.perf_counter() - begin, "loss": loss.item(), "tokens": sum(map(len, x)) + sum(map(len, y)),
                      "padded": ids.numel() + labels.numel()})
    if a.output:
        model.save_pretrained(a.output)
        tokenizer.save_pretrained(a.output)
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
