"""Makes tests/golden/formats/ctranslate2: a transformer of one layer in every dtype that CTranslate2's converters write, and its weights.

    python tests/golden/formats/make_ctranslate2.py        (ctranslate2, numpy, safetensors, torch)

DTYPE/ is a folder as ctranslate2 saves it; weights.safetensors has what was given to it, under the same names.
"""
import os
import shutil

import numpy
from ctranslate2.specs import transformer_spec
from safetensors.numpy import save_file

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ctranslate2")
d, inner, vocabulary = 8, 12, 7
tokens = ["<unk>", "<s>", "</s>", "▁a", "▁b", "ü", "\\"]
random = numpy.random.default_rng(6)


def values(*shape):
    return random.standard_normal(shape).astype(numpy.float32)


def linear(spec, rows, columns):
    spec.weight, spec.bias = values(rows, columns), values(rows)


def norm(spec):
    spec.gamma, spec.beta = values(d), values(d)


def attention(spec, sizes):
    for layer, rows in zip(spec.linear, sizes):
        linear(layer, rows, d)
    norm(spec.layer_norm)


def make():
    spec = transformer_spec.TransformerSpec.from_config(1, 2, pre_norm=False)
    words = values(vocabulary, d)
    for side, embeddings in ((spec.encoder, spec.encoder.embeddings[0]), (spec.decoder, spec.decoder.embeddings)):
        embeddings.weight = words
        side.position_encodings.encodings = values(16, d)
        for layer in side.layer:
            attention(layer.self_attention, (3 * d, d))
            if side is spec.decoder:
                attention(layer.attention, (d, 2 * d, d))
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, inner, d)
            linear(layer.ffn.linear_1, d, inner)
    spec.decoder.projection.weight = words
    spec.decoder.projection.bias = values(vocabulary)
    spec.config.add_source_eos = True
    spec.config.decoder_start_token = "</s>"
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    return spec


shutil.rmtree(here, ignore_errors=True)
for dtype in ("float32", "float16", "bfloat16", "int8", "int16"):
    random = numpy.random.default_rng(6)
    spec = make()
    spec.validate()
    weights = {name: variable.numpy().copy() for name, variable in spec.variables(ordered=True) if variable.numpy().dtype == numpy.float32}
    spec.optimize(quantization=dtype)
    folder = os.path.join(here, dtype)
    os.makedirs(folder)
    spec.save(folder)
save_file(weights, os.path.join(here, "weights.safetensors"))
