"""Every random draw as a pure function of what it is for: splits, batches, augmentation, dropout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

HOLDOUT = 5  # one image in five validates


def seed_hash(*args: object) -> int:
    """MD5 of the text of the Python tuple of `args`, as an integer modulo 2^31 (DomainBed; design, Splits)."""
    return int(hashlib.md5(str(args).encode("utf-8"), usedforsecurity=False).hexdigest(), 16) % 2**31


def run_seed(dataset: str, test_domains: Sequence[int], hparams_seed: int, trial_seed: int) -> int:
    """The seed of one training, from dataset name and indices of its test domains (design, Trainings)."""
    return seed_hash(dataset, "ERM", [int(domain) for domain in test_domains], hparams_seed, trial_seed)


def split(n: int, trial: int, env: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, val): indices of the training and of the validation images of a domain, floor(n / 5) of these.

    The split depends on the trial and the index of the domain only (design, Splits).
    """
    indices = list(range(n))
    np.random.RandomState(seed_hash(trial, env)).shuffle(indices)
    shuffled = np.array(indices, dtype=np.int64)
    return shuffled[n // HOLDOUT :], shuffled[: n // HOLDOUT]


def generator(run_seed: int, step: int, domain: int, purpose: str) -> np.random.Generator:
    """A fresh generator for one purpose ("batch", "augmentation") in one domain at one step of a run."""
    return np.random.Generator(np.random.Philox(key=_key(run_seed, step, domain, purpose)))


def positions(run_seed: int, step: int, domain: int, n: int, size: int) -> NDArray[np.int64]:
    """The batch of one domain at one step: `size` positions in 0 .. n-1, uniform, with replacement (design, Draws)."""
    return generator(run_seed, step, domain, "batch").integers(0, n, size=size, dtype=np.int64)


def torch_seed(run_seed: int, step: int) -> int:
    """What torch's own generators are seeded with before a step: dropout and stochastic depth draw from them."""
    return _key(run_seed, step, "torch") % 2**63


def _key(*parts: object) -> int:
    """128 bits of the SHA-256 of the parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode("utf-8")).digest()[:16], "little")
