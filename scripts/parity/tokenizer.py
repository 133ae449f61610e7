"""A tokenizer trained by Quern loads in transformers and gives the same ids, tokens and offsets; so does MiniLM's tokenizer read by Quern."""
import os

from common import ODD_TEXTS, Workplace, check, finish, json_lines, minilm, quern, wordnet

os.environ["HF_HUB_OFFLINE"] = "1"
from tokenizers import Tokenizer
from transformers import AutoTokenizer


def compare(what, folder, texts):
    ours = json_lines(quern("tokenizer", "encode", "--model", folder, stdin="\n".join(texts) + "\n"))
    fast = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    fast.no_padding()
    theirs = fast.encode_batch(texts)
    check(f"{what}, a line for each text", len(ours) == len(theirs), f"{len(ours)} of {len(theirs)}")
    wrong = dict(ids=0, tokens=0, offsets=0)
    first = None
    for text, mine, reference in zip(texts, ours, theirs):
        for key in wrong:
            want = getattr(reference, key)
            if [tuple(x) if isinstance(x, list) else x for x in mine[key]] != [tuple(x) if isinstance(x, list) else x for x in want]:
                wrong[key] += 1
                first = first or f"; first: {key} of {text[:60]!r}"
    check(f"{what}, equal to tokenizers", not any(wrong.values()), f"{wrong} of {len(texts)} texts differ{first or ''}")


with Workplace() as place:
    texts = [r["text"] for r in wordnet("test", 5000)] + ODD_TEXTS
    compare("all-MiniLM-L6-v2", minilm(), texts)

    trained = place.file("trained")
    raw = place.file("raw.txt", "\n".join(r["text"] for r in wordnet("train", 20000)) + "\n")
    quern("tokenizer", "train", "--train-file", raw, "--vocab-size", 4000, "--output-dir", trained)
    compare("a vocabulary of our own", trained, texts)

    loaded = AutoTokenizer.from_pretrained(trained)
    ours = json_lines(quern("tokenizer", "encode", "--model", trained, stdin="\n".join(texts) + "\n"))
    limit = loaded.model_max_length
    theirs = [loaded(t, truncation=limit < 10**6)["input_ids"] for t in texts]
    same = sum(a["ids"] == b for a, b in zip(ours, theirs))
    check("AutoTokenizer loads the folder and encodes equally", same == len(texts), f"{same} of {len(texts)} texts, {type(loaded).__name__}")
    known = all(loaded.convert_tokens_to_ids(t) is not None and loaded.convert_tokens_to_ids(t) != loaded.unk_token_id
                for t in (loaded.cls_token, loaded.sep_token, loaded.mask_token, loaded.pad_token))
    check("AutoTokenizer knows the special tokens", known, f"{loaded.cls_token} {loaded.sep_token} {loaded.mask_token} {loaded.pad_token}")
finish()
