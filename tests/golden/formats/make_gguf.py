"""Writes gguf.gguf and gguf.safetensors beside this file: two blocks of every dtype, and the values that the gguf package (llama.cpp's
own) reads in them; and metadata of every type.

Usage: python make_gguf.py (needs gguf, safetensors; made with gguf 0.17).
"""
import os

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf.quants import dequantize
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SCALES = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q2_K: [80, 82], Q.Q3_K: [108], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208]}


def main():
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(os.path.join(HERE, "gguf.gguf"), "llama")
    expected = {}
    for dtype, scales in SCALES.items():
        elements, size = gguf.GGML_QUANT_SIZES[dtype]
        blocks = rng.integers(0, 256, (2, size), dtype=np.uint8)
        for at in scales:  # random bits could be infinite
            blocks[:, at:at + 2] = rng.normal(0, 0.1, 2).astype(np.float16).view(np.uint8).reshape(2, 2)
        writer.add_tensor(dtype.name, blocks, raw_dtype=dtype)
        expected[dtype.name] = dequantize(blocks, dtype).astype(np.float32).reshape(2, elements)
    values = rng.normal(0, 1, (3, 5)).astype(np.float32)
    writer.add_tensor("F32", values)
    writer.add_tensor("F16", values.astype(np.float16))
    writer.add_tensor("BF16", gguf.quants.quantize(values, Q.BF16), raw_dtype=Q.BF16)
    expected |= {"F32": values, "F16": values.astype(np.float16).astype(np.float32)}
    expected["BF16"] = dequantize(gguf.quants.quantize(values, Q.BF16), Q.BF16).astype(np.float32).reshape(3, 5)
    writer.add_uint8("a.u8", 200)
    writer.add_int8("a.i8", -100)
    writer.add_uint16("a.u16", 60000)
    writer.add_int16("a.i16", -30000)
    writer.add_uint32("a.u32", 4000000000)
    writer.add_int32("a.i32", -2000000000)
    writer.add_float32("a.f32", 1.5)
    writer.add_bool("a.bool", True)
    writer.add_uint64("a.u64", 1 << 40)
    writer.add_int64("a.i64", -(1 << 40))
    writer.add_float64("a.f64", 1e-5)
    writer.add_string("a.string", "\u00fcber")
    writer.add_array("a.strings", ["one", "", "three"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, os.path.join(HERE, "gguf.safetensors"))


main()
