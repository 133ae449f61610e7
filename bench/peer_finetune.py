"""Fine-tunes a classifier with PyTorch + transformers, as the peer of `quern finetune`: one pass over a TSV file with the columns label and
text, and prints a JSON object with the time of each step, its real and its padded tokens. bench/peers.py starts it.

    peer_finetune.py MODEL TRAIN.tsv --threads N [--bf16] [--grouped] [--batch-size 32] [--max-length 128] [--learning-rate 2e-4]

--bf16 is autocast over float32 weights. --grouped puts texts of similar lengths together as transformers' group_by_length does (sorted within
50 batches), otherwise batches are random. AdamW is PyTorch's fused one."""
import argparse
import csv
import json
import os
import random
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def plan(lengths, batch, grouped):
    order = list(range(len(lengths)))
    random.shuffle(order)
    if grouped:
        mega = 50 * batch
        order = [i for at in range(0, len(order), mega) for i in sorted(order[at : at + mega], key=lambda i: -lengths[i])]
    batches = [order[at : at + batch] for at in range(0, len(order), batch)]
    random.shuffle(batches)
    return batches


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--grouped", action="store_true")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    random.seed(0)
    with open(a.train, encoding="utf-8", newline="") as file:
        rows = [(row["label"], row["text"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    labels = {label: i for i, label in enumerate(sorted({label for label, _ in rows}))}
    ids = AutoTokenizer.from_pretrained(a.model)([text for _, text in rows], truncation=True, max_length=a.max_length)["input_ids"]
    model = AutoModelForSequenceClassification.from_pretrained(a.model, num_labels=len(labels)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=a.learning_rate, weight_decay=0.01, fused=True)
    batches = plan([len(row) for row in ids], a.batch_size, a.grouped)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    steps = []
    for batch in batches:
        start = time.perf_counter()
        longest = max(len(ids[i]) for i in batch)
        x, mask = np.zeros((len(batch), longest), np.int64), np.zeros((len(batch), longest), np.int64)
        for r, i in enumerate(batch):
            x[r, : len(ids[i])], mask[r, : len(ids[i])] = ids[i], 1
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.bf16):
            loss = model(input_ids=torch.from_numpy(x), attention_mask=torch.from_numpy(mask),
                         labels=torch.tensor([labels[rows[i][0]] for i in batch])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        steps.append({"seconds": time.perf_counter() - start, "tokens": int(mask.sum()), "padded": x.size, "loss": loss.item()})
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
