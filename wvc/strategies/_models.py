"""What a strategy is given: the same model several times, each tensor of which is read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from wvc.dtypes import DTYPES, FP32, FP64, Array, is_finite, is_floating, widened
from wvc.errors import MergeProblem
from wvc.weights import LazyTensor, Tensors, Weights


@dataclass(frozen=True)
class Models:
    """One or more models with the same names, shapes and dtypes.

    members: sorted by their ids, so that the order in which they were named changes no bit.
    coefficients: one for each, or None where nobody stated any.
    occurrences: for each member, how many equal ones stand before it.
    """

    members: tuple[Weights, ...]
    coefficients: tuple[Fraction, ...] | None = None

    @classmethod
    def of(cls, models: Sequence[Tensors], coefficients: Sequence[Fraction] | None = None) -> Models:
        """`models` in memory or in a repository, with their `coefficients` in the same order."""
        weights = [model if isinstance(model, Weights) else Weights.holding(model) for model in models]
        order = sorted(
            range(len(weights)), key=lambda i: (weights[i].id, 0 if coefficients is None else coefficients[i])
        )
        stated = None if coefficients is None else tuple(coefficients[i] for i in order)
        return cls(tuple(weights[i] for i in order), stated)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """The coefficients, which must sum to 1; even ones where none are stated. Raises MergeProblem."""
        shares = self.coefficients or (Fraction(1, len(self)),) * len(self)
        if sum(shares) != 1:
            raise MergeProblem(f"coefficients sum to {sum(shares)}, not to 1", "thirds are written 1/3,1/3,1/3")
        return shares

    @property
    def occurrences(self) -> tuple[int, ...]:
        ids = [model.id for model in self.members]
        return tuple(ids[:i].count(id) for i, id in enumerate(ids))

    def stacks(self, base: Weights | None = None) -> dict[str, Stack]:
        """One stack for each name; names whose tensors are the same in every model (tied weights) share theirs."""
        found: dict[tuple[object, ...], Stack] = {}
        stacks = {}
        for name in self.members[0]:
            tensors = tuple(model.lazy[name] for model in self.members)
            origin = None if base is None else base.lazy[name]
            first = tensors[0]
            key = (first.dtype, first.shape, *(t.id for t in tensors), None if origin is None else origin.id)
            stacks[name] = found.setdefault(key, Stack(name, tensors, origin))
        return stacks


@dataclass(frozen=True)
class Chunk:
    """Elements start..stop of one tensor in all models: 1-D, in a dtype to compute in, never to be written to.

    values: one for each model. base: of the model that they were fine-tuned from, where there is one.
    """

    start: int
    values: tuple[Array, ...]
    base: Array | None

    @property
    def origin(self) -> Array:
        """`base`, where the strategy has asked for one."""
        assert self.base is not None
        return self.base

    @property
    def deltas(self) -> tuple[Array, ...]:
        """What each model changed of the base."""
        return tuple(value - self.origin for value in self.values)


class Stack:
    """One tensor in all models, in their order, and in the base. name: the first that it has."""

    def __init__(self, name: str, tensors: Sequence[LazyTensor], base: LazyTensor | None = None) -> None:
        self.name, self.tensors, self.base = name, tuple(tensors), base
        self.dtype, self.shape, self.numel = tensors[0].dtype, tensors[0].shape, tensors[0].numel

    @property
    def is_unanimous(self) -> bool:
        """True if the tensor is the same in all models, and in the base."""
        return len({tensor.id for tensor in self._all}) == 1

    @property
    def is_mixed(self) -> bool:
        """True if there is something to compute: floating numbers that differ."""
        return self.is_floating and self.numel > 0 and not self.is_unanimous

    @property
    def is_floating(self) -> bool:
        """True if its numbers can be blended."""
        return is_floating(self.dtype)

    @property
    def wide(self) -> np.dtype[Any]:
        """What is computed in: fp64 for 32 bits and more, fp32 for narrower numbers."""
        return FP64 if DTYPES[self.dtype].itemsize >= FP32.itemsize else FP32

    def read(self, start: int, stop: int) -> tuple[list[Array], Array | None]:
        """Elements start..stop as they are stored; equal tensors are read once. Raises Damage."""
        pieces = {tensor.id: tensor for tensor in self._all}
        values = {id: tensor.read(start, stop) for id, tensor in pieces.items()}
        base = None if self.base is None else values[self.base.id]
        return [values[tensor.id] for tensor in self.tensors], base

    def chunks(self, size: int = 1 << 20) -> Iterator[Chunk]:
        """All elements, in order, `size` bytes of each tensor at a time: to measure before blending."""
        for start, stop in self.tensors[0].ranges(size):
            yield self.chunk(start, stop)

    def chunk(self, start: int, stop: int) -> Chunk:
        """Elements start..stop. Raises Damage, and MergeProblem for NaN and infinity."""
        values, base = self.read(start, stop)
        self.check_finite(values, base)
        return self.widened(start, values, base)

    def widened(self, start: int, values: Sequence[Array], base: Array | None) -> Chunk:
        """What was read, in the dtype to compute in; tensors that are the same stay the same."""
        wide = {id(array): widened(array, self.wide) for array in [*values, *([] if base is None else [base])]}
        return Chunk(start, tuple(wide[id(v)] for v in values), None if base is None else wide[id(base)])

    def check_finite(self, values: Sequence[Array], base: Array | None) -> None:
        """Raises MergeProblem, and names the tensor and its model, if a number that was read is NaN or infinite."""
        for tensor, array in zip(self._all, [*values, *([] if base is None else [base])], strict=True):
            if not is_finite(array):
                self.check()  # what is damaged is told as such
                raise not_finite(self.name, tensor)

    def check(self) -> None:
        """Raises Damage unless everything is what its id promises."""
        for tensor in {tensor.id: tensor for tensor in self._all}.values():
            tensor.check()

    def vouched(self) -> frozenset[str]:
        """Ids of the tensors that `check` looks at, of which there is one copy only."""
        return frozenset[str]().union(*(tensor.vouched() for tensor in self._all))

    @property
    def _all(self) -> tuple[LazyTensor, ...]:
        return self.tensors if self.base is None else (*self.tensors, self.base)


def not_finite(name: str, tensor: LazyTensor) -> MergeProblem:
    """What there is to say of a tensor with NaN or infinity in it."""
    return MergeProblem(
        f"tensor {name!r} of {tensor.model or 'a model'} holds NaN or infinity",
        "leave that model out; `wvc show REV:TENSOR` shows the tensor",
    )
