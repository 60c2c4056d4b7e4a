"""Every random draw of a whole run, computed again with hashlib and NumPy alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from wvc.learning import run as loop
from wvc.verbs import task
from wvc.verbs.options import Options
from wvc.verbs.train import train

from .conftest import QUICK, World

H, TRIAL, STEPS = 3, 1, 20


def md5(*parts: object) -> int:
    return int(hashlib.md5(repr(parts).encode()).hexdigest(), 16) % 2**31


def key(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "little")


def philox(*parts: object) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key(*parts)))


def law(name: str) -> np.random.RandomState:
    return np.random.RandomState(md5(md5(H, TRIAL), name))


def training_images(world: World) -> list[np.ndarray]:
    """The training images of the two domains that are not held out, by the law of the splits."""
    loaded = task.load(world.repository, "digits").task
    found = []
    for domain in (1, 2):
        order = list(range(len(loaded.labels[domain])))
        np.random.RandomState(md5(TRIAL, domain)).shuffle(order)
        found.append(loaded.images(domain, 16)[order[len(order) // 5 :]])
    return found


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    """What the loop augments, with which numbers, and the seeds that it gives to torch."""
    found: dict[str, list] = {"images": [], "draws": [], "seeds": []}
    augment, seed_torch = loop.augment, loop._seed_torch

    def augmenting(images: torch.Tensor, draws: np.ndarray, kind: str) -> torch.Tensor:
        found["images"].append(images.clone())
        found["draws"].append(draws)
        return augment(images, draws, kind)

    def seeding(device: torch.device, seed: int) -> None:
        found["seeds"].append(seed)
        seed_torch(device, seed)

    monkeypatch.setattr(loop, "augment", augmenting)
    monkeypatch.setattr(loop, "_seed_torch", seeding)
    return found


def test_a_run_draws_what_its_definition_says(world: World, seen: dict[str, list]) -> None:
    options = Options(
        task="digits", test_domains=("0",), trial=TRIAL, steps=STEPS, hparams_seed=H, space="domainbed",
        augmentation="domainbed", device="cpu", probe=QUICK,
    )  # fmt: skip

    settings = train(world.branch("drawn", "main"), options).commit.how["settings"]

    seed, size = md5("digits", "ERM", [0], H, TRIAL), int(2 ** law("batch_size").uniform(3, 5.5))
    assert (settings["seed"], settings["batch_size"]) == (seed, size)
    assert settings["learning_rate"] == repr(float(10 ** law("lr").uniform(-5, -3.5)))
    assert settings["weight_decay"] == repr(float(10 ** law("weight_decay").uniform(-6, -2)))
    assert settings["dropout"] == repr(float(law("resnet_dropout").choice([0.0, 0.1, 0.5])))
    pools = training_images(world)
    for step in range(STEPS):
        chosen = [philox(seed, step, d, "batch").integers(0, len(pool), size=size) for d, pool in enumerate(pools)]
        images = np.concatenate([pool[i] for pool, i in zip(pools, chosen, strict=True)])
        draws = [philox(seed, step, d, "augmentation").random((size, 32)) for d in range(2)]
        assert torch.equal(seen["images"][step], torch.from_numpy(images).float() / 255)
        assert np.array_equal(seen["draws"][step], np.concatenate(draws))
    assert seen["seeds"] == [key(seed, step, "torch") % 2**63 for step in range(STEPS)]
