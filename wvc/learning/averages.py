"""Averages of the weights along one run, in float64: EMA, SWA, MA. SWAD has a module of its own.

What is averaged are the floating entries of the state dict, parameters and BatchNorm statistics. Integers (counters)
are not: whoever uses an average leaves them as they are in the live network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wvc.learning.trajectory import Ema, Ma, Swa

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Final:
    """What a run comes to. tensors: the average. step: index of the last update that enters, counted from 0."""

    tensors: Tensors
    step: int


class Average(Protocol):
    """An average in the making. All that it is told and gives are the floating entries of a state dict, by name.

    is_over: True once nothing that follows can enter, so that the training may end.
    """

    @property
    def is_over(self) -> bool: ...

    def updated(self, weights: Tensors) -> None:
        """`weights` are those after one more update. They change in place later."""

    def evaluated(self, weights: Tensors, loss: float) -> None:
        """`weights`, which `updated` was told last, have this validation loss."""

    def weights(self) -> Tensors | None:
        """What to evaluate and keep in place of the live weights; None for these."""

    def final(self) -> Final | None:
        """What takes the place of the result, whatever the scores say; None where the best checkpoint is it."""

    def tensors(self) -> dict[str, Tensor]:
        """With `facts`, all that it takes to go on bit for bit. They may change in place later."""

    def facts(self) -> dict[str, Any]:
        """JSON without floats."""

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        """Go on from there."""


class Sum:
    """A sum of weights in float64, where they are, and how many they are.

    total: empty as long as there is nothing in it.
    """

    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}
        self.count = 0

    def add(self, weights: Tensors, times: int = 1) -> None:
        if not self.total:
            self.total = {name: tensor.to(torch.float64, copy=True).mul_(times) for name, tensor in weights.items()}
        else:
            for name, total in self.total.items():
                total.add_(weights[name], alpha=times)
        self.count += times

    def mean(self, like: Tensors) -> dict[str, Tensor]:
        """In the dtypes of `like`; where it is empty, a copy of `like`."""
        if not self.total:
            return {name: tensor.clone() for name, tensor in like.items()}
        return {name: (total / self.count).to(like[name].dtype) for name, total in self.total.items()}

    def restore(self, tensors: Tensors, count: int, like: Tensors | None = None) -> None:
        """Take up copies of `tensors`, on the devices and in the memory layout of `like`, or as they are."""
        layouts = tensors if like is None else like
        self.total = {
            name: torch.empty_like(layouts[name], dtype=tensor.dtype, memory_format=torch.preserve_format).copy_(tensor)
            for name, tensor in tensors.items()
        }
        self.count = count


class _Plain:
    """What averages have in common that neither end a training nor look at its losses."""

    is_over = False

    def __init__(self, start: Tensors) -> None:
        self._live = start
        self._sum = Sum()
        self._updates = 0

    def evaluated(self, weights: Tensors, loss: float) -> None:
        pass

    def weights(self) -> Tensors | None:
        return None

    def final(self) -> Final | None:
        return None

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._sum.total)

    def facts(self) -> dict[str, Any]:
        return {"updates": self._updates, "count": self._sum.count}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        self._updates = facts["updates"]
        self._sum.restore(tensors, facts["count"], self._live)


class EmaAverage(_Plain):
    """e <- d e + (1 - d) theta after every update; e is evaluated and kept."""

    def __init__(self, settings: Ema, start: Tensors) -> None:
        super().__init__(start)
        self._decay = settings.decay
        self._sum.add(start)

    def updated(self, weights: Tensors) -> None:
        self._updates += 1
        for name, mean in self._sum.total.items():
            mean.mul_(self._decay).add_(weights[name], alpha=1 - self._decay)

    def weights(self) -> Tensors | None:
        return self._sum.mean(self._live)


class SwaAverage(_Plain):
    """The mean of snapshots; the live weights are evaluated, the mean is what the run comes to."""

    def __init__(self, settings: Swa, start: Tensors, steps: int) -> None:
        super().__init__(start)
        self._settings, self._steps = settings, steps
        self._last = 0

    def updated(self, weights: Tensors) -> None:
        self._updates += 1
        if self._settings.takes(self._updates, self._steps):
            self._sum.add(weights)
            self._last = self._updates

    def final(self) -> Final | None:
        return Final(self._sum.mean(self._live), self._last - 1)

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "last": self._last}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        super().restore(tensors, facts)
        self._last = facts["last"]


class MaAverage(_Plain):
    """The mean of all weights since an update; it is evaluated and kept."""

    def __init__(self, settings: Ma, start: Tensors) -> None:
        super().__init__(start)
        self._start, self._form = settings.start, settings.form
        if self._first == 0:
            self._sum.add(start)

    @property
    def _first(self) -> int:
        """The update whose weights are the first to enter; 0 for those of the start."""
        return self._start - 1 if self._form == "code" else self._start

    def updated(self, weights: Tensors) -> None:
        self._updates += 1
        if self._updates >= self._first:
            twice = self._form == "diwa" and self._updates == self._start
            self._sum.add(weights, times=2 if twice else 1)

    def weights(self) -> Tensors | None:
        return self._sum.mean(self._live) if self._updates >= self._start else None


def floating(state: Tensors) -> dict[str, Tensor]:
    """The entries that are averaged."""
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


@contextmanager
def wearing(state: Tensors, values: Tensors | None) -> Iterator[None]:
    """Let the tensors of `state` hold `values` inside, and what they held before outside. None changes nothing."""
    before = {name: state[name].clone() for name in values or {}}
    _overlay(state, values or {})
    try:
        yield
    finally:
        _overlay(state, before)


def _overlay(state: Tensors, values: Tensors) -> None:
    for name, tensor in values.items():
        state[name].copy_(tensor)
