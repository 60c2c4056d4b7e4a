"""How far merged files are from what their method should give, computed in fp64 by NumPy, tensor by tensor.

    python docs/benchmarks/merging_oracle.py METHOD RESULTS [BASE] MODEL...

RESULTS is JSON: {tool: {"path": file, "cut": "all" or "any", "compare": dtype, "floor": number}}, where the last three
say what a tool means by the method (Conventions). Prints JSON: {tool: {"error", "ulps", "inexact", "of"}}: the largest
error in units of the largest change that any model made of its base (of the first model, where there is no base), the
same in units in the last place of the right number, and how many elements of how many are not the nearest numbers that
the dtype has. Where a method leaves a choice open, all choices are right. Everything is written from the papers'
formulas: nothing here is wvc's.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DENSITY = 0.2
PARALLEL = 0.9995  # cosine above which slerp is linear
DIGITS = {"F32": 24, "BF16": 8}  # binary digits of a number
LEAST = {"F32": 2.0**-149, "BF16": 2.0**-133}  # above 0
BLOCK = 1 << 15  # elements of k models whose intermediate results fit into a cache
UNSURE = 2.0**-48  # of the sum of magnitudes: a smaller sum in fp64 does not tell its sign


@dataclass(frozen=True)
class Conventions:
    """What a tool's authors chose where the papers leave it open.

    cut: TIES keeps all changes as large as the k-th largest, or any of them, so that k are kept.
    compare: dtype in which magnitudes are compared.
    floor: least product of two lengths that Model Stock divides by.
    """

    cut: str = "all"
    compare: str = "F32"
    floor: float = 0.0


class File:
    """A safetensors file of fp32 or bf16 tensors."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            self.entries: dict[str, Any] = json.loads(file.read(size))
        self.entries.pop("__metadata__", None)
        self._data = np.memmap(path, np.uint8, "r", offset=8 + size)

    def read(self, name: str) -> Floats:
        """The numbers of a tensor, exact, (n,)."""
        start, stop = self.entries[name]["data_offsets"]
        data = self._data[start:stop]
        if self.entries[name]["dtype"] == "F32":
            return data.view("<f4").astype(np.float64)
        return (data.view("<u2").astype("<u4") << 16).view("<f4").astype(np.float64)


def ulps(values: Floats, dtype: str) -> Floats:
    """Distance of neighbours in `dtype` at each value."""
    _, exponents = np.frexp(values)
    steps: Floats = np.maximum(np.ldexp(1.0, exponents - DIGITS[dtype]), LEAST[dtype])
    return steps


def nearest(values: Floats, dtype: str) -> Floats:
    """The numbers of `dtype` next to `values`, of two the even one."""
    steps = ulps(values, dtype)
    rounded: Floats = np.rint(values / steps) * steps
    return rounded


# (the models, the base first if there is one, conventions, result, dtype) -> the right numbers, nearest to the result.
Oracle = Callable[[Sequence[Floats], Conventions, Floats, str], Floats]


def linear(models: Sequence[Floats], _: Conventions, result: Floats, dtype: str) -> Floats:
    return sum(models[1:], models[0]) / len(models)


def slerp(models: Sequence[Floats], _: Conventions, result: Floats, dtype: str) -> Floats:
    one, two = models
    lengths = np.linalg.norm(one) * np.linalg.norm(two)
    cosine = float(np.clip(np.sum(one * two) / lengths, -1, 1)) if lengths else 1.0
    if abs(cosine) > PARALLEL:
        return (one + two) / 2
    angle = math.acos(cosine)
    return (one + two) * (math.sin(angle / 2) / math.sin(angle))


def model_stock(models: Sequence[Floats], conventions: Conventions, result: Floats, dtype: str) -> Floats:
    base, *tuned = models
    changes = [model - base for model in tuned]
    cosines = []
    for one, two in itertools.combinations(changes, 2):
        lengths = max(float(np.linalg.norm(one) * np.linalg.norm(two)), conventions.floor)
        cosines.append(float(np.sum(one * two)) / lengths if lengths else 0.0)
    cosine, count = math.fsum(cosines) / len(cosines), len(tuned)
    share = count * cosine / (1 + (count - 1) * cosine)
    return share * sum(tuned[1:], tuned[0]) / count + (1 - share) * base


def ties(models: Sequence[Floats], conventions: Conventions, result: Floats, dtype: str) -> Floats:
    base, *tuned = models
    changes = np.stack([model - base for model in tuned])  # (k, n)
    sure, undecided = _trimmed(changes, conventions)
    right, error = np.empty_like(base), np.full_like(base, np.inf)
    for start in range(0, len(base), BLOCK):
        part = slice(start, start + BLOCK)
        block = (base[part], changes[:, part], sure[:, part], result[part], right[part], error[part])
        _consider(slice(None), *block)
        for also in _subsets(len(tuned)) if undecided[:, part].any() else ():
            wrong = result[part] != nearest(right[part], dtype)
            places = np.flatnonzero(undecided[also, part].all(axis=0) & wrong)
            kept = sure[:, part].copy()
            kept[also] |= undecided[also, part]
            _consider(places, base[part], changes[:, part], kept, result[part], right[part], error[part])
    return right


def _subsets(count: int) -> list[list[int]]:
    """All subsets of `count` models but the empty one."""
    return [list(some) for size in range(1, count + 1) for some in itertools.combinations(range(count), size)]


def _consider(
    places: slice | npt.NDArray[np.intp],
    base: Floats,
    changes: Floats,
    kept: Bools,
    result: Floats,
    right: Floats,
    error: Floats,
) -> None:
    """Put base and mean of the kept changes that have the elected sign into `right`, where the result is nearer to it.

    error: the distances so far. Where the sum tells no sign, each is right, and so is none.
    """
    left = np.where(kept[:, places], changes[:, places], 0.0)
    total = left.sum(axis=0)
    unsure = np.abs(total) <= UNSURE * np.abs(left).sum(axis=0)
    signs = [np.sign(total)]
    if unsure.any():
        signs += [np.where(unsure, sign, signs[0]) for sign in (-1.0, 0.0, 1.0)]
    for sign in signs:
        agreeing = left * sign > 0
        value = base[places] + np.where(agreeing, left, 0.0).sum(axis=0) / np.maximum(agreeing.sum(axis=0), 1)
        distance = np.abs(value - result[places])
        nearer = distance < error[places]
        right[places] = np.where(nearer, value, right[places])
        error[places] = np.where(nearer, distance, error[places])


def _trimmed(changes: Floats, conventions: Conventions) -> tuple[Bools, Bools]:
    """What is kept for sure, and what may be kept or not, both (k, n)."""
    sizes = nearest(np.abs(changes), conventions.compare)
    count = sizes.shape[1]
    kept = max(1, int(DENSITY * count))
    limits = np.partition(sizes, count - kept, axis=1)[:, count - kept, None]
    sure, equal = sizes > limits, sizes == limits
    whole = (sure | equal).sum(axis=1, keepdims=True) == kept
    if conventions.cut == "all":
        whole[:] = True
    return sure | (equal & whole), equal & ~whole


ORACLES: dict[str, Oracle] = {"linear": linear, "ties": ties, "slerp": slerp, "model-stock": model_stock}


def pieces(method: str, models: Sequence[File], result: File, conventions: Conventions) -> Iterator[tuple[Floats, ...]]:
    """For each tensor its error, the same in ulps, and where the result is not the nearest number."""
    for name, entry in result.entries.items():
        made, dtype = result.read(name), entry["dtype"]
        if models[0].entries[name]["shape"] != entry["shape"] or models[0].entries[name]["dtype"] != dtype:
            raise ValueError(f"{name} has another shape or dtype")
        right = ORACLES[method]([model.read(name) for model in models], conventions, made, dtype)
        error = np.abs(made - right)
        yield error, error / ulps(right, dtype), made != nearest(right, dtype)


def judged(method: str, models: Sequence[File], result: File, conventions: Conventions, span: float) -> dict[str, Any]:
    if set(result.entries) != set(models[0].entries):
        raise ValueError("other tensors than the models'")
    found = {"error": 0.0, "ulps": 0.0, "inexact": 0, "of": 0}
    for error, in_ulps, inexact in pieces(method, models, result, conventions):
        # The maximum of NumPy hands on NaN, Python's does not.
        found["error"] = float(np.maximum(found["error"], error.max() / span))
        found["ulps"] = float(np.maximum(found["ulps"], in_ulps.max()))
        found["inexact"] += int(inexact.sum())
        found["of"] += inexact.size
    return found


def span_of(models: Sequence[File]) -> float:
    """The largest change of the first model's numbers in the others."""
    first, *rest = models
    return max(float(np.abs(model.read(name) - first.read(name)).max()) for model in rest for name in first.entries)


def main() -> None:
    method, results, *paths = sys.argv[1:]
    models = [File(Path(path)) for path in paths]
    span = span_of(models)
    print(
        json.dumps(
            {
                tool: judged(method, models, File(Path(said.pop("path"))), Conventions(**said), span)
                for tool, said in json.loads(results).items()
            }
        )
    )


if __name__ == "__main__":
    main()
