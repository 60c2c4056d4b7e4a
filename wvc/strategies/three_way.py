"""Take each tensor from the model that changed it."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from wvc.errors import MergeProblem
from wvc.strategies._blended import Blended
from wvc.strategies._models import Models, Stack
from wvc.strategies.linear import weighted_sum
from wvc.weights import LazyTensor, Weights


def merge(models: Models, base: Weights, *, conflicts: Literal["refuse", "average"] = "refuse") -> Weights:
    """Return the base with every tensor that somebody changed as they left it, bit for bit: git's three-way merge.

    conflicts: what to do with a tensor that was changed in several ways: refuse, or average those that changed it.
    Raises MergeProblem that names the tensors in conflict. No tensor is read but those that are averaged.
    """
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
    if len(changed) == 1 or not stack.dtype.is_floating_point:
        return apart[0]
    rest = Stack(stack.name, apart)
    return Blended(rest, lambda stack: weighted_sum((Fraction(1, len(apart)),) * len(apart), stack))
