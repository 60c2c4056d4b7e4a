"""Tensors of torch, from and to the arrays that weights are read as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from wvc.dtypes import DTYPES as ARRAYS
from wvc.dtypes import Array
from wvc.errors import ModelProblem

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def name_of(dtype: torch.dtype, name: str) -> str:
    """What safetensors calls `dtype`. Raises ModelProblem where it has no name for it. name: of the tensor."""
    if dtype not in NAMES:
        raise ModelProblem(f"tensor {name!r} is {dtype}, which safetensors files cannot hold")
    return NAMES[dtype]


def array(tensor: torch.Tensor) -> Array:
    """The numbers of `tensor` in row-major order, (n,): in its own memory where they lie so."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    dtype = ARRAYS[NAMES[tensor.dtype]]
    return flat.view(torch.uint8).numpy().view(dtype) if len(flat) else np.empty(0, dtype)


def tensor(array: Array, dtype: str, shape: Sequence[int]) -> torch.Tensor:
    """`array`, (n,), as a tensor of safetensors' `dtype` in the same memory, which must not be read-only."""
    if not len(array):
        return torch.empty(tuple(shape), dtype=DTYPES[dtype])
    return torch.from_numpy(array.view(np.uint8)).view(DTYPES[dtype]).reshape(tuple(shape))
