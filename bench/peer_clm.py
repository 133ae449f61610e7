"""Trains a small GPT from scratch with Quern and with PyTorch + transformers: same first weights, token ids, batches, learning rates, AdamW and
steps; prints the perplexity of validation texts, measured by Quern for both, and the seconds of the training loops.

usage: peer_clm.py --quern QUERN --train-file FILE --validation-file FILE [--config examples/tiny-gpt.json --vocab-size 8192] [--steps 500 --batch-size 32
                   --learning-rate 1e-3] [--threads N] [--only quern|peer] [--output-dir DIR]

Files have a text per line. Only the order of batches and the schedule are made here again (Quern's are functions of the seed). Texts are tokenised
before PyTorch's clock starts; its batches are padded to their longest text, its attention is scaled_dot_product_attention, its AdamW fused."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
from peer_embed import philox, rate

LONGEST = 128


def batches(count, size, steps):
    """The first batches that Quern makes of a corpus in memory with seed 0 (src/data/sampler.c)."""
    epoch = 0
    while steps > 0:
        order = list(range(count))
        for i in range(count, 1, -1):
            v = philox(0x6F726465722E2E2E, epoch << 32, count - i)
            j = ((v[1] << 32 | v[0]) * i) >> 64
            order[i - 1], order[j] = order[j], order[i - 1]
        for at in range(0, count, size):
            if steps > 0:
                yield order[at:at + size]
            steps -= 1
        epoch += 1


def run(o, *args, **more):
    return subprocess.run([o.quern, *map(str, args)], check=True, text=True, **more)


def token_ids(o, path):
    out = run(o, "tokenizer", "encode", "--model", o.start, "--input", path, capture_output=True).stdout
    return [json.loads(line)["ids"] for line in out.split("\n") if line]


def prepare(o, folder):
    """The tokenizer of the training texts and a model of random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    run(o, "tokenizer", "train", "--vocab-size", o.vocab_size, "--output-dir", folder, o.train_file, capture_output=True)
    torch.manual_seed(0)
    config = AutoConfig.for_model(**json.load(open(o.config)))
    config.vocab_size = o.vocab_size
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def train(o, model, inputs, loss_of, warmup=0.06, beta2=0.98):
    """PyTorch's steps over prepared inputs with AdamW, clipping and the schedule as Quern has them: their seconds and losses."""
    import torch
    plain, decayed = ([p for p in model.parameters() if (p.dim() > 1) == many] for many in (False, True))
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0}], lr=o.learning_rate,
                                  betas=(0.9, beta2), fused=True)
    losses, begin = [], time.perf_counter()
    for step, batch in enumerate(inputs):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, o.steps, o.learning_rate, warmup)
        loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return time.perf_counter() - begin, losses


def peer(o):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    model = AutoModelForCausalLM.from_pretrained(o.start).train()
    texts = token_ids(o, o.train_file)
    if max(map(len, texts)) > LONGEST:
        sys.exit(f"a training text has {max(map(len, texts))} tokens (expected at most {LONGEST})")
    inputs = []
    for batch in batches(len(texts), o.batch_size, o.steps):
        longest = max(len(texts[i]) for i in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, i in enumerate(batch):
            n = len(texts[i])
            ids[row, :n] = labels[row, :n] = torch.tensor(texts[i])
            mask[row, :n] = 1
        inputs.append(dict(input_ids=ids, attention_mask=mask, labels=labels))
    seconds, losses = train(o, model, inputs, lambda batch: model(**batch).loss)
    model.save_pretrained(o.output)
    run(o, "tokenizer", "train", "--vocab-size", o.vocab_size, "--output-dir", o.output, o.train_file, capture_output=True)
    return seconds, losses[-1]


def quern(o):
    run(o, "pretrain", "--objective", "clm", "--model", o.start, "--batch-size", o.batch_size, "--batch-tokens", 0, "--learning-rate", o.learning_rate,
        "--max-seq-length", LONGEST, "--max-steps", o.steps, "--threads", o.threads, "--logging-steps", 1, "--save-steps", o.steps, "--output-dir", o.output,
        "--overwrite", "--quiet", o.train_file, stdout=subprocess.DEVNULL)
    with open(os.path.join(o.output, "log.jsonl")) as f:
        last = [e for e in map(json.loads, f) if e["event"] == "train"][-1]
    return last["seconds"], last["loss"]


def perplexity(o, folder):
    out = run(o, "eval", "--model", folder, "--lines", "--format", "text", "--max-seq-length", LONGEST, o.validation_file, capture_output=True).stdout
    return json.loads(out)["perplexity"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("quern", "train-file", "validation-file"):
        a.add_argument("--" + name, required=True)
    a.add_argument("--config", default=os.path.join(here, "..", "examples", "tiny-gpt.json"))
    a.add_argument("--vocab-size", type=int, default=8192)
    a.add_argument("--steps", type=int, default=500)
    a.add_argument("--batch-size", type=int, default=32)
    a.add_argument("--learning-rate", type=float, default=1e-3)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--only", choices=["quern", "peer"])
    a.add_argument("--output-dir", help="keep the models there; a start that is there is used again")
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as place:
        place = o.output_dir or place
        o.start, results = os.path.join(place, "start"), {}
        if not os.path.exists(os.path.join(o.start, "model.safetensors")):
            prepare(o, o.start)
        print(f"before: perplexity {perplexity(o, o.start):.1f}", flush=True)
        for name, trained in (("quern", quern), ("peer", peer)):
            if o.only not in (None, name):
                continue
            o.output = os.path.join(place, name)
            seconds, loss = trained(o)
            results[name] = seconds, perplexity(o, o.output)
            print(f"{name}: {o.steps} steps of {o.batch_size} texts in {seconds:.2f} s, last loss {loss:.4f}, perplexity {results[name][1]:.3f}", flush=True)
        if len(results) == 2:
            ours, theirs = results["quern"], results["peer"]
            print(f"time {theirs[0] / ours[0]:.2f} x, perplexity {100 * (ours[1] / theirs[1] - 1):+.2f} %")


if __name__ == "__main__":
    sys.exit(main())
