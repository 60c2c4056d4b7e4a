"""Canonical JSON: one value has one spelling, so that its hash can be its name.

RFC 8785, restricted: ASCII keys, integers below 2^53, NFC text, no floats. Reals travel as Python's shortest
`repr` in a string, coefficients as reduced fractions in a string.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

Json = Any  # None | bool | int | str | list[Json] | dict[str, Json]

LIMIT = 2**53
DEPTH = 64


def dumps(value: Json) -> bytes:
    """The one spelling of `value`. Raises ValueError where it has none."""
    _check(value, DEPTH)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def loads(data: bytes) -> Json:
    """Read canonical JSON. Raises ValueError on anything else, a different spelling of the same value included."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_pairs, parse_float=_no_float, parse_constant=_no_float
        )
        same = dumps(value) == data
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not same:
        raise ValueError("not canonical JSON")
    return value


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def _check(value: Json, depth: int) -> None:
    if depth == 0:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        if not unicodedata.is_normalized("NFC", value):
            raise ValueError(f"text is not NFC: {value[:40]!r}")
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) >= LIMIT:
            raise ValueError(f"integer out of range: {value}")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError(f"key is not ASCII: {key!r}")
            _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        raise ValueError(f"{type(value).__name__} has no place in canonical JSON")


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate keys")
    return value


def _no_float(text: str) -> Json:
    raise ValueError(f"a float: {text[:20]}")
