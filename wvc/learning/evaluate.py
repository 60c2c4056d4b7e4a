"""Measure how many images of each domain a network classifies right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wvc.learning.counts import Count, Counts
from wvc.learning.memory import advice
from wvc.learning.network import Network, Precision, computing, place
from wvc.learning.pixels import Indices, Pixels, hold
from wvc.progress import SILENT, Progress

KeepGoing = Callable[[Callable[[], Counts]], bool]
Batches = Sequence[tuple[str, Indices]]  # domain, and positions in it
Record = dict[str, NDArray[np.int8]]  # domain -> for each image 1 if right, 0 if wrong, -1 if not seen

BATCH = 128
SMALLER = "free some memory, or use a smaller --image-size"
AHEAD = {"cuda": 1}  # batches that a device is given beyond the one whose counts are asked for: it never runs dry


def measure(
    network: Network,
    domains: Mapping[str, Pixels],
    *,
    device: torch.device,
    precision: Precision = "fp32",
    batch_size: int = BATCH,
    order: Batches | None = None,
    keep_going: KeepGoing | None = None,
    record: Record | None = None,
    progress: Progress = SILENT,
) -> Counts:
    """Count the images of `domains` that the network gets right: eval mode, no augmentation, largest score wins.

    A network with a single output decides by its sign: class 1 if > 0 (design, Trainings). The cross-entropies are
    summed beside, batch by batch.
    order: the batches to look at, no image in two of them; None for all images in their order, in `batch_size` pieces.
    keep_going: asked after every batch; False ends the pass, and some images are left unseen. It may ask for the counts
    so far; of a GPU these are the counts before the batch that it works on meanwhile.
    record: gets the result of every single image of `domains`.
    """
    progress.start("evaluating", sum(len(pixels) for pixels in domains.values()), "images")
    try:
        with advice("while evaluating", SMALLER):
            place(network, device)
            hold(domains.values(), device)
            tally = _Tally(domains, device, each=record is not None)
            batches = _batches(domains, batch_size) if order is None else order
            with evaluating(network), inference(device, precision):
                _pass(network, domains, batches, tally, keep_going, progress)
            if record is not None:
                record.update(tally.record())
            return tally.snapshot()()
    finally:
        progress.stop()


def _pass(
    network: Network,
    domains: Mapping[str, Pixels],
    batches: Iterable[tuple[str, Indices]],
    tally: _Tally,
    keep_going: KeepGoing | None,
    progress: Progress,
) -> None:
    waiting: deque[Callable[[], Counts]] = deque()
    for name, positions in batches:
        images, labels = domains[name].batch(positions, tally.device)
        scores = network(images)
        tally.add(name, positions, hits(scores, labels), loss(scores, labels))
        progress.advance(len(positions))
        if keep_going is None:
            continue
        waiting.append(tally.snapshot())
        if len(waiting) > AHEAD.get(tally.device.type, 0) and not keep_going(waiting.popleft()):
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


def pooled(sets: Sequence[Pixels], positions: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch across domains: `positions` count through all `sets`, one after the other; at least one of them.

    Images (B, C, H, W) as floats in [0, 1] and labels (B,), set after set.
    """
    starts = np.cumsum([0, *(len(pixels) for pixels in sets)])
    within = [positions[(positions >= a) & (positions < b)] - a for a, b in pairwise(starts)]
    found = [pixels.batch(some, device) for pixels, some in zip(sets, within, strict=True) if len(some)]
    images, labels = (torch.cat(tensors) for tensors in zip(*found, strict=True))
    return images, labels


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    """Which rows of `scores` (B, classes) name their label; bool (B,) on their device."""
    decisions = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(dim=1)
    return decisions == labels


def right(scores: Tensor, labels: Tensor) -> Tensor:
    """How many rows of `scores` (B, classes) name their label; a scalar on their device."""
    return hits(scores, labels).sum()


def loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropies of `scores` (B, classes), a float64 scalar on their device.

    A single output is the log-odds of class 1.
    """
    scores = scores.float()
    if scores.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(scores[:, 0], labels.float(), reduction="sum").double()
    return F.cross_entropy(scores, labels, reduction="sum").double()


class _Tally:
    """Counts in the making. What is right stays on the device until somebody asks.

    each: keep the result of every image too.
    """

    def __init__(self, domains: Mapping[str, Pixels], device: torch.device, *, each: bool) -> None:
        self.device = device
        self._total = {name: len(pixels) for name, pixels in domains.items()}
        self._row = {name: i for i, name in enumerate(domains)}
        self._seen = dict.fromkeys(domains, 0)
        self._right = torch.zeros(len(domains), dtype=torch.int64, device=device)
        self._loss = torch.zeros(len(domains), dtype=torch.float64, device=device)
        self._each: list[tuple[str, Indices, Tensor]] | None = [] if each else None

    def add(self, name: str, positions: Indices, hits: Tensor, loss: Tensor) -> None:
        self._right[self._row[name]] += hits.sum()
        self._loss[self._row[name]] += loss
        self._seen[name] += len(positions)
        if self._each is not None:
            self._each.append((name, positions, hits))

    def snapshot(self) -> Callable[[], Counts]:
        """The counts as they are now, for later: asking waits until a GPU is as far as this, and no further."""
        right, loss, seen = _sent(self._right), _sent(self._loss), dict(self._seen)
        sent = _mark(self.device)

        def counts() -> Counts:
            if sent is not None:
                sent.synchronize()
            columns = zip(self._total.items(), right.tolist(), seen.values(), loss.tolist(), strict=True)
            return Counts({name: Count(r, s, total, lost) for (name, total), r, s, lost in columns})

        return counts

    def record(self) -> Record:
        """The result of every image, where `each`."""
        found = {name: np.full(total, -1, dtype=np.int8) for name, total in self._total.items()}
        if self._each:
            together = torch.cat([hits for _, _, hits in self._each]).cpu().numpy().astype(np.int8)
            ends = np.cumsum([len(positions) for _, positions, _ in self._each])[:-1]
            for (name, positions, _), hits in zip(self._each, np.split(together, ends), strict=True):
                found[name][positions] = hits
        return found


def _sent(tensor: Tensor) -> Tensor:
    """A copy on the CPU, which a GPU makes when it comes to it: in pinned memory, so that nobody waits."""
    return tensor.to("cpu", non_blocking=True) if tensor.is_cuda else tensor.to("cpu", copy=True)


def _mark(device: torch.device) -> torch.cuda.Event | None:
    """What a GPU passes when all that was asked of it before is done; None on a CPU, where it is."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
