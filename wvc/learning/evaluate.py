"""Measure how many images of each domain a network classifies right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wvc.learning.counts import Count, Counts
from wvc.learning.memory import advice
from wvc.learning.network import Network, Precision, computing, place
from wvc.learning.pixels import Indices, Pixels, hold
from wvc.progress import SILENT, Progress

KeepGoing = Callable[[Callable[[], Counts]], bool]
BATCH = 128
SMALLER = "free some memory, or use a smaller --image-size"


def measure(
    network: Network,
    domains: Mapping[str, Pixels],
    *,
    device: torch.device,
    precision: Precision = "fp32",
    batch_size: int = BATCH,
    keep_going: KeepGoing | None = None,
    progress: Progress = SILENT,
) -> Counts:
    """Count the images of `domains` that the network gets right: eval mode, no augmentation, largest score wins.

    A network with a single output decides by its sign: class 1 if > 0 (design, Trainings). The cross-entropies are
    summed beside, batch by batch.
    keep_going: asked after every batch; False ends the pass, and some images are left unseen. It may ask for the counts
    so far, for which a GPU must be waited for.
    """
    tally = _Tally(domains)
    progress.start("evaluating", sum(len(pixels) for pixels in domains.values()), "images")
    try:
        with advice("while evaluating", SMALLER):
            place(network, device)
            hold(domains.values(), device)
            with evaluating(network), inference(device, precision):
                _pass(network, domains, tally, device, batch_size, keep_going, progress)
    finally:
        progress.stop()
    return tally.counts()


def _pass(
    network: Network,
    domains: Mapping[str, Pixels],
    tally: _Tally,
    device: torch.device,
    batch_size: int,
    keep_going: KeepGoing | None,
    progress: Progress,
) -> None:
    for name, positions in _batches(domains, batch_size):
        images, labels = domains[name].batch(positions, device)
        scores = network(images)
        tally.add(name, right(scores, labels), loss(scores, labels), len(positions))
        progress.advance(len(positions))
        if keep_going is not None and not keep_going(tally.counts):
            return


@contextmanager
def evaluating(network: Network) -> Iterator[None]:
    """Eval mode inside, the mode from before outside."""
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


@contextmanager
def inference(device: torch.device, precision: Precision) -> Iterator[None]:
    """Forward passes only: no gradients, ever."""
    with torch.inference_mode(), computing(device, precision):
        yield


def parts(n: int, batch_size: int) -> Iterator[Indices]:
    """0 .. n-1 in order, in pieces."""
    for start in range(0, n, batch_size):
        yield np.arange(start, min(start + batch_size, n))


def _batches(domains: Mapping[str, Pixels], batch_size: int) -> Iterator[tuple[str, Indices]]:
    for name, pixels in domains.items():
        for positions in parts(len(pixels), batch_size):
            yield name, positions


def right(scores: Tensor, labels: Tensor) -> Tensor:
    """How many rows of `scores` (B, classes) name their label; a scalar on their device."""
    decisions = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(dim=1)
    return (decisions == labels).sum()


def loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of `scores` (B, classes), a float64 scalar on their device.

    A single output is the log-odds of class 1.
    """
    scores = scores.float()
    if scores.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(scores[:, 0], labels.float(), reduction="sum").double()
    return F.cross_entropy(scores, labels, reduction="sum").double()


class _Tally:
    """Counts in the making. What is right stays on the device until somebody asks: each question waits for it."""

    def __init__(self, domains: Mapping[str, Pixels]) -> None:
        self.right: dict[str, Tensor | int] = dict.fromkeys(domains, 0)
        self.loss: dict[str, Tensor | float] = dict.fromkeys(domains, 0.0)
        self.seen = dict.fromkeys(domains, 0)
        self.total = {name: len(pixels) for name, pixels in domains.items()}

    def add(self, name: str, right: Tensor, loss: Tensor, seen: int) -> None:
        self.right[name] = self.right[name] + right
        self.loss[name] = self.loss[name] + loss
        self.seen[name] += seen

    def counts(self) -> Counts:
        return Counts(
            {
                name: Count(int(self.right[name]), self.seen[name], total, float(self.loss[name]))
                for name, total in self.total.items()
            }
        )
