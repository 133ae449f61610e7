"""Converts the models of tests/golden/seq2seq with CTranslate2's own converters; tests load both and compare. And what CTranslate2 writes for the
sources of those models, in search.safetensors: "search.NAME.ids", "search.NAME.offsets" and "search.NAME.scores" as there, without ends;
"ids" and "offsets" of the sources; "end".

    python tests/golden/ct2_models/make.py        (ctranslate2, torch, transformers)
"""
import json
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import ctranslate2
import torch
from ctranslate2.converters import TransformersConverter
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {"marian": "float32", "bart": "float32", "mbart": "float32", "t5": "float32", "t5-gated": "float32", "bart-int8": "int8", "t5-float16": "float16",
         "bart-plain": "float16"}  # plain: without a bias of the output, as most are
SEARCHED = ["marian", "bart", "mbart", "t5"]
SEARCHES = {
    "greedy": dict(beam_size=1),
    "beam": dict(beam_size=4, num_hypotheses=4),
    "plain": dict(beam_size=4, num_hypotheses=2, length_penalty=0),
    "short": dict(beam_size=3, num_hypotheses=2, length_penalty=0.2),
    "long": dict(beam_size=4, length_penalty=2, min_decoding_length=5),
    "ngrams": dict(beam_size=4, num_hypotheses=2, no_repeat_ngram_size=2),
}
MOST = 24  # tokens of a search, with the end


def packed(rows):
    offsets = torch.tensor([0] + [len(row) for row in rows], dtype=torch.int32).cumsum(0).int()
    return torch.tensor([token for row in rows for token in row], dtype=torch.int32), offsets


def choose_end(translator, sources, prefix):
    """A token that many texts have, and late: it is made the end, as these models have learned none."""
    first = {}
    for source in sources:
        done = translator.translate_batch([source], target_prefix=prefix, beam_size=4, num_hypotheses=4, max_decoding_length=MOST)[0]
        for text in done.hypotheses:
            for token in set(text):
                first.setdefault(token, []).append(text.index(token))
    return max(first, key=lambda t: sum(3 < place < MOST - 4 for place in first[t]))


def search(folder, source):
    """Each text alone, as everywhere in these files."""
    tokens = json.load(open(os.path.join(folder, "shared_vocabulary.json")))
    number = {t: i for i, t in enumerate(tokens)}
    golden = load_file(os.path.join(source, "golden.safetensors"))
    ids, offsets = golden["ids"].tolist(), golden["offsets"].tolist()
    translator = ctranslate2.Translator(folder, compute_type="float32", intra_threads=1)
    prefix = None if json.load(open(os.path.join(folder, "config.json")))["decoder_start_token"] else [["<s>"]]
    sources = [[tokens[i] for i in ids[first:last]] for first, last in zip(offsets, offsets[1:])]
    end = choose_end(translator, sources, prefix)
    out = {"ids": golden["ids"], "offsets": golden["offsets"], "end": torch.tensor([number[end]], dtype=torch.int32)}
    for name, options in SEARCHES.items():
        rows, scores = [], []
        for text in sources:
            done = translator.translate_batch([text], target_prefix=prefix, end_token=[end], max_decoding_length=MOST, return_scores=True,
                                              **options)[0]
            rows += [[number[t] for t in text] for text in done.hypotheses]
            scores += done.scores
        out[f"search.{name}.ids"], out[f"search.{name}.offsets"] = packed(rows)
        out[f"search.{name}.scores"] = torch.tensor(scores)
    save_file(out, os.path.join(folder, "search.safetensors"))
    print(folder, "texts of", (out["search.beam.offsets"].diff()).tolist(), "tokens")


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
    if case in SEARCHED:
        search(os.path.join(HERE, case), source)
