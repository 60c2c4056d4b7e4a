"""What a training looks at between its updates: the validation images, and all others if that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from wvc.learning.augment import Varied
from wvc.learning.counts import Counts
from wvc.learning.evaluate import measure
from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.learning.settings import Settings

Stopped = Callable[[], bool]
Others = Mapping[tuple[str, str], Pixels]  # by names of domain and split ("in", "val")
Every = dict[str, dict[str, list[int]]]

PURPOSES = {"val": "validation", "in": "training"}  # what the draws of a split are for


@dataclass(frozen=True)
class Seen:
    """One complete look. counts: of the validation images.

    every: domain -> split -> [right, total], of all that was looked at; None unless all images are wanted.
    """

    counts: Counts
    every: Every | None


class Validation:
    """The images that a network is evaluated on while it is trained.

    images: validation images by name of the training domain, in the order of the training domains.
    others: everything else, looked at only where settings.evaluate_all.
    """

    def __init__(
        self, network: Network, images: Mapping[str, Pixels], others: Others, settings: Settings, device: torch.device
    ) -> None:
        self._network, self._settings, self._device = network, settings, device
        self._images = images
        self._others = others if settings.evaluate_all else {}

    def sets(self) -> Iterator[Pixels]:
        """All images that are looked at."""
        yield from self._images.values()
        yield from self._others.values()

    def look(self, step: int, stopped: Stopped) -> Seen | None:
        """Evaluate after update number `step`, as the settings say. None where Ctrl-C came first."""
        images = {name: self._varied(name, "val", pixels, step) for name, pixels in self._images.items()}
        counts = self._count(images, stopped)
        others = {f"{part}/{name}": self._varied(name, part, p, step) for (name, part), p in self._others.items()}
        beside = self._count(others, stopped) if others else Counts({})
        if not (counts.complete and beside.complete):
            return None
        return Seen(counts, self._every(counts, beside) if self._settings.evaluate_all else None)

    def plain(self, stopped: Stopped) -> Counts | None:
        """The validation images without augmentation. None where Ctrl-C came first."""
        counts = self._count(self._images, stopped)
        return counts if counts.complete else None

    def _varied(self, domain: str, part: str, pixels: Pixels, step: int) -> Pixels:
        """As the papers' code has it, images of a training domain are augmented wherever they are looked at."""
        if not self._settings.validate_augmented or domain not in self._images:
            return pixels
        index = list(self._images).index(domain)
        return Varied(pixels, self._settings.augmentation, (self._settings.seed, step, index, PURPOSES[part]))

    def _count(self, images: Mapping[str, Pixels], stopped: Stopped) -> Counts:
        return measure(
            self._network,
            images,
            device=self._device,
            precision=self._settings.precision,
            keep_going=lambda counts: not stopped(),
        )

    @staticmethod
    def _every(counts: Counts, beside: Counts) -> Every:
        every: Every = {}
        for key, count in beside.domains.items():
            part, _, name = key.partition("/")
            every.setdefault(name, {})[part] = [count.right, count.total]
        for name, count in counts.domains.items():
            every.setdefault(name, {})["val"] = [count.right, count.total]
        return every
