"""Hyperparameters as a function of a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from wvc.errors import TrainingProblem
from wvc.learning.seeds import seed_hash
from wvc.learning.spaces import GRIDS, LAWS, RandAugment


@dataclass(frozen=True)
class Hparams:
    """What the runs of one target differ in. The defaults are those of seed 0 in the spaces of DomainBed.

    learning_rate: the highest of the schedule, > 0.
    batch_size: images per step from each training domain.
    weight_decay: coupled L2 with Adam, decoupled with AdamW, >= 0.
    dropout: probability of zeroing a feature before the head, in [0, 1).
    optimizer: "adam" or "adamw". schedule: "constant" or "cosine", after `warmup_steps` updates of linear warm-up.
    clip: the largest norm of the gradient of all parameters, None for any.
    label_smoothing: share of the target that is spread over all classes, in [0, 1).
    augmentation: "minimal", "medium" or "strong"; None for the task's own. Strong is RandAugment.
    mixup: the alpha of the Beta law that images are mixed by; 0 for none.
    randaugment: its (N, M): how many operations, and how strong, in 0 .. 30; None for none.
    epochs: passes over the training images; None where the length of a run is not a hyperparameter.
    seed: of batches, augmentation and dropout; None for the seed of the run (seeds.run_seed).
    """

    learning_rate: float = 5e-5
    batch_size: int = 32
    weight_decay: float = 0.0
    dropout: float = 0.0
    optimizer: str = "adam"
    schedule: str = "constant"
    warmup_steps: int = 0
    clip: float | None = None
    label_smoothing: float = 0.0
    augmentation: str | None = None
    mixup: float = 0.0
    randaugment: RandAugment | None = None
    epochs: int | None = None
    seed: int | None = None


SOUP = Hparams(
    batch_size=512, weight_decay=0.1, optimizer="adamw", schedule="cosine", warmup_steps=500, clip=1.0, epochs=10
)
SPACES: Sequence[str] = (*LAWS, *GRIDS)


def draw(hparams_seed: int, trial_seed: int = 0, space: str = "mild") -> Hparams:
    """The hyperparameters of a seed, the same for every dataset and test domain (design, Trainings).

    mild, domainbed, eoa: seed 0 is not random: it has the defaults.
    soups-random: seed 0 draws like the others. The paper's "72 models" are 71 of these and the linear probe that they
    start from, which is a model of its own and no point of the space.
    soups-standard, soups-extreme: a seed is the place in `grid(space)`, whatever the trial.
    The soups have SOUP besides: AdamW, cosine, 10 epochs and batches of 512 from the paper, where ImageNet is the one
    domain (here, every domain gives as many); weight decay 0.1, 500 steps of warm-up and clipping at 1 from its
    released example and WiSE-FT's recipe. That all runs have the latter, the random ones too, is our reading.
    Each hyperparameter that is drawn has a generator of its own, so no draw depends on which others there are.
    space: one of SPACES. Raises TrainingProblem where there is none such, or a grid has no such place.

    Wortsman et al., Model soups, 2022, appendix J.2.1, https://arxiv.org/abs/2203.05482
    """
    if space in GRIDS:
        return _point(hparams_seed, space)
    if space not in LAWS:
        raise _unknown(space, SPACES)
    if hparams_seed == 0 and space != "soups-random":
        return Hparams()
    seed = seed_hash(hparams_seed, trial_seed)
    drawn = {name: law(np.random.RandomState(seed_hash(seed, name))) for name, law in LAWS[space].items()}
    return _soup(drawn) if space == "soups-random" else _reference(drawn)


def grid(space: str) -> tuple[Hparams, ...]:
    """All points of a grid, 48 in both of the paper, in the order of its lists; seeds change fastest, rates slowest.

    Raises TrainingProblem where `space` is no grid.
    """
    if space not in GRIDS:
        raise _unknown(space, tuple(GRIDS), "grid")
    lists = GRIDS[space]
    return tuple(
        replace(SOUP, learning_rate=rate, augmentation=name, randaugment=setting, mixup=mixup, seed=seed)
        for rate, (name, setting), mixup, seed in product(
            lists.learning_rates, lists.augmentations, lists.mixups, lists.seeds
        )
    )


def _point(place: int, space: str) -> Hparams:
    points = grid(space)
    if not 0 <= place < len(points):
        raise TrainingProblem(f"{space} has no seed {place}", f"it is a grid: choose from 0 to {len(points) - 1}")
    return points[place]


def _reference(drawn: Mapping[str, float]) -> Hparams:
    return Hparams(
        learning_rate=drawn["lr"],
        batch_size=int(drawn.get("batch_size", Hparams.batch_size)),
        weight_decay=drawn["weight_decay"],
        dropout=drawn["resnet_dropout"],
    )


def _soup(drawn: Mapping[str, float]) -> Hparams:
    setting = None if drawn["minimal"] else (int(drawn["randaugment_n"]), int(drawn["randaugment_m"]))
    return replace(
        SOUP,
        learning_rate=drawn["lr"],
        weight_decay=drawn["weight_decay"],
        label_smoothing=drawn["label_smoothing"],
        augmentation="strong" if setting else "minimal",
        mixup=drawn["mixup"],
        randaugment=setting,
        epochs=int(drawn["epochs"]),
    )


def _unknown(space: str, known: Sequence[str], what: str = "space") -> TrainingProblem:
    return TrainingProblem(f"unknown {what} of hyperparameters {space!r}", "choose one of " + ", ".join(known))
