"""Where repositories are, and whose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wvc.errors import NotARepository, NotOwner, UnknownFormat
from wvc.repo import location
from wvc.repo.repository import Repository


def test_a_repository_is_found_from_any_folder_below(repository):
    deep = repository.path / "a" / "b"
    deep.mkdir(parents=True)

    assert location.find(deep) == repository.folder
    assert Repository(deep).folder == repository.folder


def test_where_there_is_none_the_place_is_named(tmp_path):
    with pytest.raises(NotARepository, match=str(tmp_path)):
        location.find(tmp_path)


@pytest.mark.parametrize("text", ["wvc 2", "", "git", "wvc 1 and more"])
def test_another_format_is_refused(repository, text):
    (repository.folder / "format").write_text(text)

    with pytest.raises(UnknownFormat):
        location.find(repository.path)


def test_somebody_elses_repository_is_refused_until_it_is_trusted(repository, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)

    with pytest.raises(NotOwner, match=str(repository.path)):
        location.find(repository.path)

    monkeypatch.setenv("WVC_SAFE", f"/elsewhere{os.pathsep}{repository.path}")
    assert location.find(repository.path) == repository.folder


def test_somebody_elses_repository_may_be_read_as_a_source(repository, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)

    assert location.at(repository.path) == repository.folder


def test_trust_in_nothing_is_not_trust_in_the_current_folder(repository, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)
    monkeypatch.chdir(repository.path)
    monkeypatch.setenv("WVC_SAFE", os.pathsep)

    with pytest.raises(NotOwner):
        location.find(repository.path)


def test_the_lineage_lies_beside_the_packs_or_in_the_users_cache(repository, monkeypatch):
    assert location.lineage_path(repository.folder, "r") == repository.folder / "lineage.db"

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert location.lineage_path(repository.folder, "r") == location.user_cache() / "lineage-r.db"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_on_a_network_file_system_the_lineage_lies_in_the_users_cache(repository, monkeypatch, kind):
    line = f"36 35 98:0 / {repository.path} rw - {kind} server:/x rw\n21 1 0:1 / / rw - ext4 /dev/sda rw\n"
    read = Path.read_text
    mounts = "/proc/self/mountinfo"
    monkeypatch.setattr(Path, "read_text", lambda p, **k: line if str(p) == mounts else read(p, **k))

    assert location.lineage_path(repository.folder, "r").parent == location.user_cache()


def test_opening_another_ones_repository_as_a_source_changes_nothing_in_it(repository, tmp_path, save):
    save(1)
    (repository.folder / "tmp" / f"1-{'0' * 16}").write_text("of a dead writer")
    before = {p: p.read_bytes() for p in repository.folder.rglob("*") if p.is_file()}

    Repository.source(repository.path, tmp_path)

    assert {p: p.read_bytes() for p in repository.folder.rglob("*") if p.is_file()} == before
