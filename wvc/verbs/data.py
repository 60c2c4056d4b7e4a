"""The images of a task as a training or an evaluation wants them: by domain and by split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from wvc.errors import TaskProblem, TrainingProblem
from wvc.learning.pixels import Pixels
from wvc.learning.seeds import HOLDOUT, split
from wvc.progress import SILENT, Progress
from wvc.tasks import Task

NONE = "none"  # --test-domain none: train on all of them
TRANSFORM = "resize"  # what evaluation does to images: resized to a square, nothing else


@dataclass(frozen=True)
class Data:
    """Every domain of a task at one image size, cut by one trial.

    test: names of the domains that are held out of training.
    trial: which 80/20 split (design, Splits).
    limit: images per domain that `task` was cut down to, or None.
    """

    task: Task
    size: int
    test: tuple[str, ...]
    trial: int
    limit: int | None = None
    progress: Progress = SILENT

    @classmethod
    def cut(
        cls, task: Task, size: int, test: Sequence[str], trial: int, limit: int | None, progress: Progress = SILENT
    ) -> Self:
        """The data of `task`, or of the first `limit` images of each of its domains. Raises TaskProblem."""
        chosen = task if limit is None else task.limit(limit)
        return cls(chosen, size, check_domains(task, test), trial, limit, progress)

    def of(self, domain: str, part: str) -> Pixels:
        """One domain: "in" (80 %), "val" (20 %) or "all" of it."""
        index = self.task.domains.index(domain)
        images, labels = self.task.images(index, self.size, self.progress), self.task.labels[index]
        inside, outside = split(len(labels), self.trial, index)
        return Pixels(images, labels, {"in": inside, "val": outside, "all": None}[part])

    @property
    def seen(self) -> list[str]:
        """The domains that are trained on, in index order."""
        return [domain for domain in self.task.domains if domain not in self.test]

    def check_validation(self) -> None:
        """Raises TaskProblem where a domain that is trained on has no image to validate on."""
        for domain in self.seen:
            n = len(self.task.labels[self.task.domains.index(domain)])
            if n < HOLDOUT:
                raise TaskProblem(
                    f"domain {domain!r} has {n} images: too few to keep one for validation",
                    f"it takes {HOLDOUT}; hold the domain out with --test-domain, or add images",
                )

    def training(self) -> list[Pixels]:
        return [self.of(domain, "in") for domain in self.seen]

    def validation(self) -> dict[str, Pixels]:
        return {domain: self.of(domain, "val") for domain in self.seen}


def check_domains(task: Task, test: Sequence[str]) -> tuple[str, ...]:
    """The test domains in index order. Raises TaskProblem for an unknown one, or where none is left to train on."""
    for name in test:
        if name not in task.domains:
            raise TaskProblem(f"task {task.name!r} has no domain {name!r}", f"it has {', '.join(task.domains)}")
    if len(set(test)) == len(task.domains):
        raise TaskProblem("every domain is held out: none is left to train on", "name fewer with --test-domain")
    return tuple(name for name in task.domains if name in test)


def device_named(name: str) -> torch.device:
    """ "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1". Raises TrainingProblem where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainingProblem(f"unknown device {name!r}", "use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise TrainingProblem(f"device {name!r} is not supported", "use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingProblem(f"there is no GPU {name!r} here", "use --device cpu, or auto to take what there is")
    return device
