"""A repository with a history made by hand, and a way to run commands on it, without torch."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from wvc import console, main
from wvc.repo.objects import Attachment, Commit, Manifest, Parent, Tensor
from wvc.repo.repository import create
from wvc.repo.scores import Circumstances, Score
from wvc.store.records import Draft, Move

HOSTILE = "[/red]\x1b[31m[bold]\u202etxt\n\x9b2J\\"
MERGED = {
    "kind": "merge",
    "strategy": "linear",
    "candidates": [
        {"name": "run/0", "score": "9/10", "accepted": True},
        {"name": "run/1", "score": "8/10", "accepted": False, "seen": 40},
    ],
}
TRAINED = {
    "kind": "train",
    "task": {"name": "pacs", "fingerprint": "f" * 64},
    "test_domains": ["photo"],
    "settings": {"steps": 300, "learning_rate": "5e-05"},
    "history": [{"step": 100, "loss": "0.123456789", "score": "0.912345678", "domains": {"art": [30, 40]}}],
}


class Zoo:
    """A repository that commits are put into by hand.

    `names` remembers their ids by message, `numbers` the last number of their one tensor.
    """

    def __init__(self, path: Path) -> None:
        self.repository = create(path, Draft("init", "Ada", 1_700_000_000, default_branch="main"))
        self.names: dict[str, str] = {}
        self.numbers: dict[str, int] = {}

    def commit(
        self,
        message: str,
        branch: str | None,
        parents: Mapping[str, str] | Sequence[str] = (),
        how: Mapping[str, Any] | None = None,
        author: str = "Ada",
        number: int | None = None,
    ) -> str:
        """Put a commit, with parents by message (and coefficient), at the tip of `branch` if any; return its id.

        number: the last one of its tensor, by default another than in all commits before.
        """
        shares = parents if isinstance(parents, Mapping) else dict.fromkeys(parents, "1")
        made = tuple(Parent(self.names[name], Fraction(share)) for name, share in shares.items())
        generation = 1 + max((self.repository.commit(p.commit).generation for p in made), default=0)
        created = 1_700_000_000 + 60 * len(self.names)
        with self.repository.batch([(2, 2)], 8192) as batch:
            self.numbers[message] = len(self.names) if number is None else number
            data = struct.pack("<4f", 1, 2, 3, self.numbers[message])
            manifest = Manifest((Tensor("layer.weight", "F32", (2, 2), batch.add("F32", (2, 2), [data])),))
            batch.put(manifest.data)
            how = how or {"kind": "import"}
            commit = Commit(manifest.id, manifest.weights, made, author, created, generation, message, how)
            batch.put(commit.data)
            ref = f"refs/heads/{branch}"
            moves = [Move(ref, self.repository.refs.get(ref), commit.id)] if branch else []
            self.repository.record(batch, moves, f"{commit.kind}: by hand")
        self.names[message] = commit.id
        return commit.id

    def move(self, ref: str, id: str | None) -> None:
        """Let `ref`, a full name, name `id`."""
        self.repository.record(None, [Move(ref, self.repository.refs.get(ref), id)], "by hand")

    def score(self, message: str, right: int, total: int, split: str = "val") -> None:
        """Say that the commit `message` got `right` of `total` images of a task."""
        commit = self.repository.commit(self.names[message])
        score = Score(Circumstances(commit.weights, "f" * 64, 0, split, 64), {"art": (right, total)})
        self.say(score.attachment(commit.id))

    def say(self, attachment: Attachment) -> None:
        with self.repository.batch(objects=4096) as batch:
            id = batch.put(attachment.data)
            self.repository.record(batch, [], "by hand", [id])


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """base on main; run/0 and run/1 trained from it; soup merges both, main with coefficient 0. HEAD is main."""
    zoo = Zoo(tmp_path / "zoo")
    zoo.commit("base", "main")
    zoo.commit("first", "run/0", ["base"], TRAINED)
    zoo.commit("second", "run/1", ["base"], TRAINED)
    zoo.commit("soup", "soup", {"base": "0", "first": "1/2", "second": "1/2"}, MERGED)
    return zoo


@pytest.fixture
def hostile(tmp_path: Path) -> Zoo:
    """A repository whose author wants your terminal."""
    zoo = Zoo(tmp_path / "hostile")
    how = {"kind": f"train{HOSTILE}", "note": HOSTILE, "rows": [{"x": HOSTILE}], "task": {"name": HOSTILE}}
    zoo.commit(HOSTILE, "main", how=how, author=HOSTILE)
    zoo.commit("child", "main", [HOSTILE], {"kind": "import"}, HOSTILE)
    zoo.score(HOSTILE, 9, 10)
    zoo.say(Attachment("score", zoo.names[HOSTILE], {"domains": HOSTILE}))
    return zoo


class Run:
    """Run wvc in this process: exit code, stdout, stderr."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def __call__(self, *arguments: str) -> str:
        """stdout of a command that must succeed."""
        code, out, err = self.all(*arguments)
        assert code == 0, err
        return out

    def all(self, *arguments: str) -> tuple[int, str, str]:
        console.use_json(False)
        code = main.run(["-C", str(self.folder), *arguments])
        out, err = self._capture.readouterr()
        return code, out, err


@pytest.fixture
def run(zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """wvc in the zoo."""
    yield from running(zoo.repository.path, capsys, monkeypatch)


@pytest.fixture
def run_hostile(hostile: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """wvc in the hostile repository."""
    yield from running(hostile.repository.path, capsys, monkeypatch)


def running(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """wvc in the repository at `path`, in a world without configuration."""
    home = path.parent
    for name in ("WVC_AUTHOR", "SOURCE_DATE_EPOCH", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(home)  # and back at the end: -C changes the folder of this process
    yield Run(path, capsys)
    console.use_json(False)
