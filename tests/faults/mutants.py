"""Ways for wvc to be wrong, each of which a harness must notice: whoever sees nothing in these sees nothing."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import Connection

from wvc.repo import fsck, lineage
from wvc.repo.lineage import Lineage
from wvc.repo.repository import Repository
from wvc.store.durable import Draft, sync_folder

publish, record = Draft.publish, Repository.record
fsync = os.fsync


def record_first() -> AbstractContextManager[object]:
    """Packs get their names after the record that announces them."""
    waiting: list[tuple[Draft, Path]] = []

    def later(self: Draft, target: Path) -> None:
        if target.parent.name == "packs":
            waiting.append((self, target))
            return
        publish(self, target)
        while waiting:
            publish(*waiting.pop())

    return mock.patch.object(Draft, "publish", later)


def in_place() -> AbstractContextManager[object]:
    """Files are written under their final name."""

    def write(self: Draft, target: Path) -> None:
        data = self.path.read_bytes()
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(fd, data)
        os.fsync(fd)
        os.close(fd)
        sync_folder(target.parent)

    return mock.patch.object(Draft, "publish", write)


def acknowledged_early() -> AbstractContextManager[object]:
    """The user hears 'done' before it is."""

    def tell_first(self: Repository, *args: Any, **options: Any) -> Any:
        sys.stdout.write("done\n")
        sys.stdout.flush()
        return record(self, *args, **options)

    return mock.patch.object(Repository, "record", tell_first)


def stale_lineage() -> AbstractContextManager[object]:
    """A lineage that lags behind the log is believed."""

    def believe(self: Lineage) -> Connection:
        with self._engine.connect() as connection:
            known = lineage._applied(connection)
        if known is None:
            self.update()
        return self._engine.connect()

    return mock.patch.object(Lineage, "read", believe)


def synced_twice() -> AbstractContextManager[object]:
    """An fsync that failed is tried again, and believed."""

    def again(fd: int) -> None:
        try:
            fsync(fd)
        except OSError:
            fsync(fd)

    return mock.patch("os.fsync", again)


def drafts_left() -> AbstractContextManager[object]:
    """Nobody sweeps."""
    return mock.patch("wvc.repo.repository.sweep", lambda folder: None)


def export_in_place() -> AbstractContextManager[object]:
    """An export is written under its final name."""

    @contextlib.contextmanager
    def here(path: Path, *, force: bool = False) -> Iterator[Path]:
        yield path

    return mock.patch("wvc.repo.targets.file", here)


def no_file_synced() -> AbstractContextManager[object]:
    """Folders are synced, files are not."""
    return mock.patch("os.fsync", lambda fd: fsync(fd) if _is_folder(fd) else None)


def no_folder_synced() -> AbstractContextManager[object]:
    """Files are synced, folders are not."""
    return mock.patch("os.fsync", lambda fd: None if _is_folder(fd) else fsync(fd))


def no_parent_synced() -> AbstractContextManager[object]:
    """A new folder is synced, the one that it lies in is not."""

    def make(path: Path) -> bool:
        missing = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        return missing

    stack = contextlib.ExitStack()
    for module in ("wvc.repo.repository", "wvc.verbs.start", "wvc.verbs.clone"):
        stack.enter_context(mock.patch(f"{module}.make_folder", make))
    return stack


def _is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def unchecked(name: str) -> Callable[[], AbstractContextManager[object]]:
    """fsck without one of its checks."""
    return lambda: mock.patch.object(fsck, name, lambda *args, **kwargs: None)


MUTANTS: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
    "record-first": record_first,
    "in-place": in_place,
    "acknowledged-early": acknowledged_early,
    "stale-lineage": stale_lineage,
    "synced-twice": synced_twice,
    "drafts-left": drafts_left,
    "export-in-place": export_in_place,
    "no-file-synced": no_file_synced,
    "no-folder-synced": no_folder_synced,
    "no-parent-synced": no_parent_synced,
    **{f"fsck{name.replace('_', '-')}": unchecked(name) for name in ("_check_links", "_check_refs", "_check_lineage")},
}


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """wvc, wrong in one way."""
    with MUTANTS[name]():
        yield
