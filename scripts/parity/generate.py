"""A Llama and a GPT-2 that Quern trained from scratch load in transformers: the same loss of validation texts, and greedy text."""
import json
import math
import os

from common import Workplace, check, check_close, finish, json_lines, quern, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, logging

logging.set_verbosity_error()
SMALL = {
    "llama": dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=2000, hidden_size=96, num_hidden_layers=3, num_attention_heads=6,
                  num_key_value_heads=2, intermediate_size=256, max_position_embeddings=128, tie_word_embeddings=True, eos_token_id=3, pad_token_id=0),
    "gpt2": dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], vocab_size=2000, n_embd=96, n_layer=3, n_head=6, n_positions=128,
                 eos_token_id=3, pad_token_id=0),
}
PROMPTS = ["a small", "the act of", "an animal that lives in", "plant", "one of the two"]

with Workplace() as place:
    train, valid = place.file("train.txt"), place.file("valid.txt")
    for path, split, count in ((train, "train", 20000), (valid, "validation", 300)):
        with open(path, "w") as f:
            f.write("".join(r["text"] + "\n" for r in wordnet(split, count)))
    tokenizer = place.file("tokenizer")
    quern("tokenizer", "train", "--vocab-size", 2000, "--output-dir", tokenizer, train)
    for name, config in SMALL.items():
        start, folder = place.file(name + ".json"), place.file(name)
        json.dump(config, open(start, "w"))
        metrics = json.loads(quern("pretrain", "--objective", "clm", "--model", start, "--tokenizer", tokenizer, "--output-dir", folder,
                                   "--validation-file", valid, "--max-steps", 60, "--batch-tokens", 2048, "--learning-rate", "2e-3", train))
        model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        model.eval()
        check(f"{name}: transformers finds every weight", not info["missing_keys"] and not info["unexpected_keys"], info)
        words = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        words.no_truncation()
        with torch.no_grad():
            total, count = 0.0, 0
            for line in open(valid):
                ids = torch.tensor([words.encode(line.rstrip("\n")).ids[:128]])
                total += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
                count += ids.shape[1] - 1
        check_close(f"{name}: validation loss", [metrics["eval_loss"]], [total / count], 1e-4)
        print(f"     perplexity {math.exp(total / count):.1f} after 60 steps")
        lines = json_lines(quern("generate", "--model", folder, "--json", "--max-new-tokens", 24, *PROMPTS))
        ours = [(line["text"], line["new_tokens"]) for line in lines]
        theirs = []
        for prompt in PROMPTS:
            ids = torch.tensor([words.encode(prompt).ids[:-1]])  # without [SEP]
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)[0, ids.shape[1]:].tolist()
            out = out[: out.index(3)] if 3 in out else out
            theirs.append((words.decode(out), len(out)))
        check(f"{name}: greedy texts of {len(PROMPTS)} prompts", ours == theirs, "equal" if ours == theirs else f"{ours} and {theirs}")

finish()
