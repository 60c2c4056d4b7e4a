"""A small repository to spoil, and the commands that are interrupted in it."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from wvc.main import run
from wvc.repo.location import FOLDER
from wvc.repo.repository import Repository
from wvc.store.packs import Pack

KEPT = ("zoo", "pets", "new.safetensors", "over.safetensors")  # what a world begins with
EXPORT = "-C zoo export --force ../next.safetensors"


@dataclass(frozen=True)
class Operation:
    """A command as a user types it, in the folder of a world.

    place: the repository that it makes or changes.
    file: what it writes besides.
    next: a command that must work afterwards.
    """

    line: str
    place: str = "zoo"
    file: str | None = None
    next: str = "-C zoo tag next"

    @property
    def makes(self) -> bool:
        """True if the repository is not there before."""
        return self.place != "zoo"


OPERATIONS: Mapping[str, Operation] = {
    "init": Operation("init made --weights new.safetensors", "made", next="-C made tag next"),
    "clone": Operation("clone zoo copy", "copy", next="-C copy tag next"),
    "commit": Operation("-C zoo commit --weights ../new.safetensors -m new"),
    "import": Operation("-C zoo import ../new.safetensors --branch other"),
    "merge": Operation("-C zoo merge left right --select all"),
    "tag": Operation("-C zoo tag fresh"),
    "branch": Operation("-C zoo branch fresh"),
    "branch-rename": Operation("-C zoo branch -m main trunk"),
    "branch-delete": Operation("-C zoo branch -d left"),
    "switch": Operation("-C zoo switch left"),
    "reset": Operation("-C zoo reset HEAD~1"),
    "task": Operation("-C zoo task add pets ../pets"),
    "export": Operation("-C zoo export ../out.safetensors", file="out.safetensors", next=EXPORT),
    "export-folder": Operation("-C zoo export --format sharded ../out", file="out", next=EXPORT),
    "export-over": Operation("-C zoo export --force ../over.safetensors", file="over.safetensors", next=EXPORT),
}


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def command(folder: Path, line: str) -> Answer:
    """Run `wvc LINE` in `folder`, in this process."""
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(shlex.split(line))
    os.chdir(folder)
    return Answer(code, out.getvalue(), err.getvalue())


def build(folder: Path) -> None:
    """main with two commits, `left` and `right` beside it, all alike; a tag; a folder of images; weights to come."""
    save(folder / "0.safetensors", 0)
    _obey(folder, "init zoo --weights 0.safetensors")
    for seed, name in enumerate(("left", "right"), start=1):
        save(folder / "next.safetensors", seed)
        _obey(folder, f"-C zoo switch -c {name} main")
        _obey(folder, f"-C zoo commit --weights ../next.safetensors -m {name}")
    save(folder / "next.safetensors", 3)
    for line in ("switch main", "commit --weights ../next.safetensors -m main", "tag first HEAD~1"):
        _obey(folder, f"-C zoo {line}")
    save(folder / "new.safetensors", 4)
    shutil.copy(folder / "0.safetensors", folder / "over.safetensors")
    for name in ("0.safetensors", "next.safetensors"):
        (folder / name).unlink()
    _images(folder / "pets")
    if "delta" not in _codecs(folder / "zoo"):
        raise RuntimeError("no tensor in this world is stored as a difference")


def save(path: Path, seed: int) -> None:
    """Four tensors of a few KB, a small step away from those of seed 0."""
    first, step = np.random.default_rng(0), np.random.default_rng(seed)
    tensors = {"steps": np.array(seed)}
    for name, shape in (("a.weight", (40, 40)), ("a.bias", (40,)), ("b.weight", (300,))):
        tensors[name] = (first.normal(size=shape) + 1e-4 * seed * step.normal(size=shape)).astype(np.float32)
    save_file(tensors, path)


def restore(base: Path, folder: Path) -> None:
    """Make `folder` the world that was built at `base`."""
    os.chdir(base)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in KEPT:
        copy = shutil.copytree if (base / name).is_dir() else shutil.copyfile
        copy(base / name, folder / name)


@dataclass(frozen=True)
class State:
    """What commands change, without what is left to chance. None: not there.

    refs: of the repository. head: what HEAD says. settings: its configuration. file: what was written besides, by name.
    """

    refs: Mapping[str, str] | None
    head: str | None
    settings: str | None
    file: Mapping[str, bytes] | None

    @property
    def repository(self) -> tuple[object, object, object]:
        return self.refs, self.head, self.settings


def state(folder: Path, operation: Operation) -> State:
    """How the world is, as far as the operation could change it."""
    file = None if operation.file is None else _contents(folder / operation.file)
    place = folder / operation.place / FOLDER
    if not (place / "format").exists():
        return State(None, None, None, file)
    settings = _contents(place / "config.toml")
    text = None if settings is None else settings[""].decode().replace(str(folder), "")
    return State(dict(Repository(place.parent).refs), (place / "HEAD").read_text(), text, file)


def _contents(path: Path) -> Mapping[str, bytes] | None:
    """By name below `path`, which is "" for a file."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {each.name: each.read_bytes() for each in path.iterdir()} if path.is_dir() else None


def _codecs(path: Path) -> set[str]:
    """How the tensors of a repository are stored."""
    packs = [Pack(path / FOLDER / "packs", name) for name in Repository(path).log.head().packs]
    return {pack.stored(id).codec for pack in packs for id in pack.ids()}


def _obey(folder: Path, line: str) -> None:
    answer = command(folder, line)
    if answer.code:
        raise RuntimeError(f"{line}: {answer}")


def _images(folder: Path) -> None:
    for n, (domain, name) in enumerate((d, c) for d in ("photo", "sketch") for c in ("cat", "dog")):
        (folder / domain / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8, 3), 40 * n, np.uint8)).save(folder / domain / name / "0.png")
