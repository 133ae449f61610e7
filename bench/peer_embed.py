"""Trains a sentence embedder with Quern and with sentence-transformers: same start, loss, batches, learning rates and steps; prints nDCG@10 on
held-out data before and after, and the seconds of the training loops.

usage: peer_embed.py --quern QUERN --model FOLDER --train-file FILE --test-file FILE --text-columns A,B (of the training file) [--steps N --batch-size N --learning-rate X]
                     [--threads N] [--only quern|peer] [--output-dir DIR]

Only the order of batches and the schedule are made here again (Quern's are functions of the seed); dropout is each side's own. Texts are tokenised
before the clock starts, on both sides. Needs sentence-transformers (bench/requirements.txt)."""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time

MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1


def philox(seed, stream, counter):
    """Philox4x32-10, as src/base/rng.h."""
    c, k = [counter & MASK32, counter >> 32, stream & MASK32, stream >> 32], [seed & MASK32, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK32, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def batches(keys, size, steps):
    """The first batches that Quern makes with seed 0 (src/data/sampler.c): shuffled, no text twice in a batch."""
    epoch = 0
    while steps > 0:
        order, counter = list(range(len(keys))), 0
        for i in range(len(order), 1, -1):
            v = philox(0x6F726465722E2E2E, epoch, counter)
            counter += 1
            j = ((v[1] << 32 | v[0]) * i) >> 64
            order[i - 1], order[j] = order[j], order[i - 1]
        while order and steps > 0:
            batch, taken, wait = [], set(), []
            for at, example in enumerate(order):
                if len(batch) == size:
                    wait += order[at:]
                    break
                if taken.isdisjoint(keys[example]):
                    batch.append(example)
                    taken.update(keys[example])
                else:
                    wait.append(example)
            order = wait
            steps -= 1
            yield batch
        epoch += 1


def rate(step, steps, peak, warmup):
    """Linear with warmup, as src/train/schedule.c."""
    done = step / steps
    return peak * min(1, (done + 1 / steps) / warmup) if done < warmup else peak * (1 - done) / (1 - warmup)


def peer(o):
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    torch.set_num_threads(o.threads)
    model = SentenceTransformer(o.model, device="cpu")
    with open(o.train_file, encoding="utf-8", newline="") as f:
        rows = [[r[c] for c in o.text_columns.split(",")] for r in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE)]
    ids = [[tuple(i) for i in model.tokenizer([r[k] for r in rows], truncation=True, max_length=model.max_seq_length)["input_ids"]] for k in range(2)]
    features = [[model.preprocess([rows[i][k] for i in batch]) for k in range(2)] for batch in batches(list(zip(*ids)), o.batch_size, o.steps)]
    loss = MultipleNegativesRankingLoss(model)
    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    decayed = [p for n, p in model.named_parameters() if not (n.endswith("bias") or "LayerNorm" in n)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}], lr=o.learning_rate)
    model.train()
    begin = time.perf_counter()
    for step, batch in enumerate(features):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, o.steps, o.learning_rate, 0.06)
        value = loss(batch, torch.zeros(o.batch_size))
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - begin
    model.save(o.output)
    return seconds, float(value.detach())


def quern(o):
    subprocess.run([o.quern, "finetune", "--task", "embed", "--model", o.model, "--train-file", o.train_file, "--text-columns", o.text_columns,
                    "--batch-size", str(o.batch_size), "--learning-rate", str(o.learning_rate), "--max-steps", str(o.steps), "--threads",
                    str(o.threads), "--logging-steps", "1", "--save-steps", str(o.steps), "--output-dir", o.output, "--overwrite", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(o.output, "log.jsonl")) as f:
        last = [e for e in map(json.loads, f) if e["event"] == "train"][-1]
    return last["seconds"], last["loss"]


def measure(o, folder):
    if not o.test_file:
        return float("nan")
    done = subprocess.run([o.quern, "eval", "--task", "retrieval", "--model", folder, "--data", o.test_file],
                          check=True, capture_output=True, text=True)
    return 100 * json.loads(done.stdout)["ndcg_at_10"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("quern", "model", "train-file", "text-columns"):
        a.add_argument("--" + name, required=True)
    a.add_argument("--test-file")
    a.add_argument("--steps", type=int, default=300)
    a.add_argument("--batch-size", type=int, default=64)
    a.add_argument("--learning-rate", type=float, default=5e-5)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--only", choices=["quern", "peer"])
    a.add_argument("--output-dir", help="keep the two models there")
    o = a.parse_args()
    if o.test_file:
        print(f"before: nDCG@10 {measure(o, o.model):.2f}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        seconds = {}
        for name, train in (("quern", quern), ("peer", peer)):
            if o.only not in (None, name):
                continue
            o.output = os.path.join(o.output_dir or place, name)
            seconds[name], loss = train(o)
            print(f"{name}: {o.steps} steps of {o.batch_size} in {seconds[name]:.2f} s, last loss {loss:.4f}, nDCG@10 {measure(o, o.output):.2f}", flush=True)
        if len(seconds) == 2:
            print(f"ratio {seconds['peer'] / seconds['quern']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
