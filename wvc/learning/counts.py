"""How many images were classified right, per domain, and the exact accuracies that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from wvc.errors import TrainingProblem

Metric = Literal["micro", "macro"]


@dataclass(frozen=True)
class Count:
    """One domain: 0 <= right <= seen <= total images.

    loss: sum of the cross-entropies of the images seen, in nats; 0 where nobody asked. Rounding makes it differ from
    machine to machine, so it has no part in whether two counts are equal.
    """

    right: int
    seen: int
    total: int
    loss: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Counts:
    """All domains of one evaluation, by name, in the order of their indices.

    The accuracies divide by the total: of a pass that ended early they are lower bounds, and `unseen_right` gives
    the upper ones.
    """

    domains: Mapping[str, Count]

    @property
    def complete(self) -> bool:
        return all(count.seen == count.total for count in self.domains.values())

    @property
    def unseen_right(self) -> Counts:
        """What it comes to at best: every image not yet seen is right."""
        best = {name: Count(c.right + c.total - c.seen, c.total, c.total) for name, c in self.domains.items()}
        return Counts(best)


def micro(counts: Counts) -> Fraction:
    """Accuracy over the pooled images of all domains, in [0, 1]. Raises TrainingProblem without images."""
    total = sum(count.total for count in counts.domains.values())
    if total == 0:
        raise _nothing()
    return Fraction(sum(count.right for count in counts.domains.values()), total)


def macro(counts: Counts) -> Fraction:
    """Unweighted mean of the accuracies of the domains that have images. Raises TrainingProblem without images."""
    shares = [Fraction(count.right, count.total) for count in counts.domains.values() if count.total]
    if not shares:
        raise _nothing()
    return sum(shares, Fraction(0)) / len(shares)


def cross_entropy(counts: Counts) -> float:
    """Unweighted mean over the domains of their mean cross-entropy, in nats. Raises TrainingProblem without images."""
    means = [count.loss / count.seen for count in counts.domains.values() if count.seen]
    if not means:
        raise _nothing()
    return sum(means) / len(means)


def accuracy(counts: Counts, metric: Metric) -> Fraction:
    """micro or macro, by name."""
    return micro(counts) if metric == "micro" else macro(counts)


def _nothing() -> TrainingProblem:
    return TrainingProblem("there are no images to evaluate on", "a domain needs 5 images to have one for validation")
