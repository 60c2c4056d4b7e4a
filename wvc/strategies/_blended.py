"""Blend models piece by piece: what every strategy ends with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from wvc.errors import MergeProblem
from wvc.strategies._models import Chunk, Models, Stack, is_finite
from wvc.weights import LazyTensor, Weights, id_of

# (elements of a chunk) -> the blended ones, in a dtype to compute in; the inputs are not to be written to.
Blend = Callable[[Chunk], Tensor]
Rule = Callable[[Stack], Blend]

BLOCK = 1 << 16  # elements that are computed at a time: in fp64 half a megabyte, which stays in the second-level cache


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

    @cached_property
    def id(self) -> str:
        return id_of(self.load())

    def load(self) -> Tensor:
        made = torch.empty(self.numel, dtype=self.dtype)
        for start, stop in self.ranges():
            made[start:stop] = self.read(start, stop)
        self.check()
        return made.reshape(self.shape)

    def read(self, start: int, stop: int) -> Tensor:
        blend = self._blend
        values, base = self._stack.read(start, stop)
        made = torch.empty(stop - start, dtype=self.dtype)
        for first in range(0, stop - start, BLOCK):
            part = slice(first, first + BLOCK)
            pieces = {id(tensor): tensor[part] for tensor in [*values, *([] if base is None else [base])]}
            chunk = self._stack.widened(
                start + first, [pieces[id(v)] for v in values], None if base is None else pieces[id(base)]
            )
            if self._drops:
                self._stack.check_finite(chunk)
            made[part] = blend(chunk)
            self._check_result(made[part], chunk)
        return made

    def check(self) -> None:
        self._stack.check()

    def vouched(self) -> frozenset[str]:
        return self._stack.vouched()

    def _check_result(self, result: Tensor, chunk: Chunk) -> None:
        """Raises MergeProblem if the result or an input is not finite."""
        if is_finite(result if result.dtype.itemsize > 1 else result.float()):
            return
        self._stack.check_finite(chunk)
        raise MergeProblem(
            f"tensor {self._stack.name!r} becomes too large for {str(self.dtype).removeprefix('torch.')}",
            "use smaller coefficients or a smaller scale",
        )
