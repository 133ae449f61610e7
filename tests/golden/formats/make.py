"""Makes the golden files of the formats' tests with the libraries that own the formats.

    python tests/golden/formats/make.py        (safetensors, numpy, torch, sentence-transformers)

The values are functions of the index that the tests compute again: element i is (i - 7) * 0.375, which float16 and bfloat16 hold exactly.
"""
import json
import os

import numpy
import torch
from safetensors.torch import save_file

here = os.path.dirname(os.path.abspath(__file__))


def values(*shape):
    count = int(numpy.prod(shape, dtype=int))
    return ((torch.arange(count, dtype=torch.float32) - 7) * 0.375).reshape(shape)


def path(name):
    full = os.path.join(here, name)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    return full


# Every dtype that is read as floats, some that are not, a scalar, an empty tensor, names that JSON escapes and names beyond ASCII.
mixed = {
    "embeddings.weight": values(3, 4),
    "half": values(5).to(torch.float16),
    "brain": values(2, 3, 2).to(torch.bfloat16),
    "wide": values(3).to(torch.float64),
    "scalar": torch.tensor(0.375),
    "empty": values(0, 4),
    "positions": torch.arange(4).reshape(1, 4),
    "flags": torch.tensor([True, False, True]),
    'quote " and \\ and \t': values(1),
    "ключ": values(2),
}
save_file(mixed, path("mixed.safetensors"), metadata={"format": "pt"})

# What the writer is compared with byte by byte: float32 values stored as four dtypes, with rounding. Element i is sin(i) computed by the
# test in double precision and rounded to float32.
ramp = torch.tensor(numpy.sin(numpy.arange(300, dtype=numpy.float64)).astype(numpy.float32))
save_file(
    {
        "b.weight": ramp[:24].reshape(4, 6).clone(),
        "a.bias": ramp[:7].clone(),
        "z.half": ramp.to(torch.float16),
        "y.brain": ramp.to(torch.bfloat16),
        "wide": ramp[:5].to(torch.float64),
        "ids": torch.arange(3),
    },
    path("written.safetensors"),
    metadata={"format": "pt"},
)

# float32 to half and back at the edges, as bit patterns, from torch.
edges = [0.0, -0.0, 1.0, 65504.0, 65519.0, 65520.0, 1e9, 6.1e-5, 6.097555e-5, 5.96e-8, 2.98e-8, 2.9802322e-8, 2.99e-8, 1e-10, 1.0009765,
         1.00048828125, 1.00146484375, 0.33333334, 3.3895314e38, 3.4e38, 1e-40, float("inf"), float("-inf")]
edges = torch.tensor(edges + [-e for e in edges], dtype=torch.float32)
rows = torch.stack([
    edges.view(torch.int32).to(torch.int64) & 0xFFFFFFFF,
    edges.to(torch.float16).view(torch.int16).to(torch.int64) & 0xFFFF,
    edges.to(torch.bfloat16).view(torch.int16).to(torch.int64) & 0xFFFF,
], dim=1)
numpy.save(path("rounding.npy"), rows.numpy())
halves = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16)
sums = halves.to(torch.float32).view(torch.int32).to(torch.int64) & 0xFFFFFFFF
finite = torch.isfinite(halves.to(torch.float32))
numpy.save(path("half_values.npy"), sums[finite][:: 61].numpy())  # every 61st finite half, in the order of its bits

# A sharded folder, its tensors spread over two files as transformers does.
shards = {
    "model-00001-of-00002.safetensors": {"encoder.a": values(2, 3), "encoder.b": values(4).to(torch.float16)},
    "model-00002-of-00002.safetensors": {"encoder.c": values(3)},
}
weight_map = {}
for name, tensors in shards.items():
    save_file(tensors, path("sharded/" + name), metadata={"format": "pt"})
    weight_map.update({tensor: name for tensor in tensors})
with open(path("sharded/model.safetensors.index.json"), "w") as out:
    json.dump({"metadata": {"total_size": 44}, "weight_map": weight_map}, out, indent=2)
    out.write("\n")

# .npy: three formats and the dtypes that are read.
ramp2 = ((numpy.arange(12) - 7) * 0.375).reshape(3, 4)
numpy.save(path("f4.npy"), ramp2.astype("<f4"))
numpy.save(path("f8.npy"), ramp2.astype("<f8"))
numpy.save(path("i4.npy"), numpy.arange(-2, 3, dtype="<i4"))
numpy.save(path("i8.npy"), numpy.arange(-2, 3, dtype="<i8").reshape(1, 5, 1))
numpy.save(path("empty.npy"), numpy.zeros((0, 4), dtype="<f4"))
numpy.save(path("scalar.npy"), numpy.array(0.375, dtype="<f4"))
numpy.save(path("fortran.npy"), numpy.asfortranarray(ramp2.astype("<f4")))
numpy.save(path("big_endian.npy"), ramp2.astype(">f4"))
for version in ((2, 0), (3, 0)):
    with open(path("v%d.npy" % version[0]), "wb") as out:
        numpy.lib.format.write_array(out, ramp2.astype("<f4"), version=version)

# What sentence-transformers of today writes beside config.json and the weights (all in its newer spelling).
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.base.modules import Normalize

Pooling(24, pooling_mode="lasttoken", include_prompt=False).save(os.path.dirname(path("sbert_new/1_Pooling/config.json")))
Normalize().save(os.path.dirname(path("sbert_new/2_Normalize/config.json")))
base = "sentence_transformers."
modules = [("", base + "base.modules.transformer.Transformer"),
           ("1_Pooling", base + "sentence_transformer.modules.pooling.Pooling"),
           ("2_Normalize", base + "base.modules.normalize.Normalize")]
with open(path("sbert_new/modules.json"), "w") as out:
    json.dump([{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(modules)], out, indent=2)
with open(path("sbert_new/sentence_bert_config.json"), "w") as out:
    json.dump({"transformer_task": "feature-extraction",
               "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
               "module_output_name": "token_embeddings"}, out, indent=4)
with open(path("sbert_new/config_sentence_transformers.json"), "w") as out:
    json.dump({"__version__": {"sentence_transformers": "6.2.0"}, "default_prompt_name": "query", "model_type": "SentenceTransformer",
               "prompts": {"query": "query: ", "document": ""}, "similarity_fn_name": "dot"}, out, indent=2)
