"""LoRA adapters: those that Quern trains load in PEFT, those of PEFT load in Quern, with equal logits and equal gradients."""
import os

from common import Workplace, check, check_close, finish, quern, quern_logits, small_start, transformers_logits, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

logging.disable_progress_bar()
logging.set_verbosity_error()


def logits(model, tokenizer, texts):
    model.eval()
    with torch.no_grad():
        return np.stack([model(**tokenizer(t, truncation=True, max_length=128, return_tensors="pt")).logits[0].numpy() for t in texts])


def gradients(folder, model):
    """The gradients of one step with learning rate 0 from the first moment, (1 - beta1) g, by the names of PEFT."""
    flat = load_file(os.path.join(folder, "optimizer.safetensors"))["moment1"].numpy() / 0.1
    with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as f:
        shapes = {name: f.get_slice(name).get_shape() for name in f.keys()}
    heads = ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]
    factors = []
    for layer in range(model.config.num_hidden_layers):
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                     "intermediate.dense", "output.dense"):
            factors += [f"bert.encoder.layer.{layer}.{part}.lora_{x}.weight" for x in "AB"]
    at, found = 0, {}
    for name in heads + factors:
        shape = shapes.get("base_model.model." + name)
        if shape is None:
            continue
        at = (at + 15) // 16 * 16
        size = int(np.prod(shape))
        found[name] = flat[at:at + size].reshape(shape)
        at += size
    return found, at == len(flat)


with Workplace() as place:
    rows = [{"label": r["label"], "text": r["text"]} for r in wordnet("train", 600)]
    labels = sorted({r["label"] for r in rows})
    train = place.tsv("train.tsv", rows)
    few = place.tsv("few.tsv", [next(r for r in rows if r["label"] == label) for label in labels])
    texts = [r["text"] for r in wordnet("test", 100)]
    options, _ = small_start(place)
    base = place.file("base")
    quern("finetune", "--task", "classify", *options, "--train-file", train, "--output-dir", base, "--learning-rate", "1e-3",
          "--max-steps", 5, "--seed", 7)
    tokenizer = AutoTokenizer.from_pretrained(base)

    # Trained by Quern, read by PEFT: a part of the targets, all of them, with a scale by the root of the rank.
    for name, more in {"query, value": ["--lora-targets", "query,value"], "all-linear": [],
                       "down, rslora": ["--lora-targets", "down,key", "--use-rslora", "--lora-dropout", "0.1"]}.items():
        adapter = place.file("adapter-" + name.split(",")[0])
        quern("finetune", "--task", "classify", "--model", base, "--train-file", train, "--output-dir", adapter, "--learning-rate",
              "5e-3", "--max-steps", 10, "--seed", 7, "--lora-rank", 4, *more)
        model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base), adapter)
        theirs = logits(model, tokenizer, texts)
        check_close(f"{name}: PEFT's logits", quern_logits(base, texts, "--adapter", adapter), theirs, 1e-4)
        merged = place.file("merged-" + name.split(",")[0])
        quern("merge", "--model", base, "--adapter", adapter, "--output-dir", merged)
        check_close(f"{name}: merged, in transformers", transformers_logits(merged, texts, 128)[0], theirs, 1e-5)

    # Made by PEFT, with ranks and scales of their own, read and gone on from by Quern.
    for name, config in {
        "ranks and scales by module": LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=6, target_modules=["query", "value", "intermediate.dense"],
                                                 rank_pattern={"layer.0.attention.self.query": 2}, alpha_pattern={"value": 3},
                                                 modules_to_save=["classifier", "pooler"], init_lora_weights=False),
        "all-linear, rslora": LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=4, target_modules="all-linear", use_rslora=True,
                                         exclude_modules=["pooler.dense"], modules_to_save=["classifier", "pooler"], init_lora_weights=False),
    }.items():
        torch.manual_seed(1)
        model = get_peft_model(AutoModelForSequenceClassification.from_pretrained(base), config)
        adapter = place.file("peft-" + name.split(" ")[0].strip(","))
        model.save_pretrained(adapter)
        model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base), adapter, is_trainable=True)
        check_close(f"{name}: logits", quern_logits(base, texts, "--adapter", adapter), logits(model, tokenizer, texts), 1e-4)
        run = place.file("run-" + name.split(" ")[0].strip(","))
        quern("finetune", "--task", "classify", "--model", base, "--adapter", adapter, "--train-file", few, "--output-dir", run,
              "--learning-rate", 0, "--max-steps", 1, "--per-device-train-batch-size", len(labels), "--dropout", 0,
              "--max-grad-norm", 0, "--seed", 7)
        own, whole = gradients(os.path.join(run, "checkpoint-1"), model)
        check(f"{name}: every gradient is there", whole, f"{len(own)} tensors")
        model.eval()  # no dropout
        losses = [torch.nn.functional.cross_entropy(model(**tokenizer(r["text"], return_tensors="pt")).logits,
                                                    torch.tensor([model.config.label2id[r["label"]]]))
                  for r in (next(r for r in rows if r["label"] == label) for label in labels)]
        torch.stack(losses).mean().backward()
        theirs = {}
        for key, p in model.named_parameters():
            if p.grad is not None:
                theirs[key.replace("base_model.model.", "").replace(".default", "").replace("modules_to_save.", "")] = p.grad.numpy()
        same = sorted(theirs) == sorted(own)
        check(f"{name}: the same parameters train", same, f"{len(theirs)} and {len(own)}")
        worst = max(np.abs(own[k] - g).max() / max(np.abs(g).max(), 1e-3) for k, g in theirs.items()) if same else np.inf
        check(f"{name}: gradients", worst <= 1e-4, f"largest difference {worst:.2e} of a tensor's largest value (at most 1e-04)")
finish()
