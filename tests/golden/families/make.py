#!/usr/bin/env python3
"""Makes the reference cases of this folder: one or two tiny random models of each family, their outputs, losses, every gradient and 20
AdamW steps. The forward pass is transformers' own.

usage: make.py [NAME ...]        (needs torch, transformers and safetensors; ../bert/README.md describes the files)

Everything is computed in float64 on weights that are exact in float32, and stored as float32.
"""
import copy
import json
import os
import sys
import tempfile
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers as hf
from safetensors import safe_open
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "bert"))
import make as bert  # the batch of ragged sequences, the losses and AdamW are the same

bert.LENGTHS = [7, 1, 33, 2, 50]  # the longest is more than one block of queries
VOCABULARY, LONGEST = 43, 50
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
             hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
DISTIL = dict(vocab_size=VOCABULARY, dim=16, n_layers=2, n_heads=2, hidden_dim=24, dropout=0.0, attention_dropout=0.0,
              seq_classif_dropout=0.0, max_position_embeddings=LONGEST)
AFTER = dict(SHAPE, max_position_embeddings=LONGEST + 2)  # positions count from pad_token_id + 1 = 2
MODERN = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
              max_position_embeddings=LONGEST, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
DEBERTA = dict(SHAPE, max_position_embeddings=LONGEST, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8,
               share_att_key=True, norm_rel_ebd="layer_norm", position_biased_input=False, type_vocab_size=0)
PLAIN = dict(SHAPE, max_position_embeddings=LONGEST)
LLAMA = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24,
             max_position_embeddings=LONGEST, pad_token_id=0)

# name: (configuration, class of the model, loss, options, labels)
CASES = {
    "roberta-mlm": (hf.RobertaConfig, hf.RobertaForMaskedLM, "mlm", dict(AFTER, hidden_act="relu"), 0),
    "roberta-classify": (hf.RobertaConfig, hf.RobertaForSequenceClassification, "single", dict(AFTER, type_vocab_size=1), 3),
    "xlm_roberta-regress": (hf.XLMRobertaConfig, hf.XLMRobertaForSequenceClassification, "regression", dict(AFTER, type_vocab_size=1), 1),
    "camembert-mlm": (hf.CamembertConfig, hf.CamembertForMaskedLM, "mlm", dict(AFTER, type_vocab_size=1, layer_norm_eps=1e-5), 0),
    "distilbert-mlm": (hf.DistilBertConfig, hf.DistilBertForMaskedLM, "mlm", dict(DISTIL, activation="relu", sinusoidal_pos_embds=True), 0),
    "distilbert-classify": (hf.DistilBertConfig, hf.DistilBertForSequenceClassification, "single", DISTIL, 3),
    "electra-mlm": (hf.ElectraConfig, hf.ElectraForMaskedLM, "mlm", dict(PLAIN, embedding_size=12, hidden_act="relu"), 0),
    "electra-classify": (hf.ElectraConfig, hf.ElectraForSequenceClassification, "single", dict(PLAIN, embedding_size=16), 3),
    "electra-discriminate": (hf.ElectraConfig, hf.ElectraForPreTraining, "replaced", dict(PLAIN, embedding_size=12), 0),
    "albert-pretrain": (hf.AlbertConfig, hf.AlbertForPreTraining, "pretrain",
                        dict(PLAIN, num_hidden_layers=3, embedding_size=12, hidden_act="relu"), 0),
    "albert-classify": (hf.AlbertConfig, hf.AlbertForSequenceClassification, "single",
                        dict(PLAIN, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2, embedding_size=16,
                             classifier_dropout_prob=0.0), 3),
    "mpnet-mlm": (hf.MPNetConfig, hf.MPNetForMaskedLM, "mlm", dict(AFTER, hidden_act="relu"), 0),
    "bert-tag": (hf.BertConfig, hf.BertForTokenClassification, "tag", PLAIN, 5),
    "distilbert-tag": (hf.DistilBertConfig, hf.DistilBertForTokenClassification, "tag", DISTIL, 5),
    "roberta-answer": (hf.RobertaConfig, hf.RobertaForQuestionAnswering, "span", dict(AFTER, type_vocab_size=1), 0),
    "albert-answer": (hf.AlbertConfig, hf.AlbertForQuestionAnswering, "span", dict(PLAIN, embedding_size=12), 0),
    "mpnet-classify": (hf.MPNetConfig, hf.MPNetForSequenceClassification, "single", AFTER, 3),
    "modernbert-mlm": (hf.ModernBertConfig, hf.ModernBertForMaskedLM, "mlm", dict(MODERN, num_hidden_layers=3, local_attention=8), 0),
    "modernbert-classify": (hf.ModernBertConfig, hf.ModernBertForSequenceClassification, "single",
                            dict(MODERN, classifier_pooling="mean", norm_bias=True, attention_bias=True, mlp_bias=True,
                                 classifier_bias=True, local_attention=14, layer_types=["sliding_attention", "full_attention"]), 3),
    "nomic_bert-mlm": (hf.NomicBertConfig, hf.NomicBertForMaskedLM, "mlm", PLAIN, 0),
    "nomic_bert-classify": (hf.NomicBertConfig, hf.NomicBertForSequenceClassification, "single",
                            dict(PLAIN, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=500.0)), 3),
    "gte-mlm": (hf.GteConfig, hf.GteForMaskedLM, "mlm", PLAIN, 0),
    "gte-classify": (hf.GteConfig, hf.GteForSequenceClassification, "single", dict(PLAIN, type_vocab_size=0), 3),
    "jina_embeddings_v3-mlm": (hf.JinaEmbeddingsV3Config, hf.JinaEmbeddingsV3ForMaskedLM, "mlm", PLAIN, 0),
    "jina_embeddings_v3-classify": (hf.JinaEmbeddingsV3Config, hf.JinaEmbeddingsV3ForSequenceClassification, "single", PLAIN, 3),
    "deberta_v2-mlm": (hf.DebertaV2Config, hf.DebertaV2ForMaskedLM, "mlm", dict(DEBERTA, hidden_act="relu"), 0),
    "deberta_v2-classify": (hf.DebertaV2Config, hf.DebertaV2ForSequenceClassification, "single",
                            dict(DEBERTA, position_buckets=-1, pos_att_type=["c2p"], position_biased_input=True, type_vocab_size=2,
                                 max_relative_positions=12, norm_rel_ebd="none"), 3),
    "modernbert-tag": (hf.ModernBertConfig, hf.ModernBertForTokenClassification, "tag", dict(MODERN, local_attention=8), 5),
    "modernbert-answer": (hf.ModernBertConfig, hf.ModernBertForQuestionAnswering, "span", dict(MODERN, local_attention=8, norm_bias=True), 0),
    "deberta_v2-tag": (hf.DebertaV2Config, hf.DebertaV2ForTokenClassification, "tag", DEBERTA, 5),
    "deberta_v2-answer": (hf.DebertaV2Config, hf.DebertaV2ForQuestionAnswering, "span", DEBERTA, 0),
    "nomic_bert-tag": (hf.NomicBertConfig, hf.NomicBertForTokenClassification, "tag", PLAIN, 5),
    "gte-tag": (hf.GteConfig, hf.GteForTokenClassification, "tag", dict(PLAIN, type_vocab_size=0), 5),
    "jina_embeddings_v3-answer": (hf.JinaEmbeddingsV3Config, hf.JinaEmbeddingsV3ForQuestionAnswering, "span", PLAIN, 0),
    "llama-causal": (hf.LlamaConfig, hf.LlamaForCausalLM, "mlm", LLAMA, 0),
    "llama-wide-causal": (hf.LlamaConfig, hf.LlamaForCausalLM, "mlm",
                          dict(LLAMA, head_dim=6, num_key_value_heads=1, tie_word_embeddings=True, attention_bias=True, mlp_bias=True), 0),
    "llama-scaled-causal": (hf.LlamaConfig, hf.LlamaForCausalLM, "mlm",
                            dict(LLAMA, head_dim=12, rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=0.1,
                                                                          high_freq_factor=1.0, original_max_position_embeddings=16)), 0),
    "qwen2-yarn-causal": (hf.Qwen2Config, hf.Qwen2ForCausalLM, "mlm",
                          dict(LLAMA, head_dim=12, rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=2.0,
                                                                        beta_slow=0.1, original_max_position_embeddings=16)), 0),
    "qwen2-causal": (hf.Qwen2Config, hf.Qwen2ForCausalLM, "mlm", dict(LLAMA, num_key_value_heads=4), 0),
    "gpt2-causal": (hf.GPT2Config, hf.GPT2LMHeadModel, "mlm",
                    dict(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=4, n_positions=LONGEST, resid_pdrop=0.0, embd_pdrop=0.0,
                         attn_pdrop=0.0, pad_token_id=0), 0),
    "bert-untied-mlm": (hf.BertConfig, hf.BertForMaskedLM, "mlm", dict(PLAIN, tie_word_embeddings=False), 0),
}


def build(config_class, model_class, kind, options, labels):
    """The model with random weights that are far from what training starts with, so that no part of it is near linear."""
    if labels:
        options = dict(options, id2label={i: f"topic {i}" for i in range(labels)}, label2id={f"topic {i}": i for i in range(labels)},
                       problem_type={"single": "single_label_classification", "regression": "regression", "tag": None}[kind])
    model = model_class(config_class(**options, attn_implementation="eager"))
    model.config.architectures = [model_class.__name__]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.copy_(0.1 * torch.randn(p.shape))
            elif p.dim() == 1:  # norms
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            elif "embeddings." in name or "attention_bias" in name:
                p.copy_(0.3 * torch.randn(p.shape))
            else:
                p.copy_(torch.randn(p.shape) * p.shape[1] ** -0.5)
    return model.eval()


def one_by_one(model, head, batch):
    """Without padding, whose rows have no key in a window and are NaN in the reference."""
    outs = []
    for begin, end in zip(batch["offsets"][:-1], batch["offsets"][1:]):
        args = dict(input_ids=batch["ids"][None, begin:end], attention_mask=torch.ones(1, end - begin, dtype=torch.long))
        done = model(**args)
        logits = torch.stack([done.start_logits[0], done.end_logits[0]], -1) if "start_logits" in done else done.logits[0]
        outs.append((model.base_model(**args).last_hidden_state[0], logits))
    hidden, logits = zip(*outs)
    return {"last_hidden_state": torch.cat(hidden), "logits": torch.stack(logits) if logits[0].dim() == 1 else torch.cat(logits)}


def outputs(model, head, batch):
    """Every output, packed: last_hidden_state [T, d], logits [T, vocabulary] or [n, labels], next_sentence_logits [n, 2]."""
    if hasattr(model.config, "local_attention"):
        return one_by_one(model, head, batch)
    mask = batch["mask"]
    args = dict(input_ids=batch["padded_ids"], attention_mask=mask.long(), output_hidden_states=True)
    if getattr(model.config, "type_vocab_size", 0):
        args["token_type_ids"] = batch["padded_types"]
    done = model(**args)
    if "start_logits" in done:
        logits = torch.stack([done.start_logits, done.end_logits], -1)
    else:
        logits = done.prediction_logits if "prediction_logits" in done else done.logits
    if logits.shape == mask.shape:  # one output of each token
        logits = logits[..., None]
    del args["output_hidden_states"]
    out = {"last_hidden_state": model.base_model(**args).last_hidden_state[mask], "logits": logits[mask] if logits.dim() == 3 else logits}
    if "sop_logits" in done:
        out["next_sentence_logits"] = done.sop_logits
    return out


bert.outputs = outputs


def make_batch(model, kind, labels):
    batch = bert.make_batch(kind, VOCABULARY, labels)
    if getattr(model.config, "type_vocab_size", 0) < 2:
        batch["types"].zero_(), batch["padded_types"].zero_()
    pad = model.config.pad_token_id
    batch["padded_ids"][~batch["mask"]] = pad  # some families count positions over what is not padding
    return batch


def gradients(model):
    """Under the names of the file, which are not always those of the module: saved like weights."""
    holder = copy.deepcopy(model)
    with torch.no_grad():
        for p, q in zip(holder.parameters(), model.parameters()):
            p.copy_(torch.zeros_like(q) if q.grad is None else q.grad)
    with tempfile.TemporaryDirectory() as folder:
        holder.save_pretrained(folder)
        with safe_open(os.path.join(folder, "model.safetensors"), "pt") as saved:
            return {"grad." + n: saved.get_tensor(n) for n in saved.keys()}


def make(name):
    config_class, model_class, kind, options, labels = CASES[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    folder = os.path.join(HERE, name)
    model = build(config_class, model_class, kind, options, labels)
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    config = {k: v for k, v in json.load(open(path)).items() if k not in ("dtype", "transformers_version")}
    with open(path, "w") as f:
        f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))
    model = model.double()
    batch = make_batch(model, kind, labels)
    out = outputs(model, labels, batch)
    loss = bert.loss_of(kind, out, batch)
    loss.backward()
    golden = {k: batch[k].int() for k in ("ids", "types", "offsets")}
    golden.update({k: batch[k] for k in ("targets", "next_sentence_targets") if k in batch})
    golden.update(out, loss=loss.reshape(1))
    golden.update(gradients(model))
    golden["adamw_losses"] = bert.adamw_losses(copy.deepcopy(model), labels, kind, batch)
    golden = {k: (v.float() if v.is_floating_point() else v).detach().contiguous() for k, v in golden.items()}
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{name:28s} {sum(p.numel() for p in model.parameters()):7d} parameters, {size // 1024:4d} KB, "
          f"loss {loss.item():.4f} -> {golden['adamw_losses'][-1].item():.4f}")
    return size


if __name__ == "__main__":
    total = sum(make(name) for name in sys.argv[1:] or CASES)
    print(f"{total / 1e6:.2f} MB")
