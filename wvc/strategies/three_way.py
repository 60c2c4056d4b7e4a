"""Take each tensor from the model that changed it."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from wvc.dtypes import Array, is_finite
from wvc.errors import MergeProblem
from wvc.store import recent
from wvc.strategies._blended import Blended
from wvc.strategies._models import Models, Stack, not_finite
from wvc.strategies._ranges import check_choice
from wvc.strategies.linear import weighted_sum
from wvc.weights import LazyTensor, Weights

Conflicts = Literal["refuse", "average"]


def merge(models: Models, base: Weights, *, conflicts: Conflicts = "refuse") -> Weights:
    """Return the base with every tensor that somebody changed as they left it, bit for bit: git's three-way merge.

    conflicts: what to do with a tensor that was changed in several ways: refuse, or average those that changed it.
    Raises UsageError for unknown options, and MergeProblem that names the tensors in conflict. What nobody changed is
    not read; what is taken from a model is looked at before it is stored, and refused for NaN and infinity.
    """
    check_choice("conflicts", conflicts, Conflicts)
    stacks = models.stacks(base)
    odd = sorted(name for name, stack in stacks.items() if len(_changed(stack)) > 1)
    if odd and conflicts == "refuse":
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise MergeProblem(
            f"several models changed {', '.join(odd[:3])}{more}",
            "-o conflicts=average averages these; --ours GLOB and --theirs GLOB take one side's",
        )
    made: dict[int, LazyTensor] = {}
    return Weights({name: made.setdefault(id(stack), _merged(stack)) for name, stack in stacks.items()})


class Taken(LazyTensor):
    """A tensor that stands for one model's own, once that was looked at: it must hold no NaN and no infinity.

    name: what errors call it.
    """

    def __init__(self, name: str, own: LazyTensor) -> None:
        super().__init__(own.dtype, own.shape, own.model)
        self._name, self._own = name, own

    @property
    def id(self) -> str:
        return self.settled().id

    def read(self, start: int, stop: int) -> Array:
        """Elements start..stop. Raises Damage, and MergeProblem for NaN and infinity."""
        values = self._own.read(start, stop)
        if not is_finite(values):
            self.check()  # what is damaged is told as such
            raise not_finite(self._name, self._own)
        return values

    def check(self) -> None:
        self._own.check()

    def vouched(self) -> frozenset[str]:
        return self._own.vouched()

    def settled(self) -> LazyTensor:
        """The model's own, after one look at all of it. Raises Damage, MergeProblem."""
        with recent.kept():
            for start, stop in self.ranges():
                self.read(start, stop)
        return self._own


def _changed(stack: Stack) -> dict[str, LazyTensor]:
    """The tensors that differ from the base, by id."""
    assert stack.base is not None
    return {tensor.id: tensor for tensor in stack.tensors if tensor.id != stack.base.id}


def _merged(stack: Stack) -> LazyTensor:
    changed = _changed(stack)
    if not changed:
        assert stack.base is not None
        return stack.base
    apart = [tensor for tensor in stack.tensors if tensor.id in changed]
    if not stack.is_floating:
        return apart[0]
    if len(changed) == 1:
        return Taken(stack.name, apart[0])
    rest = Stack(stack.name, apart)
    return Blended(rest, lambda stack: weighted_sum((Fraction(1, len(apart)),) * len(apart), stack))
