"""Hyperparameters as a function of a seed, and which auxiliary model a run starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wvc.errors import TrainingProblem
from wvc.learning.seeds import seed_hash

Law = Callable[[np.random.RandomState], float]


@dataclass(frozen=True)
class Hparams:
    """What the runs of one target differ in. The defaults are those of seed 0.

    learning_rate: Adam's, constant, > 0.
    batch_size: images per step from each training domain.
    weight_decay: coupled L2, >= 0.
    dropout: probability of zeroing a feature before the head, in [0, 1).
    """

    learning_rate: float = 5e-5
    batch_size: int = 32
    weight_decay: float = 0.0
    dropout: float = 0.0


def _choice(*values: float) -> Law:
    return lambda random: float(random.choice(values))


def _power(base: float, low: float, high: float) -> Law:
    return lambda random: float(base ** random.uniform(low, high))


# In the order of the reference code: MR's table 2 prints the weight decays the other way round.
SPACES: Mapping[str, Mapping[str, Law]] = {
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
}


def draw(hparams_seed: int, trial_seed: int = 0, space: str = "mild") -> Hparams:
    """The hyperparameters of a seed, the same for every dataset and test domain (design, Trainings).

    Seed 0 is not random: it has the defaults. Each hyperparameter has a generator of its own, so no draw depends
    on which others there are.
    space: a key of SPACES. Raises TrainingProblem where there is none such.
    """
    if space not in SPACES:
        raise TrainingProblem(f"unknown space of hyperparameters {space!r}", "choose one of " + ", ".join(SPACES))
    if hparams_seed == 0:
        return Hparams()
    seed = seed_hash(hparams_seed, trial_seed)
    drawn = {name: law(np.random.RandomState(seed_hash(seed, name))) for name, law in SPACES[space].items()}
    return Hparams(
        learning_rate=drawn["lr"],
        batch_size=int(drawn.get("batch_size", Hparams.batch_size)),
        weight_decay=drawn["weight_decay"],
        dropout=drawn["resnet_dropout"],
    )


def assignment(h: int, pools: Sequence[int]) -> tuple[int, int] | None:
    """The auxiliary run that run number `h` of a target starts from: (pool, run in it), both counted from 0.

    pools: the number of finished runs of each auxiliary dataset, datasets sorted by name.
    None stands for the foundation itself. With i = h mod (m + 1) over m pools: the foundation for i = 0, else
    pool i - 1 and in it run h mod its size (design, Starts). Raises TrainingProblem where that pool is empty.
    """
    turn = h % (len(pools) + 1)
    if turn == 0:
        return None
    if pools[turn - 1] == 0:
        raise TrainingProblem(f"auxiliary pool {turn} has no finished run", "train one, or leave the pool out")
    return turn - 1, h % pools[turn - 1]
