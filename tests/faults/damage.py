"""Damage that fsck must report. Every harness relies on fsck, so fsck is put to the test before it is believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from wvc.repo.fsck import fsck
from wvc.repo.location import FOLDER
from wvc.repo.repository import Repository
from wvc.store.records import Move


def damaged_pack(path: Path) -> None:
    """The last byte that a pack holds, a tensor's, is another."""
    pack = next((path / FOLDER / "packs").iterdir())
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    _overwrite(pack, bytes(data))


def missing_pack(path: Path) -> None:
    next((path / FOLDER / "packs").iterdir()).unlink()


def damaged_record(path: Path) -> None:
    record = path / FOLDER / "log" / "000000000003.json"
    _overwrite(record, record.read_bytes().replace(b'"created":1', b'"created":2'))


def missing_record(path: Path) -> None:
    (path / FOLDER / "log" / "000000000003.json").unlink()


def missing_tensor(path: Path) -> None:
    """A manifest names a tensor that no pack has."""
    repository = Repository(path)
    manifest = repository.manifest(repository.head())
    missing = replace(manifest, tensors=(replace(manifest.tensors[0], id="0" * 64), *manifest.tensors[1:]))
    with repository.batch(objects=len(missing.data)) as batch:
        batch.put(missing.data)
        repository.record(batch, [], "a manifest")


def missing_commit(path: Path) -> None:
    """A branch names what is not there."""
    Repository(path).record(None, [Move("refs/heads/nowhere", None, "0" * 64)], "a branch")


def damaged_head(path: Path) -> None:
    (path / FOLDER / "HEAD").write_text("ref: refs/he")


def wrong_lineage(path: Path) -> None:
    """The projection has lost a commit, without losing its word for being up to date."""
    with closing(sqlite3.connect(path / FOLDER / "lineage.db")) as connection:
        connection.execute("DELETE FROM commits WHERE generation = 1")
        connection.commit()


DAMAGE: Mapping[str, Callable[[Path], None]] = {
    plant.__name__: plant
    for plant in (
        damaged_pack, missing_pack, damaged_record, missing_record, missing_tensor, missing_commit, damaged_head,
        wrong_lineage,
    )
}  # fmt: skip


def unreported(path: Path, restore: Callable[[], None]) -> list[str]:
    """What fsck does not report of the damage done, one after the other, to the repository at `path`."""
    found = []
    for name, plant in DAMAGE.items():
        restore()
        if fsck(Repository(path)).problems:
            found.append("something in a repository without damage")
        plant(path)
        if not fsck(Repository(path)).problems:
            found.append(name)
    restore()
    return found


def _overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
