"""Folders of CTranslate2, converted in float32, float16 and int8: the texts and scores of `quern translate` beside CTranslate2's, which
computes in float32.

    ct2_search.py [MODEL TEXTS]        a translator's folder and a file of lines; else a small model of random weights and definitions
"""
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from common import Workplace, check, finish, json_lines, quern, wordnet

import ctranslate2
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer

LONGEST = 60  # tokens of a translation: a model of random weights goes on to the end of its positions
LEAST = 0.99  # of the texts are equal: where two continuations are as likely, the last bits decide
# Name, the options of `quern translate` and those of translate_batch, and in which dtypes it is tried.
ALL = ("float32", "float16", "int8")
SEARCHES = [
    ("beam 4", ["--beam-size", 4], dict(beam_size=4), ALL),
    ("greedy", ["--beam-size", 1], dict(beam_size=1), ALL[:1]),
    ("no length penalty", ["--beam-size", 4, "--length-penalty", 0], dict(beam_size=4, length_penalty=0), ALL[:1]),
    ("3 best, penalty 0.6", ["--beam-size", 5, "--n-best", 3, "--length-penalty", 0.6],
     dict(beam_size=5, num_hypotheses=3, length_penalty=0.6), ALL[:1]),
    ("at least 12 tokens, no trigram twice", ["--beam-size", 4, "--min-tokens", 12, "--no-repeat-ngram-size", 3],
     dict(beam_size=4, min_decoding_length=12, no_repeat_ngram_size=3), ALL[:1]),
]
CONFIG = dict(model_type="bart", architectures=["BartForConditionalGeneration"], vocab_size=1500, d_model=128, encoder_layers=2,
              decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256,
              max_position_embeddings=128, activation_function="gelu", dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
              scale_embedding=True, normalize_before=False, normalize_embedding=True, tie_word_embeddings=True, is_encoder_decoder=True,
              pad_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None, init_std=0.2)


def translator(place):
    """The folder of a model whose random weights are so wide that its tokens differ in probability, as those of a trained one; and texts that fit it."""
    texts = [r["text"] for r in wordnet("test", 300) if len(r["text"]) < 150]
    pairs, folder = place.tsv("pairs.tsv", [dict(source=t, target=t) for t in texts]), place.file("model")
    config = place.file("config.json", json.dumps(CONFIG))
    quern("tokenizer", "train", "--kind", "unigram", "--vocab-size", CONFIG["vocab_size"], "--cls-token", "", "--mask-token", "",
          "--train-file", pairs, "--output-dir", place.file("tokenizer"))
    quern("finetune", "--task", "translate", "--model", config, "--tokenizer", place.file("tokenizer"), "--train-file", pairs, "--learning-rate", 0,
          "--warmup-ratio", 0, "--max-steps", 1, "--output-dir", folder, "--quiet")
    return folder, texts


class Peer:
    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.translator = ctranslate2.Translator(folder, compute_type="float32", intra_threads=1)

    def translate(self, texts, options):
        done = self.translator.translate_batch([self.tokenizer.encode(t).tokens for t in texts], max_batch_size=2048, batch_type="tokens",
                                               return_scores=True, max_decoding_length=LONGEST, **options)
        return [[(self.tokenizer.decode([self.tokenizer.token_to_id(t) for t in text]), score) for text, score in zip(d.hypotheses, d.scores)]
                for d in done]


def compare(name, folder, texts, ours, theirs):
    found = json_lines(quern("translate", "--model", folder, "--json", "--max-tokens", LONGEST, *ours, stdin="\n".join(texts) + "\n"))
    found = [[(t["text"], t["score"]) for t in line["translations"]] for line in found]
    equal = [i for i in range(len(texts)) if [t for t, _ in found[i]] == [t for t, _ in theirs[i]]]
    worst = max([abs(a - b) / max(1, abs(b)) for i in equal for (_, a), (_, b) in zip(found[i], theirs[i])], default=0)
    check(name, len(equal) >= LEAST * len(texts) and worst < 1e-4,
          f"{len(equal)} of {len(texts)} texts equal, their scores differ by at most {worst:.1e} of theirs")
    for i in [i for i in range(len(texts)) if i not in equal][:3]:
        print("     ", found[i], "\n     ", theirs[i])


with Workplace() as place:
    if len(sys.argv) == 3:
        model, texts = sys.argv[1], open(sys.argv[2], encoding="utf-8").read().split("\n")[:-1]
    else:
        model, texts = translator(place)
    for dtype in ALL:
        folder = place.file(dtype)
        TransformersConverter(model, copy_files=["tokenizer.json", "tokenizer_config.json"]).convert(folder, quantization=dtype)
        peer = Peer(folder)
        for name, ours, options, dtypes in SEARCHES:
            if dtype in dtypes:
                compare(f"{dtype}, {name}", folder, texts, ours, peer.translate(texts, options))
finish()
