"""Classifiers and masked LMs of every family that Quern has trained from scratch load in transformers and give the same logits.

usage: families.py [FAMILY ...]        all of them by default; those that this version of transformers lacks are passed over
"""
import json
import os
import shutil
import sys

from common import Workplace, check, check_close, finish, json_lines, quern, quern_logits, small_start, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, logging

logging.disable_progress_bar()
logging.set_verbosity_error()

SMALL = dict(num_hidden_layers=2, max_position_embeddings=310)
FAMILIES = {
    "roberta": dict(type_vocab_size=1),
    "xlm-roberta": dict(type_vocab_size=1),
    "camembert": dict(type_vocab_size=1),
    "distilbert": dict(dim=64, n_layers=2, n_heads=4, hidden_dim=128, dropout=0.1, attention_dropout=0.1, activation="gelu"),
    "electra": dict(embedding_size=32),
    "albert": dict(embedding_size=32, num_hidden_layers=4, hidden_act="gelu_new"),
    "mpnet": dict(relative_attention_num_buckets=32),
    "deberta-v2": dict(relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=32, share_att_key=True, norm_rel_ebd="layer_norm",
                       position_biased_input=False, type_vocab_size=0, max_relative_positions=-1, pooler_dropout=0, pooler_hidden_act="gelu",
                       pooler_hidden_size=64),
    "modernbert": dict(hidden_activation="gelu", local_attention=16, global_attn_every_n_layers=2, global_rope_theta=160000.0,
                       local_rope_theta=10000.0, norm_eps=1e-5, norm_bias=False, attention_bias=False, mlp_bias=False, decoder_bias=True,
                       classifier_pooling="cls", bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3, initializer_cutoff_factor=2.0),
    "nomic_bert": dict(hidden_act="silu", rope_parameters=dict(rope_theta=1000.0, rope_type="default")),
    "gte": dict(type_vocab_size=1, rope_parameters=dict(rope_theta=160000.0, rope_type="default")),
    "jina_embeddings_v3": dict(type_vocab_size=1, layer_norm_eps=1e-5, rope_parameters=dict(rope_theta=20000.0, rope_type="default")),
}
LIMIT = 300


def encode(folder, texts):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.enable_truncation(LIMIT)
    tokenizer.no_padding()
    return [torch.tensor([e.ids]) for e in tokenizer.encode_batch(texts)], tokenizer.token_to_id("[MASK]")


def load(auto, folder, what):
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    missing, extra = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    check(f"{what}: transformers finds every weight", not missing and not extra, f"missing {missing}, unexpected {extra}")
    return model.eval()


with Workplace() as place:
    train = place.tsv("train.tsv", [{"label": r["label"], "text": r["text"]} for r in wordnet("train", 1500)])
    masked = ["a [MASK] of the genus", "the act of [MASK]", "small tree [MASK]"]
    options, text = small_start(place, **SMALL)
    # Without unknown words: MPNet in transformers counts positions over what is not id 1, here [UNK].
    texts = [r["text"] for r in wordnet("test", 100)]
    texts = [t for t, ids in zip(texts, encode(options[3], texts)[0]) if 1 not in ids[0]]
    texts.append(" ".join(texts))  # cut at LIMIT: distances beyond MPNet's last bucket
    for family, extra in FAMILIES.items():
        if sys.argv[1:] and family not in sys.argv[1:]:
            continue
        if family not in CONFIG_MAPPING:
            print(f"SKIP families: this version of transformers has no {family}")
            continue
        path = place.file(family + ".json")
        start = json.load(open(options[1]))
        start.update(extra, model_type=family)
        start.pop("architectures")
        with open(path, "w") as f:
            json.dump(start, f)
        begin = ["--model", path, *options[2:]]
        output = place.file(family + "-classify")
        quern("finetune", "--task", "classify", *begin, "--train-file", train, "--output-dir", output, "--learning-rate", "1e-3",
              "--per-device-train-batch-size", 32, "--max-steps", 10, "--seed", 7, "--max-seq-length", LIMIT)
        model = load(AutoModelForSequenceClassification, output, f"{family} classifier")
        with torch.no_grad():
            theirs = np.stack([model(input_ids=ids).logits[0].numpy() for ids in encode(output, texts)[0]])
        check_close(f"{family} classifier: logits", quern_logits(output, texts, "--max-length", LIMIT), theirs, 1e-4)

        # The other way: a base model that transformers writes, without the head, is read.
        base = place.file(family + "-base")
        AutoModel.from_pretrained(output).save_pretrained(base)
        for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            shutil.copy(os.path.join(output, name), base)
        model = AutoModel.from_pretrained(base).eval()
        with torch.no_grad():
            theirs = np.stack([model(input_ids=ids).last_hidden_state[0].mean(0).numpy() for ids in encode(base, texts)[0]])
        rows = json_lines(quern("embed", "--model", base, "--pooling", "mean", "--no-normalize", "--max-length", LIMIT,
                                stdin="\n".join(texts) + "\n"))
        check_close(f"{family} base: mean vectors", [r["embedding"] if isinstance(r, dict) else r for r in rows], theirs, 1e-5)

        output = place.file(family + "-mlm")
        quern("pretrain", "--objective", "mlm", *begin, "--train-file", text, "--output-dir", output, "--learning-rate", "1e-3",
              "--max-steps", 10, "--batch-tokens", 1024, "--seed", 7, "--max-seq-length", LIMIT)
        model = load(AutoModelForMaskedLM, output, f"{family} masked LM")
        batch, mask = encode(output, masked)
        ours, theirs = [], []
        for ids, row in zip(batch, json_lines(quern("fill-mask", "--model", output, "--top-k", 5, stdin="\n".join(masked) + "\n"))):
            with torch.no_grad():
                p = model(input_ids=ids).logits[0, ids[0].tolist().index(mask)].softmax(-1)
            theirs += p.topk(5).values.tolist()
            ours += [c["score"] for c in row["masks"][0]["candidates"]]
        check_close(f"{family} masked LM: scores of five words", ours, theirs, 1e-5)
finish()
