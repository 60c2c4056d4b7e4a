"""A small world for verbs: a repository with a digits network, and tasks that need no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wvc import weights
from wvc.repo import commits, names
from wvc.repo.objects import Commit, Manifest, ModelSpec, Parent
from wvc.repo.repository import Repository, create
from wvc.repo.revisions import resolve
from wvc.store.records import Draft, Move
from wvc.verbs import task
from wvc.verbs.blend import Options as Stated
from wvc.verbs.blend import blend
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import init
from wvc.verbs.plan import Options
from wvc.verbs.probe import Form
from wvc.verbs.train import Trained, train
from wvc.weights import Weights

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


class Shelf:
    """A repository that models are put into by hand. HEAD is main, the root of all."""

    def __init__(self, path: Path) -> None:
        self.repository = create(path, Draft("init", "Ada", 0, default_branch="main"))
        self.start = "main"  # of the branches that merges are made on

    def put(
        self,
        branch: str,
        tensors: Mapping[str, Any],
        *,
        classes: Sequence[str] = (),
        how: Mapping[str, Any] | None = None,
        root: bool = False,
        start: str = "main",
    ) -> Commit:
        """Commit `tensors` to a branch as a child of `start`; with `classes`, as a model whose head is "head"."""
        refs = self.repository.refs
        parent = refs.get(names.branch(start), refs.get(names.branch("main")))
        parents = [] if parent is None or root else [Parent(parent)]
        spec = ModelSpec("digits/digits_cnn", len(classes), tuple(classes), "head") if classes else None
        values = {name: torch.as_tensor(value) for name, value in tensors.items()}
        with self.repository.batch([t.shape for t in values.values()], 1 << 14) as batch:
            manifest = Manifest(weights.store(batch, values), spec=spec)
            commit = commits.make(self.repository, manifest, parents, branch, {"kind": "train", **(how or {})})
            commits.put(self.repository, batch, manifest, commit)
            commits.record(self.repository, batch, commit, ref=names.branch(branch), old=refs.get(names.branch(branch)))
        return commit

    def tip(self, revision: str) -> Commit:
        return self.repository.commit(resolve(self.repository, revision))

    def keep(self, branch: str, commit: Commit) -> None:
        """A new branch at `commit`."""
        self.repository.record(None, [Move(names.branch(branch), None, commit.id)], "keep")

    def fresh(self) -> Repository:
        """With HEAD on a new branch at `start`."""
        ref = names.branch(f"made/{len(self.repository.refs)}")
        self.repository.record(None, [Move(ref, None, self.tip(self.start).id)], "fresh")
        return self.repository.on(ref)

    def restate(self, commit: Commit, how: Mapping[str, Any]) -> Commit:
        """The same commit, with something else in its `how`."""
        other = replace(commit, how=how)
        with self.repository.batch([], 1 << 16) as batch:
            batch.put(other.data)
            ref = names.branch(f"made/{len(self.repository.refs)}")
            commits.record(self.repository, batch, other, ref=ref, old=None)
        return other

    def flip(self, id: str) -> None:
        """Change one byte of a stored entry."""
        (name,) = self.repository.packs_with(id)
        pack = self.repository.reader.pack(name)
        place = pack.entries[id].start + (pack.entries[id].stop - pack.entries[id].start) // 2
        data = bytearray(pack.path.read_bytes())
        data[place] ^= 1
        pack.path.chmod(0o644)
        pack.path.write_bytes(data)

    def bytes(self) -> int:
        """On disk, in packs."""
        return sum(path.stat().st_size for path in (self.repository.folder / "packs").iterdir())

    def blend(self, *revisions: str, **options: Any) -> Commit:
        commit = blend(self.repository, revisions, Stated(**options)).commit
        assert commit is not None
        return commit

    def tensors(self, commit: Commit) -> dict[str, torch.Tensor]:
        return dict(Weights.of(self.repository, self.repository.manifest(commit)))


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
