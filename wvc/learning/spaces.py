"""The spaces that hyperparameters are drawn from: laws for random searches, lists for grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Law = Callable[[np.random.RandomState], float]
RandAugment = tuple[int, int]  # N operations of strength M


@dataclass(frozen=True)
class Grid:
    """Learning rates, augmentations (with what RandAugment has for them), mixups and seeds, each with each."""

    learning_rates: Sequence[float]
    seeds: Sequence[int]
    augmentations: Sequence[tuple[str, RandAugment | None]] = (("minimal", None), ("medium", None), ("strong", (2, 15)))
    mixups: Sequence[float] = (0.0, 0.5)


def _choice(*values: float) -> Law:
    return lambda random: float(random.choice(values))


def _power(base: float, low: float, high: float) -> Law:
    return lambda random: float(base ** random.uniform(low, high))


def _half_zero(high: float) -> Law:
    """0 half of the time, else uniform up to `high`."""
    return lambda random: 0.0 if random.uniform() < 0.5 else float(random.uniform(0, high))


# In the order of the reference code: MR's table 2 prints the weight decays the other way round.
LAWS: Mapping[str, Mapping[str, Law]] = {
    "mild": {
        "resnet_dropout": _choice(0.0, 0.1, 0.5),
        "lr": _choice(1e-5, 3e-5, 5e-5),
        "weight_decay": _choice(1e-4, 1e-6),
    },
    "domainbed": {
        "resnet_dropout": _choice(0.0, 0.1, 0.5),
        "lr": _power(10, -5, -3.5),
        "weight_decay": _power(10, -6, -2),
        "batch_size": _power(2, 3, 5.5),
    },
    "eoa": {  # Arpit et al., Ensemble of averages, 2022
        "resnet_dropout": _choice(0.0, 0.1, 0.5),
        "lr": _choice(5e-5),
        "weight_decay": _power(10, -6, -4),
    },
    "soups-random": {
        "lr": _power(10, -6, -4),
        "weight_decay": _power(10, -4, -0.2),
        "label_smoothing": _half_zero(0.25),
        "epochs": _choice(*range(4, 17)),
        "mixup": _half_zero(0.9),
        "minimal": _choice(1, 0, 0),
        "randaugment_n": _choice(*range(3)),
        "randaugment_m": _choice(*range(21)),
    },
}
GRIDS: Mapping[str, Grid] = {
    "soups-standard": Grid((3e-5, 2e-5, 1e-5, 3e-6), seeds=(0, 1)),
    # Eight rates, three augmentations and two mixups make the paper's 48 already: one seed is left.
    "soups-extreme": Grid((3e-4, 1e-4, 3e-5, 2e-5, 1e-5, 3e-6, 1e-6, 1e-7), seeds=(0,)),
}
