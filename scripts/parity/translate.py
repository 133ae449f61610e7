"""A Marian folder with two SentencePiece models: the tokens of `quern tokenizer encode` and the texts and scores of `quern translate`
beside transformers' MarianTokenizer and generate()."""
import json
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import sentencepiece
import torch
import transformers as hf

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
QUERN = os.environ.get("QUERN", os.path.join(ROOT, "build", "release", "quern"))
torch.manual_seed(1)
torch.set_num_threads(2)


def quern(*args, text=None):
    return subprocess.run([QUERN, *args], input=text, capture_output=True, text=True, check=True).stdout


with tempfile.TemporaryDirectory() as folder:
    # The "languages" are the two halves of a text, so that each has pieces that the other lacks.
    lines = [line.split("\t")[-1] for line in open(os.path.join(ROOT, "data", "wordnet", "validation.tsv")).read().split("\n")[1:]]
    lines = [line for line in lines if line][:4000]
    halves = [lines[:2000], [line.swapcase().replace("e", "é") for line in lines[2000:]]]
    pieces = {"</s>": 0, "<unk>": 1}
    for name, half in zip(("source", "target"), halves):
        with open(os.path.join(folder, name + ".txt"), "w") as f:
            f.write("\n".join(half))
        sentencepiece.SentencePieceTrainer.train(input=os.path.join(folder, name + ".txt"), model_prefix=os.path.join(folder, name),
                                                 vocab_size=1000, minloglevel=2)
        os.rename(os.path.join(folder, name + ".model"), os.path.join(folder, name + ".spm"))
        model = sentencepiece.SentencePieceProcessor(os.path.join(folder, name + ".spm"))
        for i in range(model.vocab_size()):
            if not model.is_control(i) and not model.is_unknown(i):
                pieces.setdefault(model.id_to_piece(i), len(pieces))
    pieces[">>xx<<"] = len(pieces)
    pieces["<pad>"] = pad = len(pieces)
    with open(os.path.join(folder, "vocab.json"), "w") as f:
        json.dump(pieces, f)
    config = hf.MarianConfig(vocab_size=len(pieces), d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                             decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=128,
                             pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0, forced_eos_token_id=0, scale_embedding=True,
                             activation_function="swish", init_std=0.2)
    translator = hf.MarianMTModel(config).eval()
    translator.final_logits_bias[0, 0] = 3
    translator.generation_config.update(num_beams=4, max_length=40, bad_words_ids=[[pad]], renormalize_logits=True)
    translator.save_pretrained(folder)
    tokenizer = hf.MarianTokenizer(source_spm=os.path.join(folder, "source.spm"), target_spm=os.path.join(folder, "target.spm"),
                                   vocab=os.path.join(folder, "vocab.json"))

    texts = lines[1900:2300] + [">>xx<< a mill", "naïve  café", "\u00bd of it", "a" * 60, "ÉÉ é e", ">>yy<< mill"]
    ours = [json.loads(line)["ids"] for line in quern("tokenizer", "encode", "--model", folder, text="\n".join(texts)).splitlines()]
    wrong = [t for t, ids in zip(texts, ours) if ids != tokenizer(t)["input_ids"] and not t.startswith(">>yy<<")]
    print(f"tokens: {len(texts) - len(wrong)} of {len(texts)} texts equal")
    for text in wrong[:5]:
        print("   ", text, tokenizer(text)["input_ids"])

    some = lines[1950:1970]
    found = [json.loads(line)["translations"] for line in quern("translate", "--model", folder, "--json", "--n-best", "2",
                                                               text="\n".join(some) + "\n").splitlines()]
    same, worst = 0, 0.0
    for text, translations in zip(some, found):
        done = translator.generate(**tokenizer(text, return_tensors="pt"), num_return_sequences=2, output_scores=True,
                                   return_dict_in_generate=True)
        theirs = tokenizer.batch_decode(done.sequences, skip_special_tokens=True)
        same += theirs == [t["text"] for t in translations]
        worst = max(worst, *(abs(a - t["score"]) for a, t in zip(done.sequences_scores.tolist(), translations)))
    print(f"translations: {same} of {len(some)} texts equal, scores differ by at most {worst:.1e}")
    sys.exit(bool(wrong) or same < len(some) or worst > 1e-4)
