"""A world small enough to hold in the head: two domains of random images, a network of one convolution."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.learning.settings import Result, Settings
from wvc.learning.state import State
from wvc.learning.train import train


class World:
    """Makes the same networks and images again and again."""

    device = torch.device("cpu")
    settings = Settings(steps=9, evaluate_every=3, batch_size=4, learning_rate=1e-2, seed=5, augmentation="none")

    def network(self, *, outputs: int = 3) -> Network:
        """conv - BatchNorm - ReLU - mean - linear."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            body = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            return Network(nn.Sequential(*body), nn.Linear(4, outputs))

    def pixels(self, n: int, seed: int) -> Pixels:
        """Noise of 3x8x8; the channel of its class is a little brighter."""
        random = np.random.default_rng(seed)
        labels = random.integers(0, 3, n)
        images = random.integers(0, 200, (n, 3, 8, 8), dtype=np.uint8)
        images[np.arange(n), labels] += 40
        return Pixels(images, labels)

    def training(self) -> list[Pixels]:
        return [self.pixels(20, 1), self.pixels(15, 2)]

    def validation(self) -> dict[str, Pixels]:
        return {"art": self.pixels(12, 3), "photo": self.pixels(9, 4)}

    def states(self, settings: Settings, network: Network | None = None) -> tuple[Result, dict[int, State]]:
        """A whole training and, by their step, the states saved after every update; a minute passes at each look."""
        ticks: Iterator[float] = iter(range(0, 10**9, 60))
        states: dict[int, State] = {}
        result = train(
            network or self.network(),
            self.training(),
            self.validation(),
            settings,
            device=self.device,
            save=lambda state: states.update({state.step: state}),
            clock=lambda: next(ticks),
        )
        return result, states

    @staticmethod
    def equal(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
        """Bit for bit."""
        return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and lose much where others use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
