"""A small world for verbs: a repository with a digits network, and tasks that need no files."""

from __future__ import annotations

import pytest

from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import task
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import init
from wvc.verbs.plan import Options
from wvc.verbs.probe import Form
from wvc.verbs.train import Trained, train

QUICK = Form(steps=20, learning_rate=1e-2)


class World:
    """A repository on whose branches small networks are trained in a fraction of a second."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    def branch(self, name: str, start: str) -> Repository:
        """The repository with HEAD on a new branch `name` that begins at `start`."""
        id = self.repository.refs[names.branch(start)]
        self.repository.record(None, [Move(names.branch(name), None, id)], f"branch: {name}")
        return self.repository.on(names.branch(name))

    def train(self, name: str, start: str, **options: object) -> Trained:
        """Fine-tune `start` for a few steps and commit the result on a new branch `name`."""
        values = {"task": "digits", "test_domains": ("0",), "steps": 6, "batch_size": 8, "learning_rate": 2e-3}
        return train(self.branch(name, start), Options(**{"probe": QUICK, "device": "cpu", **values, **options}))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """main: a network pre-trained on the source pool. run/0, run/1, run/2: fine-tuned on digits without angle 0."""
    path = tmp_path_factory.mktemp("world") / "zoo"
    repository = init(path, Foundation(architecture="digits_cnn", random=0))
    task.add(repository, "source", None, "digits", {"pool": "source", "rotations": [30, 60]})
    task.add(repository, "digits", None, "digits", {"rotations": [0, 30, 60]})
    train(repository, Options(task="source", steps=40, batch_size=32, learning_rate=5e-3, device="cpu"))
    made = World(repository)
    for i in range(3):
        made.train(f"run/{i}", "main", seed=i)
    return made
