"""Writes sample.json beside this file: logits, and the probabilities that transformers' processors leave of them.

Usage: python make_sample.py (needs torch and transformers; made with transformers 5.1).
"""
import json
import os

import torch
from transformers import LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


def main():
    generator, cases = torch.Generator().manual_seed(1), []
    for i in range(40):
        vocabulary = [5, 50, 400][i % 3]
        logits = (torch.randn(vocabulary, generator=generator) * [1, 3, 8][i // 3 % 3]).round(decimals=4)
        text = torch.randint(0, vocabulary, (i % 9,), generator=generator)
        options = {"temperature": [1.0, 0.7, 1.5][i % 3], "top_k": [0, 3, 40][i // 2 % 3], "top_p": [0, 0.9, 0.5, 0.99][i % 4],
                   "min_p": [0, 0.05][i // 4 % 2], "repetition_penalty": [0, 1.3, 0.8][i // 5 % 3]}
        chain = LogitsProcessorList()
        if options["repetition_penalty"]: chain.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
        chain.append(TemperatureLogitsWarper(options["temperature"]))
        if options["top_k"]: chain.append(TopKLogitsWarper(options["top_k"]))
        if options["top_p"]: chain.append(TopPLogitsWarper(options["top_p"]))
        if options["min_p"]: chain.append(MinPLogitsWarper(options["min_p"]))
        scores = logits[None].clone()
        p = chain(text[None], scores).double().softmax(-1)[0] if len(text) else chain(torch.zeros((1, 0), dtype=torch.long), scores).double().softmax(-1)[0]
        kept = {int(k): float(p[k]) for k in p.argsort(descending=True) if p[k] > 0}
        cases.append(options | {"logits": [round(float(x), 4) for x in logits], "text": text.tolist(), "kept": kept})
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


main()
