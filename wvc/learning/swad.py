"""SWAD: average all weights between a start and an end that the validation loss sets, in two forms.

A **segment** is the mean of the weights after each update since the last evaluation, the one that is evaluated now
included; the first is the first update alone. Both forms look at the losses of the last N_s evaluations until the first
of these is the lowest: the run has *converged* there, and 1 + tolerance times their mean is the threshold. Once all of
the last N_e losses lie above it the run is *dead*, and the training may end.

Cha et al., SWAD: domain generalization by seeking flat minima, 2021.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from wvc.errors import Diverged
from wvc.learning.averages import Final, Sum, Tensors
from wvc.learning.trajectory import Swad


@dataclass(frozen=True)
class Segment:
    """mean: of `count` weights, on the CPU. end: index of the last update in it. loss: the validation loss there."""

    mean: Tensors
    count: int
    end: int
    loss: float

    def facts(self) -> list[Any]:
        return [self.count, self.end, repr(self.loss)]

    @classmethod
    def read(cls, mean: Tensors, facts: list[Any]) -> Segment:
        return cls(mean, facts[0], facts[1], float(facts[2]))


class _Swad:
    """What both forms keep: the segment in the making, the last N_e segments, and the threshold once converged.

    _first: the segment at which the run converged. _kept: what has entered for good. _end: its last update.
    """

    def __init__(self, settings: Swad, start: Tensors) -> None:
        assert settings.tolerance is not None
        self._settings, self._tolerance, self._live = settings, settings.tolerance, start
        self._current, self._kept = Sum(), Sum()
        self._window: deque[Segment] = deque(maxlen=settings.tolerate)
        self._first: Segment | None = None
        self._threshold = math.inf
        self._updates, self._end = 0, -1
        self._dead = False

    @property
    def is_over(self) -> bool:
        return self._dead

    def updated(self, weights: Tensors) -> None:
        self._updates += 1
        self._current.add(weights)

    def weights(self) -> Tensors | None:
        return None

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f"{group}/{name}": t for group, tensors in self._groups().items() for name, t in tensors.items()}

    def facts(self) -> dict[str, Any]:
        return {
            "updates": self._updates,
            "current": self._current.count,
            "kept": [self._kept.count, self._end],
            "window": [segment.facts() for segment in self._window],
            "first": None if self._first is None else self._first.facts(),
            "threshold": repr(self._threshold),
            "dead": self._dead,
        }

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        groups = _groups(tensors)
        self._updates, self._dead = facts["updates"], facts["dead"]
        self._current.restore(groups.get("current", {}), facts["current"], self._live)
        self._kept.restore(groups.get("kept", {}), facts["kept"][0])
        self._end, self._threshold = facts["kept"][1], float(facts["threshold"])
        self._window.extend(Segment.read(groups[f"window{i}"], said) for i, said in enumerate(facts["window"]))
        self._first = None if facts["first"] is None else Segment.read(groups["first"], facts["first"])

    def _groups(self) -> dict[str, Tensors]:
        groups: dict[str, Tensors] = {f"window{i}": segment.mean for i, segment in enumerate(self._window)}
        if self._first is not None:
            groups["first"] = self._first.mean
        return groups | {"current": self._current.total, "kept": self._kept.total}

    def _cut(self, loss: float) -> Segment:
        """The segment that ends here; the next one begins."""
        if not math.isfinite(loss):
            raise Diverged(f"validation loss is not a number at step {self._updates - 1}", "try a lower --lr")
        mean = {name: tensor.cpu() for name, tensor in self._current.mean(self._live).items()}
        segment = Segment(mean, self._current.count, self._updates - 1, loss)
        self._current = Sum()
        return segment

    def _converges(self) -> bool:
        """True, with the threshold set, if the first of the last N_s losses is the lowest of them."""
        recent = list(self._window)[-self._settings.converge :]
        losses = [segment.loss for segment in recent]
        if len(recent) < self._settings.converge or losses[0] > min(losses):
            return False
        self._first = recent[0]
        self._threshold = (1 + self._tolerance) * sum(losses) / len(losses)
        return True

    def _dies(self) -> bool:
        self._dead = min(segment.loss for segment in self._window) > self._threshold
        return self._dead


class CodeSwad(_Swad):
    """As the authors' code does it: segments, not weights, are averaged, each with the same share.

    The average can begin before the lowest loss, holds the segment of the lowest loss twice as a rule, and is the last
    segment where the run never converged.
    """

    def evaluated(self, weights: Tensors, loss: float) -> None:
        segment = self._cut(loss)
        if self._dead:
            return
        self._window.append(segment)
        if self._first is None:
            if self._converges():
                self._take(self._since_the_valley())
        elif self._window[0].end >= self._first.end and not self._dies():
            self._take([self._window[0]])

    def final(self) -> Final | None:
        if not self._window:
            return None
        if self._first is None:
            return Final(self._window[-1].mean, self._window[-1].end)
        kept, end = _copy(self._kept), self._end
        for segment in [] if self._dead else self._within():
            kept.add(segment.mean)
            end = segment.end
        if not kept.count:
            return Final(self._first.mean, self._first.end)
        return Final(kept.mean(self._live), end)

    def _since_the_valley(self) -> list[Segment]:
        """Of the oldest N_e - N_s + 1 segments: walking back, all that stay below the threshold, but the first."""
        oldest = list(self._window)[: self._settings.tolerate - self._settings.converge + 1]
        if self._settings.tolerate == self._settings.converge:
            return []
        above = [i for i, segment in enumerate(oldest) if segment.loss > self._threshold]
        start = above[-1] + 1 if above else 0
        return oldest[start + 1 :]

    def _within(self) -> list[Segment]:
        """What is added at the end: from the second oldest on, as long as a loss that follows is within."""
        rest = list(self._window)[1:]
        return [seg for i, seg in enumerate(rest) if min(after.loss for after in rest[i:]) <= self._threshold]

    def _take(self, segments: Iterable[Segment]) -> None:
        for segment in segments:
            self._kept.add(segment.mean)
            self._end = segment.end


class PaperSwad(_Swad):
    """As the paper says it: the mean of all weights from evaluation t_s to evaluation t_e, both included.

    t_s is where the run converged, t_e the last evaluation before the N_e above the threshold, or the last of all. A
    run that never converged gives the mean of all its weights.
    """

    def __init__(self, settings: Swad, start: Tensors) -> None:
        super().__init__(settings, start)
        self._points: deque[Tensors] = deque(maxlen=settings.converge)  # the weights at the last N_s evaluations
        self._all = Sum()

    def evaluated(self, weights: Tensors, loss: float) -> None:
        segment = self._cut(loss)
        if self._dead:
            return
        # What leaves the window was followed by N_e evaluations: it lies before any end that is still to come.
        leaving = self._window[0] if len(self._window) == self._settings.tolerate else None
        self._window.append(segment)
        if self._first is None:
            self._all.add(segment.mean, segment.count)
            self._points.append({name: tensor.to("cpu", copy=True) for name, tensor in weights.items()})
            if self._converges():
                self._begin()
            return
        if leaving is not None and leaving.end > self._first.end:
            self._take(self._kept, leaving)
            self._end = leaving.end
        self._dies()

    def final(self) -> Final | None:
        if not self._window:
            return None
        if self._first is None:
            return Final(self._all.mean(self._live), self._window[-1].end)
        if self._dead:
            return Final(self._kept.mean(self._live), self._end)
        kept = _copy(self._kept)
        for segment in self._window:
            if segment.end > self._first.end:
                self._take(kept, segment)
        return Final(kept.mean(self._live), self._window[-1].end)

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "points": len(self._points), "all": self._all.count}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        super().restore(tensors, facts)
        groups = _groups(tensors)
        self._all.restore(groups.get("all", {}), facts["all"])
        self._points.extend(groups[f"point{i}"] for i in range(facts["points"]))

    def _groups(self) -> dict[str, Tensors]:
        return super()._groups() | {f"point{i}": p for i, p in enumerate(self._points)} | {"all": self._all.total}

    def _begin(self) -> None:
        """Start with the weights at the lowest loss; what a run that never converged would need can go."""
        assert self._first is not None
        self._kept.add(self._points[0])
        self._end = self._first.end
        self._points.clear()
        self._all = Sum()

    @staticmethod
    def _take(kept: Sum, segment: Segment) -> None:
        kept.add(segment.mean, segment.count)


def _copy(some: Sum) -> Sum:
    other = Sum()
    other.restore(some.total, some.count)
    return other


def _groups(tensors: Tensors) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of each group under their own names."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return groups
