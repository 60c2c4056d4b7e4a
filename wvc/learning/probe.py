"""The fast linear probe: a head fitted to the features of a featurizer that stays as it is.

The law of batches, the loss and the choice of the checkpoint are those of a training (design, Probes), but features
are computed once, from images without augmentation. The papers' own probe is `train` with `only_head`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wvc.errors import TrainingProblem
from wvc.learning.counts import Count, Counts, macro
from wvc.learning.evaluate import BATCH, SMALLER, evaluating, parts, right
from wvc.learning.losses import Losses
from wvc.learning.memory import advice
from wvc.learning.network import Network, Precision, computing, logits, place
from wvc.learning.pixels import Pixels, on_device
from wvc.learning.seeds import positions
from wvc.learning.settings import Result
from wvc.learning.state import Best, Entry, copies, entry
from wvc.progress import SILENT, Progress


@dataclass(frozen=True)
class ProbeSettings:
    """How to fit a head. The names mean what they mean in Settings."""

    steps: int = 1000
    evaluate_every: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """One domain, or one split of it, as the head sees it.

    values: float32 (n, F). labels: int64 (n,), on the same device.
    """

    values: Tensor
    labels: Tensor


def features(
    network: Network,
    pixels: Pixels,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    progress: Progress = SILENT,
) -> Features:
    """The features of all images, in their order: eval mode, no augmentation, before the dropout; on `device`."""
    place(network, device)
    values, labels = [], []
    progress.start("computing features", len(pixels), "images")
    try:
        # Not inference mode: the head's gradient will want to save these tensors.
        with advice("while computing features", SMALLER), evaluating(network), torch.no_grad():
            for chosen in parts(len(pixels), BATCH):
                images, classes = pixels.batch(chosen, device)
                with computing(device, precision):
                    values.append(network.features(images).float())
                labels.append(classes)
                progress.advance(len(chosen))
    finally:
        progress.stop()
    return Features(torch.cat(values), torch.cat(labels)) if values else _none(device)


def fit_head(
    head: nn.Module, training: Sequence[Features], validation: Mapping[str, Features], settings: ProbeSettings
) -> Result:
    """Fit `head` in place by Adam and return its best checkpoint, by macro validation accuracy, the earliest wins.

    head: linear or 1x1 convolutional, on the device of the features.
    Raises TrainingProblem if the loss is no number or there are no images.
    """
    if not training or not all(len(domain.labels) for domain in training):
        raise TrainingProblem("a training domain has no images", "leave it out, or look at the task's data")
    adam = torch.optim.Adam(head.parameters(), lr=settings.learning_rate, fused=True)
    best, losses = None, Losses()
    history: list[Entry] = []
    for step in range(settings.steps):
        losses.add(step, _update(head, adam, training, settings, step))
        if step % settings.evaluate_every == 0 or step == settings.steps - 1:
            counts = _measure(head, validation)
            history.append(entry(step, losses.mean(), counts))
            losses = Losses()
            if best is None or macro(counts) > best.score:
                best = Best(copies(head.state_dict()), step, macro(counts))
    if best is None:
        raise TrainingProblem("a probe of no steps has no result", "give at least one step")
    return Result(best.tensors, best.step, best.score, tuple(history))


def _update(
    head: nn.Module, adam: torch.optim.Adam, training: Sequence[Features], settings: ProbeSettings, step: int
) -> Tensor:
    """One update on a batch from every domain; its loss."""
    batches = []
    for domain, known in enumerate(training):
        chosen = positions(settings.seed, step, domain, len(known.labels), settings.batch_size)
        index = on_device(chosen, known.labels.device)
        batches.append((known.values.index_select(0, index), known.labels.index_select(0, index)))
    values, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    loss = F.cross_entropy(logits(head, values), labels)
    adam.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    adam.step()
    return loss.detach()


def _measure(head: nn.Module, validation: Mapping[str, Features]) -> Counts:
    counts = {}
    with torch.inference_mode():
        for name, known in validation.items():
            n = len(known.labels)
            counts[name] = Count(int(right(logits(head, known.values), known.labels)), n, n)
    return Counts(counts)


def _none(device: torch.device) -> Features:
    return Features(torch.empty(0, 0, device=device), torch.empty(0, dtype=torch.int64, device=device))
