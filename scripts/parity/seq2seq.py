"""Training of an encoder-decoder: `quern finetune --task translate` beside PyTorch and transformers (bench/peer_translate.py) from the same
first weights over the same batches. The loss of each step, the weights after it, and the loss of held-out pairs by `quern eval`."""
import json
import os
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from common import ROOT, Workplace, check, check_close, finish, json_lines, quern, wordnet
from safetensors.numpy import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

STEPS, RATE, WARMUP = 40, 1e-3, 10
SHAPE = dict(vocab_size=1200, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
             encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=128, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
             scale_embedding=True, tie_word_embeddings=True, is_encoder_decoder=True, eos_token_id=2, forced_eos_token_id=None)
FAMILIES = {
    "bart": dict(SHAPE, model_type="bart", architectures=["BartForConditionalGeneration"], activation_function="gelu", pad_token_id=0,
                 decoder_start_token_id=2),
    "marian": dict(SHAPE, model_type="marian", architectures=["MarianMTModel"], activation_function="swish", pad_token_id=0,
                   decoder_start_token_id=0),
    "t5": dict(model_type="t5", architectures=["T5ForConditionalGeneration"], vocab_size=1200, d_model=64, d_kv=16, d_ff=128, num_layers=2,
               num_decoder_layers=2, num_heads=4, dropout_rate=0.0, feed_forward_proj="relu", is_encoder_decoder=True, pad_token_id=0,
               eos_token_id=2, decoder_start_token_id=0, tie_word_embeddings=True),
}


def halves(split, count):
    """Definitions as pairs: the second half of the words from the first."""
    rows = [r["text"].split() for r in wordnet(split, count)]
    return [dict(source=" ".join(w[: len(w) // 2]), target=" ".join(w[len(w) // 2 :])) for w in rows if len(w) > 3]


def heldout_loss(folder, rows):
    """The mean loss of a target's token by transformers, a pair at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    total = count = 0
    with torch.no_grad():
        for row in rows:
            x, y = (tokenizer(row[k], return_tensors="pt")["input_ids"] for k in ("source", "target"))
            total += model(input_ids=x, labels=y).loss.item() * y.numel()
            count += y.numel()
    return total / count


with Workplace() as place:
    train, heldout_rows = place.tsv("train.tsv", halves("train", 3000)), halves("test", 60)
    heldout, tokenizer = place.tsv("heldout.tsv", heldout_rows), place.file("tokenizer")
    quern("tokenizer", "train", "--kind", "unigram", "--vocab-size", SHAPE["vocab_size"], "--cls-token", "", "--mask-token", "", "--train-file",
          train, "--output-dir", tokenizer)
    for family, config in FAMILIES.items():
        start, ours, theirs = (place.file(f"{family}-{name}") for name in ("start", "quern", "torch"))
        common = ["--task", "translate", "--tokenizer", tokenizer, "--train-file", train, "--batch-size", 0, "--batch-tokens", 1024, "--group-by-length",
                  "--lr-scheduler-type", "inverse_sqrt", "--label-smoothing", 0.1, "--adam-beta2", 0.98, "--max-seq-length", 64, "--seed", 1,
                  "--threads", 2, "--quiet"]
        quern("finetune", "--model", place.file(family + ".json", json.dumps(config)), *common, "--learning-rate", 0, "--warmup-ratio", 0.5,
              "--max-steps", 1, "--output-dir", start)
        quern("finetune", "--model", start, *common, "--learning-rate", RATE, "--warmup-steps", WARMUP, "--max-steps", STEPS, "--logging-steps", 1,
              "--output-dir", ours)
        done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "peer_translate.py"), start, train, "--threads", "2", "--max-steps",
                               str(STEPS), "--batch-tokens", "1024", "--learning-rate", str(RATE), "--warmup-steps", str(WARMUP), "--max-length",
                               "64", "--seed", "1", "--grouped", "--output", theirs], check=True, capture_output=True, text=True).stdout
        losses = [r["loss"] for r in json_lines(open(os.path.join(ours, "log.jsonl"), encoding="utf-8").read()) if r["event"] == "train"]
        check_close(f"{family}: losses of {STEPS} steps", losses, [step["loss"] for step in json.loads(done)], 2e-3)
        check(f"{family}: it learns", losses[-1] < losses[0] - 0.1, f"{losses[0]:.3f} to {losses[-1]:.3f}")
        a, b = (load_file(os.path.join(folder, "model.safetensors")) for folder in (ours, theirs))
        shared = sorted(a.keys() & b.keys())
        moved = np.sqrt(sum(float(((b[n] - v) ** 2).sum()) for n, v in load_file(os.path.join(start, "model.safetensors")).items() if n in shared))
        apart = np.sqrt(sum(float(((a[n] - b[n]) ** 2).sum()) for n in shared))
        check(f"{family}: weights", len(shared) > 20 and apart < 0.02 * moved, f"{apart / moved:.2e} of their way apart, {len(shared)} tensors")
        loss = json.loads(quern("eval", "--model", ours, "--data", heldout, "--num-beams", 1))["loss"]
        check_close(f"{family}: loss of held-out pairs", [loss], [heldout_loss(ours, heldout_rows)], 1e-5)
finish()
