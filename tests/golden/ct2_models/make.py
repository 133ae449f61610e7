"""Converts the models of tests/golden/seq2seq with CTranslate2's own converters; a test loads both and compares.

    python tests/golden/ct2_models/make.py        (ctranslate2, torch, transformers)
"""
import json
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
from ctranslate2.converters import TransformersConverter
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {"marian": "float32", "bart": "float32", "mbart": "float32", "t5": "float32", "t5-gated": "float32", "bart-int8": "int8", "t5-float16": "float16",
         "bart-plain": "float16"}  # plain: without a bias of the output, as most are

for case, dtype in CASES.items():
    source = os.path.join(HERE, "..", "seq2seq", case.replace("-int8", "").replace("-float16", "").replace("-plain", ""))
    with tempfile.TemporaryDirectory() as work:
        config = json.load(open(os.path.join(source, "config.json")))
        config["normalize_before"] = config["model_type"] == "mbart"  # the converter looks for what transformers no longer writes
        json.dump(config, open(os.path.join(work, "config.json"), "w"))
        weights = load_file(os.path.join(source, "model.safetensors"))
        if case.endswith("-plain"):
            weights["final_logits_bias"].zero_()
        save_file(weights, os.path.join(work, "model.safetensors"), metadata={"format": "pt"})
        size = config["vocab_size"]
        tokens = ["</s>", "<unk>", "<s>"] + [f"t{i}" for i in range(3, size - 1)] + ["<pad>"]
        words = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
                 "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                                  for i, t in enumerate(tokens) if t[0] == "<"],
                 "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(tokens)}, "unk_token": "<unk>"}}
        json.dump(words, open(os.path.join(work, "tokenizer.json"), "w"))
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"},
                  open(os.path.join(work, "tokenizer_config.json"), "w"))
        TransformersConverter(work).convert(os.path.join(HERE, case), quantization=dtype, force=True)
