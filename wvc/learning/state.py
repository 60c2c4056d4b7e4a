"""Where a training stands, complete enough to go on bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

import torch
from torch import Tensor

from wvc.learning.counts import Counts, macro

Entry = dict[str, Any]

NETWORK, FIRST, SECOND, BEST, AVERAGE = "network/", "first/", "second/", "best/", "average/"


@dataclass(frozen=True)
class Best:
    """The checkpoint with the highest score so far, the earliest among equals.

    step: index of the last update before it, counted from 0.
    score: macro accuracy on the validation images, in [0, 1].
    """

    tensors: Mapping[str, Tensor]
    step: int
    score: Fraction


@dataclass(frozen=True)
class State:
    """A training between two updates. All tensors are copies on the CPU.

    step: updates done.
    network: its state dict.
    updates: done by the present Adam, which starts anew when the featurizer thaws.
    first, second: Adam's running means of the gradient and of its square, by name of the parameter.
    best: None before the first evaluation.
    history: one entry per evaluation: {"step", "loss", "score", "domains": {name: [right, total]}}, reals as text.
    loss_sum, loss_count: of the updates since the last evaluation.
    average, average_facts: of the average along the run, as averages.Average gives them; empty without one.
    """

    step: int
    network: Mapping[str, Tensor]
    updates: int
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    best: Best | None
    history: tuple[Entry, ...]
    loss_sum: float
    loss_count: int
    average: Mapping[str, Tensor] = field(default_factory=dict)
    average_facts: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor, contiguous, under unique names: ready for one safetensors file."""
        groups = {NETWORK: self.network, FIRST: self.first, SECOND: self.second, AVERAGE: self.average}
        if self.best is not None:
            groups[BEST] = self.best.tensors
        return {prefix + name: tensor for prefix, group in groups.items() for name, tensor in group.items()}

    def facts(self) -> dict[str, Any]:
        """Everything else, as JSON without floats."""
        return {
            "step": self.step,
            "updates": self.updates,
            "best": None if self.best is None else [self.best.step, str(self.best.score)],
            "history": list(self.history),
            "loss_sum": repr(self.loss_sum),
            "loss_count": self.loss_count,
            "average": dict(self.average_facts),
        }

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Self:
        """The state that `tensors` and `facts` came from."""
        best = facts["best"]
        return cls(
            step=facts["step"],
            network=_group(tensors, NETWORK),
            updates=facts["updates"],
            first=_group(tensors, FIRST),
            second=_group(tensors, SECOND),
            best=None if best is None else Best(_group(tensors, BEST), best[0], Fraction(best[1])),
            history=tuple(facts["history"]),
            loss_sum=float(facts["loss_sum"]),
            loss_count=facts["loss_count"],
            average=_group(tensors, AVERAGE),
            average_facts=facts.get("average", {}),
        )


def entry(step: int, loss: float, counts: Counts) -> Entry:
    """What the history says of one complete evaluation."""
    domains = {name: [count.right, count.total] for name, count in counts.domains.items()}
    return {"step": step, "loss": repr(loss), "score": repr(float(macro(counts))), "domains": domains}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, none sharing memory with another."""
    layout = torch.contiguous_format
    return {name: tensor.detach().to("cpu", copy=True, memory_format=layout) for name, tensor in tensors.items()}


def _group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
