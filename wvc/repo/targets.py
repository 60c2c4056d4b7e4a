"""Where an export appears: it is written aside, and takes its place once all of it is known to be right."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wvc.errors import WvcError
from wvc.repo.index import SUFFIX
from wvc.repo.safefile import SAFE
from wvc.store.durable import disk, sync_folder
from wvc.store.scratch import NAME, scratch

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Stage:
    """A new folder in which files are written. Names are relative, with "/" between parts, and known to be safe."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self._fd = os.open(path, FOLDER | os.O_NOFOLLOW)

    def create(self, name: str) -> int:
        """A descriptor of a new file, open for writing; the folders that it lies in are made."""
        *above, last = name.split("/")
        with _below(self._fd, above) as folder:
            return os.open(last, NEW, 0o666, dir_fd=folder)

    def move(self, name: str, fd: int) -> None:
        """Move a file to its place below the folder `fd`, where another of its name gives way to it."""
        *above, last = name.split("/")
        with _below(self._fd, above) as source, _below(fd, above) as target:
            os.rename(last, last, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write a file to, which is renamed to `path` when the `with` ends without an error.

    Raises WvcError if there is something already: a file gives way with `force`.
    """
    _check_parent(path)
    if os.path.lexists(path) and (path.is_dir() or not force):
        hint = "name a file in it" if path.is_dir() else "choose another name, or --force to overwrite it"
        raise WvcError(f"{path} exists", hint)
    with disk(path), scratch(path.parent) as aside:
        yield aside / "file"
        (aside / "file").replace(path)
        sync_folder(path.parent)


@contextlib.contextmanager
def folder(path: Path, names: Sequence[str], *, force: bool = False) -> Iterator[Stage]:
    """A stage to write the files `names` to, which lie below `path` when the `with` ends without an error.

    A folder that is not there yet appears at once, whole. Into one that is there, which must be empty but with `force`,
    they are moved one by one, in this order. Raises WvcError if something is in the way.
    """
    _check_parent(path)
    check_folder(path, names, force=force)
    inside = path.is_dir()
    with disk(path), scratch(path if inside else path.parent) as aside:
        with contextlib.closing(Stage(aside / "files")) as stage:
            yield stage
            (_move_into if inside else _rename)(stage, path, names)
        sync_folder(path.parent)


def check_folder(path: Path, names: Sequence[str], *, force: bool) -> list[str]:
    """Those of `names` that are there already and will be replaced. Raises WvcError where that may not be."""
    if not os.path.lexists(path):
        return []
    if not path.is_dir():
        raise WvcError(f"{path} exists and is no folder", "choose another name")
    present = sorted(child.name for child in path.iterdir() if not NAME.fullmatch(child.name))
    if present and not force:
        raise WvcError(f"{path} exists and is not empty", "name a new folder, or --force to write into this one")
    strange = [name for name in present if name.endswith((SAFE, SAFE + SUFFIX)) and name not in names]
    if strange:  # whoever loads the folder would mix the two, or load the wrong one
        raise WvcError(f"{path} holds other weights: {', '.join(strange[:3])}", "remove them, or name another folder")
    for name in names:
        _check_place(path, name)
    return [name for name in names if os.path.lexists(path / name)]


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise WvcError(f"{path.parent}: no such folder", "make it first")


def _check_place(path: Path, name: str) -> None:
    """Raises WvcError unless a file can be put at `name` below `path` without following a link."""
    *above, _ = name.split("/")
    place = path
    for part in above:
        place = place / part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise WvcError(f"{place} is in the way: it is no folder", "move it away, or name another folder")
    if (path / name).is_dir() and not (path / name).is_symlink():
        raise WvcError(f"{path / name} is in the way: it is a folder", "move it away, or name another folder")


def _rename(stage: Stage, path: Path, names: Sequence[str]) -> None:
    for above, _, _ in os.walk(stage.path):
        sync_folder(Path(above))
    try:
        stage.path.rename(path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        raise WvcError(f"{path} was made by somebody else meanwhile", "choose another name") from None


def _move_into(stage: Stage, path: Path, names: Sequence[str]) -> None:
    fd = os.open(path, FOLDER)
    try:
        for name in names:
            stage.move(name, fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _below(fd: int, parts: Sequence[str]) -> Iterator[int]:
    """A descriptor of the folder that lies at `parts` below `fd`, made where it is missing. Links are not followed."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=fd)
            fd = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            stack.callback(os.close, fd)
        yield fd
