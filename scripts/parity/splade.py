"""SPLADE: folders of sentence-transformers' SparseEncoder are read, and those that Quern trains open there, with equal weights of words; losses
of training are equal, the cost of words included. Data: words and definitions of WordNet, and a small random BERT with its masked-language head."""
import json
import os

import numpy as np
import torch
from common import ODD_TEXTS, Workplace, check, check_close, finish, json_lines, minilm, quern, wordnet
from sentence_transformers import SparseEncoder
from sentence_transformers.sparse_encoder import models  # the names that versions 5 and 6 know
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, logging

logging.disable_progress_bar()
logging.set_verbosity_error()


def dense(encoder, texts):
    return encoder.encode(texts, convert_to_tensor=True, convert_to_sparse_tensor=False, show_progress_bar=False).detach().numpy()


def ours(folder, texts, tokenizer, *options):
    """Quern's words as rows over the vocabulary."""
    lines = json_lines(quern("embed", "--model", folder, *options, *texts))
    rows = np.zeros((len(texts), len(tokenizer)), np.float32)
    for row, line in zip(rows, lines):
        for word, weight in line["sparse"].items():
            row[tokenizer.convert_tokens_to_ids(word)] = weight
    return rows


with Workplace() as place:
    torch.manual_seed(5)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    base = place.file("bert")
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
                        max_position_embeddings=128, initializer_range=0.2, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    BertForMaskedLM(config).save_pretrained(base)
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(base)
    texts = [r["text"] for r in wordnet("test", 20)] + [t for t in ODD_TEXTS if t.strip()]
    encoder = SparseEncoder(modules=[models.MLMTransformer(base, max_seq_length=128), models.SpladePooling()])
    check_close("any masked-language folder", ours(base, texts, tokenizer, "--sparse"), dense(encoder, texts), 2e-4)
    theirs = place.file("theirs")
    encoder.save_pretrained(theirs)
    check_close("a folder of SparseEncoder", ours(theirs, texts, tokenizer), dense(encoder, texts), 2e-4)

    rows = wordnet("train", 48)
    pairs = place.tsv("pairs.tsv", [{"query": r["word"], "document": r["text"]} for r in rows])
    output = place.file("trained")
    quern("finetune", "--task", "embed", "--sparse", "--model", base, "--train-file", pairs, "--per-device-train-batch-size", 48, "--dropout", 0,
          "--warmup-ratio", 0, "--lr-scheduler-type", "constant", "--max-grad-norm", 0, "--weight-decay", 0, "--learning-rate", "1e-4", "--max-steps", 3,
          "--query-flops", "1e-3", "--document-flops", "2e-3", "--logging-steps", 1, "--output-dir", output)
    with open(os.path.join(output, "log.jsonl"), encoding="utf-8") as f:
        mine = [e["loss"] for e in map(json.loads, f) if e["event"] == "train"]
    optimizer, losses = torch.optim.AdamW(encoder.parameters(), lr=1e-4, weight_decay=0), []
    encoder.train()
    for _ in range(3):
        parts = [encoder(encoder.tokenize([r[k] for r in rows]))["sentence_embedding"] for k in ("word", "text")]
        parts = [p.to_dense() if p.is_sparse else p for p in parts]
        loss = torch.nn.functional.cross_entropy(parts[0] @ parts[1].T, torch.arange(len(rows)))
        loss = loss + 1e-3 * (parts[0].mean(0) ** 2).sum() + 2e-3 * (parts[1].mean(0) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    check_close("losses of three steps, in thousandths", np.array(mine) / losses[0], np.array(losses) / losses[0], 1e-3)
    encoder.eval()
    trained = SparseEncoder(output)
    check("a folder that Quern trained", isinstance(trained[0], models.MLMTransformer), "opens in SparseEncoder")
    check_close("its vectors", ours(output, texts, tokenizer), dense(trained, texts), 2e-4)
finish()
