"""Numbers of tensors in NumPy: what safetensors calls them, widened to compute in and rounded back to be kept.

Nothing here needs torch, which takes seconds to load, and all bits are those that torch makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
        "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8,
        "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "BOOL": np.bool_, "C64": np.complex64,
        "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    }.items()
}  # fmt: skip

FP64, FP32, FP16 = DTYPES["F64"], DTYPES["F32"], DTYPES["F16"]

# Bit patterns of infinity in 16 bits: what is not less, the sign aside, is infinite or NaN.
INFINITY = {FP16: 0x7C00, DTYPES["BF16"]: 0x7F80}
SIGN = 0x8000

HALF_SHIFT = 13  # bits of a mantissa that fp32 has and fp16 has not
HALF_BIAS = 127 - 15  # how much larger exponents are in fp32 than in fp16
HALF_OVERFLOW = 65520  # magnitudes from here on become infinite in fp16


def is_floating(dtype: str) -> bool:
    """True for what can be blended: numbers with a fraction, complex ones aside. dtype: safetensors' name."""
    return dtype.startswith(("F", "BF"))


def is_finite(values: Array) -> bool:
    """True if no number is NaN or infinite. values: floating numbers, (n,)."""
    if not values.size:
        return True
    if values.dtype in INFINITY:
        infinity = INFINITY[values.dtype]
        return bool(values.view(np.int16).max() < infinity and values.view(np.uint16).max() < SIGN + infinity)
    # The sum tells, which is faster to find, unless it overflows.
    wide = widened(values, FP32) if values.itemsize == 1 else values
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.add.reduce(wide)) or np.isfinite(wide).all())


def widened(values: Array, dtype: np.dtype[Any]) -> Array:
    """`values` in `dtype`, fp64 or fp32, exactly; themselves where that is what they are."""
    if values.dtype == dtype:
        return values
    with np.errstate(invalid="ignore"):  # NumPy warns of NaNs that signal
        if values.dtype == FP16:
            values = _widened_half(values)
        return values.astype(dtype, copy=False)


def narrow(values: Array, out: Array) -> None:
    """Round `values`, in fp64 or fp32, to the dtype of `out`; what is too large for it becomes infinite or NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        if out.itemsize < FP32.itemsize:
            values = values.astype(FP32, copy=False)  # rounded twice if it was fp64: so does torch
        if out.dtype == FP16:
            _narrow_half(values, out)
        else:
            np.copyto(out, values, casting="unsafe")


def _widened_half(values: Array) -> Array:
    """fp16 in fp32: as bits, which is several times faster than number by number."""
    if not is_finite(values):
        return values.astype(FP32)
    bits = np.left_shift(values.view(np.int16), HALF_SHIFT, dtype=np.int32)
    bits &= np.int32(~0x70000000)  # the sign, which now stands in four places, stays in the first
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**HALF_BIAS)
    return wide


def _narrow_half(values: Array, out: Array) -> None:
    """fp32 rounded to fp16: by additions, which is twice as fast as number by number."""
    bits = values.view(np.int32)
    magnitude = bits & np.int32(0x7FFFFFFF)
    if not magnitude.view(np.float32).max() < HALF_OVERFLOW:
        np.copyto(out, values, casting="unsafe")
        return
    # Added to a number, 2^13 times the power of two below it leaves of it what fp16 holds; below 2^-14 that is even.
    large = magnitude & np.int32(0x7F800000)
    np.maximum(large, np.int32((HALF_BIAS + 1) << 23), out=large)
    large += np.int32(HALF_SHIFT << 23)
    rounded = magnitude.view(np.float32)
    rounded += large.view(np.float32)
    rounded -= large.view(np.float32)
    rounded *= np.float32(2.0**-HALF_BIAS)
    magnitude >>= np.int32(HALF_SHIFT)
    signs = np.right_shift(bits, np.int32(16), out=large)
    signs &= np.int32(SIGN)
    magnitude |= signs
    np.copyto(out.view(np.uint16), magnitude.view(np.uint16)[::2])
