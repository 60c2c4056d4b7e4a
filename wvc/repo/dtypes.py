"""Numbers in tensor bytes, for every dtype that has a meaning as real numbers, without torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

PLAIN: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "u1", "U8": "u1", "I8": "i1",
    "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8",
}  # fmt: skip
FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


def decode(data: memoryview, dtype: str) -> Reals | None:
    """The values in `data` as float64, flat; None for dtypes that are not real numbers (C64) or not byte-wide."""
    if dtype in PLAIN:
        return np.frombuffer(data, PLAIN[dtype]).astype(np.float64)
    if dtype == "BF16":
        return _bits(np.frombuffer(data, "<u2").astype(np.uint32) << 16, np.float32)
    if dtype == "F8_E5M2":
        return _bits(np.frombuffer(data, "u1").astype(np.uint16) << 8, np.float16)
    if dtype == "F8_E4M3":
        return np.asarray(_E4M3[np.frombuffer(data, "u1")], dtype=np.float64)
    return None


@np.errstate(invalid="ignore")  # a signalling NaN is a NaN
def _bits(patterns: npt.NDArray[np.integer], kind: type[np.floating]) -> Reals:
    return np.asarray(patterns.view(kind), dtype=np.float64)


def _e4m3() -> Reals:
    """All 256 values of the finite-only 8-bit float: bias 7, no infinities, NaN at S.1111.111 (OCP, 2022)."""
    codes = np.arange(256)
    sign = np.where(codes & 128, -1.0, 1.0)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    values = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    values[(codes & 127) == 127] = np.nan
    return np.asarray(sign * values, dtype=np.float64)


_E4M3 = _e4m3()
