"""A masked LM pre-trained by Quern loads in transformers, and `quern fill-mask` gives the same words and scores."""
import os

from common import Workplace, check, check_close, finish, json_lines, quern, small_start

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

TEXTS = ["a [MASK] of the genus", "the act of [MASK]", "[MASK]", "a person who [MASK] in a [MASK]", "small tree [MASK]"]
with Workplace() as place:
    start, text = small_start(place)
    output = place.file("model")
    quern("pretrain", "--objective", "mlm", *start, "--train-file", text, "--output-dir", output, "--learning-rate", "1e-3",
          "--max-steps", 60, "--batch-tokens", 1024, "--seed", 7)
    tokenizer = AutoTokenizer.from_pretrained(output)
    model, info = AutoModelForMaskedLM.from_pretrained(output, output_loading_info=True)
    missing, extra = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    check("transformers finds every weight", not missing and not extra, f"missing {missing}, unexpected {extra}")
    model.eval()
    ours, theirs, same, count = [], [], 0, 0
    for text, row in zip(TEXTS, json_lines(quern("fill-mask", "--model", output, "--top-k", 5, stdin="\n".join(TEXTS) + "\n"))):
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            p = model(**batch).logits[0].softmax(-1)
        places = (batch["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten().tolist()
        masks = row["masks"]
        check(f"masks of {text!r}", len(masks) == len(places), f"{len(masks)} of {len(places)}")
        for mine, at in zip(masks, places):
            best, mine = p[at].topk(5), mine["candidates"]
            theirs += best.values.tolist()
            ours += [c["score"] for c in mine]
            same += sum(c["token"] == tokenizer.convert_ids_to_tokens(i) for c, i in zip(mine, best.indices.tolist()))
            count += 5
    check("the five likeliest words", same == count, f"{same} of {count} equal")
    check_close("their scores", ours, theirs, 1e-5)
finish()
