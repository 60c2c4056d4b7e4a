"""Blend models piece by piece: what every strategy ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from wvc.dtypes import DTYPES, Array, is_finite, narrow
from wvc.errors import MergeProblem
from wvc.strategies._models import Chunk, Models, Stack
from wvc.weights import LazyTensor, Weights

# (elements of a chunk) -> the blended ones, in a dtype to compute in; the inputs are not to be written to.
Blend = Callable[[Chunk], Array]
Rule = Callable[[Stack], Blend]

# Bytes of each array that is computed at a time: with fewer, threads wait for Python's lock rather than for memory.
BLOCK = 1 << 20

# The C library returns memory to the system that a block has freed, and gets it back for the next, page by page, which
# takes as long as computing. Since this was freed, it keeps up to twice as much.
np.empty(16 * BLOCK, np.uint8)


def blended(models: Models, base: Weights | None, rule: Rule, *, drops: bool = False) -> Weights:
    """The model whose tensors are blended as `rule` says of each.

    Tensors that are the same in all models and in the base, and those that hold no floating numbers, are the first
    model's own. rule: called once for each of the others, when its first piece is read; it may read the stack before.
    drops: what `rule` leaves out of an element may be NaN or infinite, so that the result does not tell.
    """
    made: dict[int, LazyTensor] = {}
    lazy: dict[str, LazyTensor] = {}
    for name, stack in models.stacks(base).items():
        tensor = made.get(id(stack))
        if tensor is None:
            tensor = Blended(stack, rule, drops=drops) if stack.is_mixed else stack.tensors[0]
            made[id(stack)] = tensor
        lazy[name] = tensor
    return Weights(lazy)


class Blended(LazyTensor):
    """A tensor that is computed when it is read, rounded once to the dtype of the models."""

    def __init__(self, stack: Stack, rule: Rule, *, drops: bool = False) -> None:
        super().__init__(stack.dtype, stack.shape)
        self._stack, self._rule, self._drops = stack, rule, drops

    @cached_property
    def _blend(self) -> Blend:
        return self._rule(self._stack)

    def read(self, start: int, stop: int) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told, by name
            return self._read(start, stop)

    def _read(self, start: int, stop: int) -> Array:
        blend = self._blend
        values, base = self._stack.read(start, stop)
        if self._drops:
            self._stack.check_finite(values, base)
        made = np.empty(stop - start, DTYPES[self.dtype])
        step = BLOCK // self._stack.wide.itemsize
        for first in range(0, stop - start, step):
            part = slice(first, first + step)
            pieces = {id(array): array[part] for array in [*values, *([] if base is None else [base])]}
            chunk = self._stack.widened(
                start + first, [pieces[id(v)] for v in values], None if base is None else pieces[id(base)]
            )
            narrow(blend(chunk), made[part])
        self._check_result(made, values, base)
        return made

    def check(self) -> None:
        self._stack.check()

    def vouched(self) -> frozenset[str]:
        return self._stack.vouched()

    def _check_result(self, result: Array, values: Sequence[Array], base: Array | None) -> None:
        """Raises MergeProblem if the result or an input is not finite."""
        if is_finite(result):
            return
        self._stack.check_finite(values, base)
        raise MergeProblem(
            f"tensor {self._stack.name!r} becomes too large for {DTYPES[self.dtype].name}",
            "use smaller coefficients or a smaller scale",
        )
