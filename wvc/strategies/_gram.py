"""The inner products of a tensor's versions, which tell lengths and angles, and blends of coefficients made from them.

Two passes over each tensor: the first measures, the second adds up. What happens between is arithmetic on k x k floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, combinations_with_replacement
from operator import mul
from typing import Literal

import numpy as np
import numpy.typing as npt

from wvc.dtypes import FP64, Array, widened
from wvc.errors import MergeProblem
from wvc.strategies._blended import Blend
from wvc.strategies._models import Chunk, Stack
from wvc.strategies.linear import weighted_sum

Floats = npt.NDArray[np.float64]
Matrix = Sequence[Sequence[float]]
Vector = Sequence[float]
# (cosines of the models, their weights) -> how much of each unit vector, so that the sum has length 1; or None.
Steer = Callable[[Matrix, Vector], Vector | None]

PIECE = 1 << 17  # elements whose products are added up at a time: larger is no faster, and the sum depends on it
LARGEST = 1e300  # sums of squares of a piece: any number of them can still be added up
SHORTEST = 1e-6  # of a sum of unit vectors: what is shorter is rounding, fp64 leaves 1e-8 of what should vanish
STRAIGHT = 1 - 1e-12  # cosine from which on vectors count as parallel: beyond, sines are rounding


def gram(stack: Stack, of: Literal["values", "deltas"] = "values") -> list[list[float]]:
    """Inner products of the flattened tensors of all models, (k, k); or of what each changed of the base.

    Products and sums are fp64, in an order that depends on nothing but the number of elements: the same bits with any
    number of threads, on any machine. Products of fp32 and narrower numbers are exact.
    Raises Damage, and MergeProblem for NaN, infinity, and fp64 numbers whose squares overflow.
    """
    ids = [tensor.id for tensor in stack.tensors]
    places = [list(dict.fromkeys(ids)).index(id) for id in ids]
    sums: dict[tuple[int, int], list[float]] = {
        pair: [] for pair in combinations_with_replacement(range(max(places) + 1), 2)
    }
    product = np.empty(min(PIECE, stack.numel))
    for rows in _pieces(stack, of):
        out = product[: rows.shape[1]]
        with np.errstate(over="ignore", invalid="ignore"):  # told below, by name
            for (i, j), found in sums.items():
                found.append(_total(np.multiply(rows[i], rows[j], out=out)))
    if not all(abs(value) < LARGEST for value in chain(*sums.values())):
        raise _unmeasurable(stack)
    totals = {pair: math.fsum(found) for pair, found in sums.items()}
    return [[totals[min(i, j), max(i, j)] for j in places] for i in places]


def lengths(products: Matrix) -> list[float]:
    """Euclidean norms, (k,)."""
    return [math.sqrt(row[i]) for i, row in enumerate(products)]


def cosines(products: Matrix) -> list[list[float]]:
    """Cosines of the angles between the vectors, (k, k), in [-1, 1]; 1 for equal ones, 0 for those of length 0."""
    norms = lengths(products)

    def cosine(i: int, j: int) -> float:
        if not products[i][i] or not products[j][j]:
            return 0.0
        if products[i][j] == products[i][i] == products[j][j]:
            return 1.0
        return max(-1.0, min(1.0, products[i][j] / (norms[i] * norms[j])))

    return [[cosine(i, j) for j in range(len(norms))] for i in range(len(norms))]


def combination(coefficients: Sequence[float | Fraction], stack: Stack) -> Blend:
    """Sum of the models, and of the base if there is one more coefficient, times coefficients; rounded once.

    Coefficients of equal tensors are added up first, so that their order changes no bit, and what has coefficient 0
    leaves no trace, not even of a sign: coefficients of 1 and 0 give a tensor back bit for bit.
    """
    ids = [tensor.id for tensor in (*stack.tensors, *([] if stack.base is None else [stack.base]))]
    shares: dict[str, Fraction] = {}
    for id, coefficient in zip(ids, coefficients, strict=True):
        shares[id] = shares.get(id, Fraction(0)) + Fraction(coefficient)
    used = {ids.index(id): share for id, share in shares.items() if share} or {0: Fraction(0)}
    weigh = weighted_sum(list(used.values()), stack)

    def blend(chunk: Chunk) -> Array:
        values = [*chunk.values, *([] if chunk.base is None else [chunk.base])]
        return weigh(Chunk(chunk.start, tuple(values[i] for i in used), None))

    return blend


def on_sphere(stack: Stack, shares: Sequence[Fraction], steer: Steer) -> Blend:
    """Blend in the direction that `steer` gives, as long as the tensors are on average; where it gives none, average.

    Tensors of length 0 have weight 0 in the direction.
    """
    products = gram(stack)
    norms = lengths(products)
    weights = [float(share) if norm else 0.0 for share, norm in zip(shares, norms, strict=True)]
    direction = steer(cosines(products), weights)
    return combination(shares if direction is None else stretched(direction, shares, norms), stack)


def stretched(direction: Vector, shares: Sequence[Fraction], norms: Vector) -> list[float]:
    """Coefficients of the tensors that make so much of each unit vector, as long as their `norms` are on average."""
    length = dot([float(share) for share in shares], norms)
    return [length * part / norm if norm else 0.0 for part, norm in zip(direction, norms, strict=True)]


def normalized(cosines: Matrix, parts: Vector) -> list[float] | None:
    """So much of each unit vector that their sum has length 1; None if it vanishes."""
    squared = dot(parts, times(cosines, parts))
    return None if squared < SHORTEST**2 else [part / math.sqrt(squared) for part in parts]


def times(matrix: Matrix, vector: Vector) -> list[float]:
    """Their product, each number of which is rounded once."""
    return [dot(row, vector) for row in matrix]


def dot(one: Vector, other: Vector) -> float:
    """Their inner product, the sum of which is rounded once."""
    return math.fsum(map(mul, one, other))


def _pieces(stack: Stack, of: Literal["values", "deltas"]) -> Iterator[Floats]:
    """The distinct tensors in fp64, in order, (n, at most PIECE): in a buffer that the next piece overwrites."""
    count = len({tensor.id for tensor in stack.tensors})
    buffer = np.empty((count, min(PIECE, stack.numel)))
    for start, stop in stack.tensors[0].ranges(1 << 20):
        values, base = stack.read(start, stop)
        distinct = {id(value): value for value in values}.values()
        for first in range(0, stop - start, PIECE):
            part = slice(first, min(first + PIECE, stop - start))
            rows = buffer[:, : part.stop - part.start]
            for row, value in zip(rows, distinct, strict=True):
                np.copyto(row, widened(value[part], FP64))
            if of == "deltas" and base is not None:
                rows -= widened(base[part], FP64)
            yield rows


def _total(values: Floats) -> float:
    """The sum of the values, which are overwritten."""
    # Element by element, half upon half: the order of BLAS's sums depends on the processor, of NumPy's on the version.
    left = len(values)
    while left > 1:
        half = left // 2
        np.add(values[:half], values[left - half : left], out=values[:half])
        left -= half
    return float(values[0])


def _unmeasurable(stack: Stack) -> MergeProblem:
    """Raises MergeProblem for NaN and infinity, and Damage; returns what else there is to say."""
    for _ in stack.chunks():
        pass
    return MergeProblem(
        f"tensor {stack.name!r} holds numbers whose squares overflow", "use a strategy that measures no lengths: linear"
    )
