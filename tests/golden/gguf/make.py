#!/usr/bin/env python3
"""Makes the tiny GGUF models of this folder as llama.cpp's converter would (gguf-py's own writer and quantization; rows of Llama's queries
and keys turned), and for each NAME.safetensors: token ids of some texts, by the library that the tokenizer is from, and the logits of
transformers' model on the dequantized weights.

usage: make.py        (needs torch, transformers, tokenizers, sentencepiece and gguf)
"""
import io
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import gguf
import numpy as np
import sentencepiece
import torch
import transformers as hf
from gguf import GGMLQuantizationType as Q
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["a mill grinds grain", "The stone weighs 1234 pounds, doesn't it?", "na\u00efve  caf\u00e9\n\n\tx = 10 + y;", "", "<|im_start|>user\nhello<|im_end|>\n",
         "\u6771\u4eac \U0001f600 a", " two  spaces "]
SENTENCES = ["a mill grinds grain into flour between two stones", "the stone of a hand mill weighs a few pounds and is turned by hand",
             "he doesn't know what it is; they've been there, and we'll see", "grinding grain is an old craft of many people"] * 4
CHATML = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a mill.<|im_end|>\n' }}"
          "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
PRE = {"gpt-2": GPT2, "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
       "llama-bpe": pre_tokenizers.Sequence([split(WORDS % "{1,3}"), LEVEL]), "qwen2": pre_tokenizers.Sequence([split(WORDS % ""), LEVEL])}


def byte_bpe(pre, writer):
    """A vocabulary of all bytes and a few merges; ids of the texts."""
    t = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    t.pre_tokenizer, t.decoder = PRE[pre], decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=317, special_tokens=special, show_progress=False,
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    state = json.loads(t.to_str())
    vocabulary = t.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if x in special else 4 if x == "<tool>" else 1 for x in tokens])
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in state["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(pre == "llama-bpe")
    writer.add_chat_template(CHATML)
    begin = [1] if pre == "llama-bpe" else []
    return len(tokens), [begin + t.encode(text).ids for text in TEXTS]


def pieces(writer):
    """SentencePiece's BPE with bytes for unknown characters."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=320, model_type="bpe", byte_fallback=True,
                                             normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
    t = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    n = t.get_piece_size()
    kind = lambda i: 2 if t.is_unknown(i) else 3 if t.is_control(i) else 6 if t.is_byte(i) else 1
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([t.id_to_piece(i) for i in range(n)])
    writer.add_token_scores([t.get_score(i) for i in range(n)])
    writer.add_token_types([kind(i) for i in range(n)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    return n, [[1] + t.encode(text) for text in TEXTS]


def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


LAYER = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "attn.c_attn": "attn_qkv",
         "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "ln_1": "attn_norm", "ln_2": "ffn_norm"}
SINGLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
          "transformer.ln_f": "output_norm"}


def gguf_name(name):
    base, end = name.rsplit(".", 1)
    if base in SINGLE:
        return f"{SINGLE[base]}.{end}"
    for prefix in ("model.layers.", "transformer.h."):
        if base.startswith(prefix):
            i, part = base[len(prefix):].split(".", 1)
            return f"blk.{i}.{LAYER[part]}.{end}"


def make(name, arch, tokenizer, dtypes, **options):
    torch.manual_seed(len(name))
    writer = gguf.GGUFWriter(os.path.join(HERE, name + ".gguf"), arch)
    vocabulary, ids = tokenizer(writer)
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_file_type(3)
    if arch == "gpt2":
        config = hf.GPT2Config(vocab_size=vocabulary, n_embd=64, n_layer=2, n_head=4, n_inner=96, n_positions=64, **options)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        shape = dict(vocab_size=vocabulary, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
                     max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=1000.0)
        config = (hf.LlamaConfig if arch == "llama" else hf.Qwen2Config)(**dict(shape, **options))
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(options.get("rope_parameters", shape)["rope_theta"])
        writer.add_rope_dimension_count(16)
        writer.add_vocab_size(vocabulary)
    if "rope_parameters" in options:  # as the converter does
        f = options["rope_parameters"]
        turns = f["original_max_position_embeddings"] * f["rope_theta"] ** -(np.arange(0, 16, 2) / 16) / (2 * np.pi)
        part = np.clip((turns - f["low_freq_factor"]) / (f["high_freq_factor"] - f["low_freq_factor"]), 0, 1)
        writer.add_tensor("rope_freqs.weight", (1 / ((1 - part) / f["factor"] + part)).astype(np.float32))
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    state = {}
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 1:
                p.copy_(torch.randn_like(p) * 0.2 + ("norm" in key or "ln_" in key) * ("bias" not in key))
            elif p.dim() == 2:
                p.mul_(4)
            w, target = p.numpy(), gguf_name(key)
            turned = arch == "gpt2" and w.ndim == 2 and ".h." in key
            w = np.ascontiguousarray(w.T) if turned else w
            dtype = Q.F32 if w.ndim == 1 else next((d for part, d in dtypes.items() if part in target), dtypes[""])
            heads = (4 if "q_proj" in key else 2 if "k_proj" in key else 0) if arch == "llama" else 0
            stored = permute(w, heads) if heads else w
            if dtype == Q.F32:
                writer.add_tensor(target, np.ascontiguousarray(stored).copy())
                continue
            writer.add_tensor(target, quantize(np.ascontiguousarray(stored), dtype), raw_dtype=dtype)
            kept = dequantize(quantize(np.ascontiguousarray(w), dtype), dtype).reshape(w.shape)
            p.copy_(torch.from_numpy(np.ascontiguousarray(kept.T if turned else kept).astype(np.float32)))
        golden = {f"ids_{i}": np.array(x, np.int32) for i, x in enumerate(ids)}
        logits = model.double()(torch.tensor([ids[1]]))
        golden["logits"] = logits.logits[0].float().numpy()
    for method in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        method()
    save_file(golden, os.path.join(HERE, name + ".safetensors"))


# name, architecture, tokenizer, dtypes of tensors by a part of their names
make("llama-q4_1", "llama", lambda w: byte_bpe("smollm", w), {"token_embd": Q.Q8_0, "": Q.Q4_1}, tie_word_embeddings=True)
make("llama-mixed", "llama", pieces, {"token_embd": Q.F16, "attn_v": Q.Q8_0, "attn": Q.Q4_0, "output.": Q.Q5_1, "ffn_up": Q.Q5_0, "ffn_gate": Q.Q5_0, "": Q.Q8_0},
     tie_word_embeddings=False)
make("llama-bpe", "llama", lambda w: byte_bpe("llama-bpe", w), {"token_embd": Q.BF16, "": Q.Q8_0}, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
make("qwen2-q5_0", "qwen2", lambda w: byte_bpe("qwen2", w), {"token_embd": Q.F32, "": Q.Q5_0}, tie_word_embeddings=True)
make("llama-scaled", "llama", lambda w: byte_bpe("smollm", w), {"": Q.Q8_0}, tie_word_embeddings=True,
     rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=8192))
make("gpt2-q8_0", "gpt2", lambda w: byte_bpe("gpt-2", w), {"position_embd": Q.F32, "": Q.Q8_0})


def seed(name, arch, tokenizer, **keys):
    """Small inputs for tests/fuzz/fuzz_gguf_model.c."""
    folder = os.path.join(HERE, "..", "..", "fuzz", "corpus", "gguf_model")
    os.makedirs(folder, exist_ok=True)
    writer = gguf.GGUFWriter(os.path.join(folder, name), arch)
    tokens = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581a"] if tokenizer == "llama" else ["<s>", "</s>", "\u0120", "a", "b", "ab", "\u0120a", "."]
    writer.add_tokenizer_model(tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1] if tokenizer == "llama" else [3, 3, 1, 1, 1, 1, 1, 4])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    if tokenizer == "llama":
        writer.add_token_scores([0.0, 0.0, 0.0, -3.0, -4.0, -5.0, -1.0, -2.0])
    else:
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(["a b", "\u0120 a"])
        writer.add_chat_template(CHATML)
    for key in ("block_count", "head_count"):
        getattr(writer, "add_" + key)(1)
    writer.add_context_length(16)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    rng = np.random.default_rng(1)
    block = lambda rows, dtype: quantize(rng.normal(0, 1, (rows, 32)).astype(np.float32), dtype)
    add = lambda key, rows, dtype: writer.add_tensor(key, block(rows, dtype), raw_dtype=dtype)
    one = np.ones(32, np.float32)
    add("token_embd.weight", 8, Q.Q8_0)
    if arch == "gpt2":
        writer.add_layer_norm_eps(1e-5)
        add("position_embd.weight", 16, Q.F32)
        add("blk.0.attn_qkv.weight", 96, Q.Q4_0)
        writer.add_tensor("blk.0.attn_qkv.bias", np.ones(96, np.float32))
        names = ["attn_output", "ffn_up", "ffn_down"]
        for part in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm", *("blk.0." + n for n in names)):
            writer.add_tensor(part + ".bias", one.copy())
    else:
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_head_count_kv(1)
        names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    for n in names:
        add(f"blk.0.{n}.weight", 32, Q.Q4_1)
    for n in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(n + ".weight", one.copy())
    for method in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        method()


seed("llama_bytes", "llama", "gpt2")
seed("llama_pieces", "llama", "llama")
seed("gpt2", "gpt2", "gpt2")
