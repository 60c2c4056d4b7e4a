"""The losses of the updates since the last evaluation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wvc.errors import Diverged


class Losses:
    """A running mean that need not wait for a GPU at every step.

    sum, count: of the losses looked at so far, added one by one in order, so that it does not matter when one looks.
    """

    def __init__(self, sum: float = 0.0, count: int = 0) -> None:
        self.sum = sum
        self.count = count
        self._unseen: list[tuple[int, Tensor]] = []

    def add(self, step: int, loss: Tensor) -> None:
        self._unseen.append((step, loss))

    def look(self) -> None:
        """Wait for the losses added. Raises Diverged if one of them is not a number."""
        if not self._unseen:
            return
        steps, losses = zip(*self._unseen, strict=True)
        self._unseen = []
        for step, loss in zip(steps, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise Diverged(f"loss is not a number at step {step}", "try a lower --lr")
            self.sum += loss
            self.count += 1

    @property
    def latest(self) -> float | None:
        """The mean of those looked at so far, which waits for nothing; None before the first."""
        return self.sum / self.count if self.count else None

    def mean(self) -> float:
        """Of at least one loss. Raises as `look` does."""
        self.look()
        return self.sum / self.count
