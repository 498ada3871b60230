"""llama.cpp's own quantiser, called in its library, and what its blocks mean by two implementations."""

from __future__ import annotations

import ctypes
import functools

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from rivals import llama_cpp

# Rows of these types are made of blocks of 256; shorter ones are stored as llama-quantize stores them.
INSTEAD = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


@functools.cache
def library() -> ctypes.CDLL:
    """Loads the library."""
    loaded = ctypes.CDLL(str(llama_cpp.library("libggml-base.so")))
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    loaded.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    return loaded


def fitting(wanted: Type, inputs: int) -> Type:
    """Returns the type for rows of a length."""
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if inputs % block == 0 else INSTEAD[wanted]


def encode(values: np.ndarray, kind: Type) -> np.ndarray:
    """Returns the rows of a matrix as GGUF stores them."""
    if kind == Type.F32:
        return values
    if kind == Type.F16:
        return values.astype(np.float16)
    if kind == Type.BF16:
        return gguf.quants.quantize(values, kind)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows, inputs = values.shape
    encoded = np.zeros((rows, inputs // block * size), np.uint8)
    source = np.ascontiguousarray(values, np.float32)
    written = library().ggml_quantize_chunk(kind, source.ctypes.data, encoded.ctypes.data, 0, rows, inputs, None)
    if written != encoded.nbytes:
        raise SystemExit(f"the quantiser wrote {written} bytes of {kind.name} instead of {encoded.nbytes}")
    return encoded


def decode(encoded: np.ndarray, kind: Type) -> np.ndarray:
    """Returns what the stored rows mean, in f32; the gguf package and llama.cpp must say the same."""
    if kind in (Type.F32, Type.F16):
        return encoded.astype(np.float32)
    decoded = gguf.quants.dequantize(encoded, kind)
    if kind != Type.BF16:
        refuse_difference(encoded, decoded, kind)
    return decoded


def refuse_difference(encoded: np.ndarray, decoded: np.ndarray, kind: Type) -> None:
    """Ends the program when llama.cpp reads other numbers than those given."""
    other = np.zeros(decoded.shape, np.float32)
    name = kind.name.lower().replace("_k", "_K")
    source = np.ascontiguousarray(encoded)
    arguments = (ctypes.c_void_p(source.ctypes.data), ctypes.c_void_p(other.ctypes.data), ctypes.c_int64(other.size))
    library()[f"dequantize_row_{name}"](*arguments)
    if np.abs(other - decoded).max() > 1e-6 * np.abs(decoded).max():
        raise SystemExit(f"llama.cpp and the gguf package read {kind.name} differently")
