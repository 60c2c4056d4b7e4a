r"""Learn how to weigh models: minimise the validation loss of their average over its coefficients.

The loss is the cross-entropy of $\beta f(x; \sum_i \alpha_i \theta_i)$ with $\alpha = \mathrm{softmax}(a)$, over $a$
and the temperature $\beta$, with one $\alpha$ for whole models or one for each of their parts.

Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482, appendix I
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from wvc.errors import Diverged, TrainingProblem
from wvc.learning.evaluate import evaluating, parts, pooled
from wvc.learning.memory import advice
from wvc.learning.mixture import Granularity, Mixture
from wvc.learning.network import Network, Precision, computing, place
from wvc.learning.pixels import Indices, Pixels, hold
from wvc.learning.seeds import generator
from wvc.progress import SILENT, Progress

PARTS = 2**20  # coefficients are multiples of 1 / PARTS


@dataclass(frozen=True)
class Settings:
    """How to learn coefficients. The defaults are the paper's, which its released code has as 0.05 and 5 epochs.

    granularity: one vector of coefficients for whole models, for each layer (module), or for each tensor (as the code).
    learning_rate: AdamW's, constant; without weight decay, which would draw the temperature to 0.
    epochs: passes over the images, in a new order each.
    batch_size: images per step, of all domains together; the last batch of an epoch may be smaller.
    temperature: learn beta too; otherwise it is 1.
    """

    granularity: Granularity = "model"
    learning_rate: float = 0.1
    epochs: int = 3
    batch_size: int = 256
    seed: int = 0
    temperature: bool = True
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Learned:
    """What was learned.

    coefficients: name of a group -> one for each model, at least 0, multiples of 2^-20 that sum to exactly 1.
    groups: name of each tensor that is averaged -> name of its group.
    temperature: beta, by which the logits were multiplied; the decisions of a model do not depend on it.
    losses: mean cross-entropy over each epoch, in nats, before each update.
    """

    coefficients: Mapping[str, tuple[Fraction, ...]]
    groups: Mapping[str, str]
    temperature: float
    losses: tuple[float, ...]


def learn(
    network: Network,
    models: Sequence[Mapping[str, Tensor]],
    images: Mapping[str, Pixels],
    settings: Settings,
    *,
    device: torch.device,
    progress: Progress = SILENT,
    stopped: Callable[[], bool] = lambda: False,
) -> Learned:
    """Learn coefficients for `models` on `images`, which none of them should have been trained on.

    network: the place to average in, in eval mode; it ends with the last mixture.
    models: tensors by their names in the network's state dict. Each is read once; k differences are kept on `device`,
    beside the average and its gradient. Floating tensors are averaged, buffers too; the first model gives the others.
    stopped: asked before every step; True ends it with KeyboardInterrupt.
    On a CPU the result is a function of the arguments and the number of threads. Raises TrainingProblem where there are
    no models or images, memory runs out or the loss is no number, ModelProblem where a model does not fit.
    """
    n = sum(map(len, images.values()))
    if not models or not n:
        raise TrainingProblem("no models, or no images, to learn coefficients from", "name at least one of each")
    progress.start("learning coefficients", settings.epochs * n, "images")
    try:
        with advice("while learning coefficients", "average fewer models, or use a smaller --image-size"):
            place(network, device)
            hold(images.values(), device)
            mixture = Mixture(network, models, settings.granularity, device)
            learner = _Learner(mixture, network, list(images.values()), settings)
            with evaluating(network), _differentiable(network):
                losses = tuple(learner.epoch(number, progress, stopped) for number in range(settings.epochs))
            mixture.mix(learner.shares())
            found = dict(zip(mixture.names, map(fractions, learner.shares().tolist()), strict=True))
            return Learned(found, mixture.groups, learner.temperature.item(), losses)
    finally:
        progress.stop()


def fractions(shares: Sequence[float]) -> tuple[Fraction, ...]:
    """`shares`, at least 0 and of sum 1, in multiples of 2^-20 of sum exactly 1.

    All are rounded down; what is left over goes, one part each, to those that lost most, the first of equals.
    """
    whole = [math.floor(PARTS * share) for share in shares]
    lost = sorted(range(len(shares)), key=lambda i: whole[i] - PARTS * shares[i])
    for i in lost[: PARTS - sum(whole)]:
        whole[i] += 1
    return tuple(Fraction(part, PARTS) for part in whole)


def pulled_back(shares: Tensor, gradient: Tensor) -> Tensor:
    r"""$\partial L / \partial a_j = \alpha_j (g_j - \sum_i \alpha_i g_i)$, row by row: through the softmax."""
    return shares * (gradient - (shares * gradient).sum(dim=1, keepdim=True))


class _Learner:
    """The free numbers, and AdamW."""

    def __init__(self, mixture: Mixture, network: Network, sets: Sequence[Pixels], settings: Settings) -> None:
        self._mixture, self._network, self._sets, self._settings = mixture, network, sets, settings
        self._free = mixture.start()
        self.temperature = torch.ones_like(self._free[0, 0]).requires_grad_(settings.temperature)
        learners = [self._free, self.temperature] if settings.temperature else [self._free]
        self._adam = torch.optim.AdamW(learners, lr=settings.learning_rate, weight_decay=0.0)

    def shares(self) -> Tensor:
        """alpha, (groups, k)."""
        return self._free.softmax(dim=1)

    def epoch(self, number: int, progress: Progress, stopped: Callable[[], bool]) -> float:
        """The mean loss of one pass. Raises Diverged where it is no number."""
        n = sum(map(len, self._sets))
        order = generator(self._settings.seed, number, 0, "coefficients").permutation(n)
        total = torch.zeros_like(self._free[0, 0])
        for part in parts(n, self._settings.batch_size):
            if stopped():
                raise KeyboardInterrupt
            total += self._step(order[part]) * len(part)
            progress.advance(len(part))
        mean = float(total) / n  # the one wait for a GPU
        if not math.isfinite(mean):
            raise Diverged("the loss of the average is not a number", "try a lower learning rate")
        return mean

    def _step(self, positions: Indices) -> Tensor:
        """One update; the mean loss of the batch before it."""
        shares = self.shares()
        self._mixture.mix(shares)
        images, labels = pooled(self._sets, positions, self._free.device)
        self._network.zero_grad(set_to_none=True)
        self._adam.zero_grad(set_to_none=True)
        with computing(self._free.device, self._settings.precision):
            scores = self._network(images)
        loss = _cross_entropy(self.temperature * scores.to(torch.promote_types(scores.dtype, torch.float32)), labels)
        torch.autograd.backward(loss)
        self._free.grad = pulled_back(shares, self._mixture.gradient())
        self._adam.step()
        return loss.detach()


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over the rows of `scores` (B, classes); a single output is the log-odds of class 1."""
    if scores.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(scores[:, 0], labels.to(scores.dtype))
    return F.cross_entropy(scores, labels)


@contextmanager
def _differentiable(network: Network) -> Iterator[None]:
    """Every parameter has a gradient inside; outside, those that had before may."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_()
        yield
    finally:
        network.zero_grad(set_to_none=True)
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
