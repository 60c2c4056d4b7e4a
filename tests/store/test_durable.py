"""Durable writes: there whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wvc.errors import DiskProblem
from wvc.store import durable
from wvc.store.durable import Draft, create, disk, make_folder, replace, sweep

HOLD = """
import sys, time
from pathlib import Path
from wvc.store.durable import Draft
draft = Draft(Path(sys.argv[1]))
draft.write(b"half done", 0)
print(draft.path.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    return tmp_path / "tmp"


def full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_created_is_there_whole_and_read_only(tmp_path, tmp):
    create(tmp_path / "a", b"data", tmp)

    assert (tmp_path / "a").read_bytes() == b"data"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o444
    assert not list(tmp.iterdir())


def test_create_never_overwrites(tmp_path, tmp):
    create(tmp_path / "a", b"first", tmp)

    with pytest.raises(FileExistsError):
        create(tmp_path / "a", b"second", tmp)

    assert (tmp_path / "a").read_bytes() == b"first"
    assert not list(tmp.iterdir())


def test_create_does_not_write_through_a_symbolic_link(tmp_path, tmp):
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileExistsError):
        create(tmp_path / "a", b"data", tmp)

    assert not (tmp_path / "elsewhere").exists()


def test_replace_shows_the_old_file_or_the_new_one(tmp_path, tmp):
    replace(tmp_path / "a", b"old", tmp)

    replace(tmp_path / "a", b"new", tmp)

    assert (tmp_path / "a").read_bytes() == b"new"
    assert not list(tmp.iterdir())


def test_large_data_are_written_whole_even_where_the_system_writes_little_at_a_time(tmp_path, tmp, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1000], offset))
    data = os.urandom(12_345)

    create(tmp_path / "a", data, tmp)

    assert (tmp_path / "a").read_bytes() == data


@pytest.mark.parametrize("call", ["pwrite", "fsync", "link", "fchmod"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, tmp, monkeypatch, call):
    monkeypatch.setattr(os, call, full)

    with pytest.raises(DiskProblem, match="no space"), disk(tmp_path):
        create(tmp_path / "a", b"data", tmp)

    assert not (tmp_path / "a").exists()
    assert not list(tmp.iterdir())


@pytest.mark.parametrize("call", ["pwrite", "fsync", "fchmod"])
def test_a_full_disk_keeps_the_old_file(tmp_path, tmp, monkeypatch, call):
    replace(tmp_path / "a", b"old", tmp)
    monkeypatch.setattr(os, call, full)

    with pytest.raises(DiskProblem), disk(tmp_path):
        replace(tmp_path / "a", b"new", tmp)

    assert (tmp_path / "a").read_bytes() == b"old"
    assert not list(tmp.iterdir())


def test_a_real_limit_on_the_size_of_files_is_a_disk_problem(tmp_path, tmp):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DiskProblem, match="too large"), disk(tmp_path):
            create(tmp_path / "a", bytes(100_000), tmp)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert not (tmp_path / "a").exists()
    assert not list(tmp.iterdir())


def test_a_lost_reply_to_link_is_taken_for_what_it_was(tmp_path, tmp, monkeypatch):
    link = os.link

    def lost(*names: Path, **options: bool) -> None:
        link(*names, **options)
        raise FileExistsError(errno.EEXIST, "NFS sent it twice")

    monkeypatch.setattr(os, "link", lost)

    create(tmp_path / "a", b"data", tmp)

    assert (tmp_path / "a").read_bytes() == b"data"


def test_a_second_publication_that_fails_is_not_taken_for_the_first(tmp_path, tmp, monkeypatch):
    draft = Draft(tmp)
    draft.write(b"data", 0)
    draft.publish(tmp_path / "a")
    monkeypatch.setattr(os, "link", full)

    with pytest.raises(OSError):
        draft.publish(tmp_path / "b")

    draft.close()
    assert not (tmp_path / "b").exists()


def test_an_unexpected_refusal_stays_what_it_is():
    with pytest.raises(OSError) as caught, disk("place"):
        raise OSError(errno.EBADF, "a bug")

    assert not isinstance(caught.value, DiskProblem)


def test_sweep_removes_what_the_dead_left_and_spares_the_living(tmp_path, tmp):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp)], stdout=subprocess.PIPE, text=True) as living:
        assert living.stdout is not None
        name = living.stdout.readline().strip()
        with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp)], stdout=subprocess.PIPE, text=True) as dying:
            assert dying.stdout is not None
            dead = dying.stdout.readline().strip()
            dying.kill()

        sweep(tmp)
        left = [path.name for path in tmp.iterdir()]
        living.kill()

    assert left == [name] != [dead]


def test_sweep_spares_the_young_and_empty_which_may_be_about_to_be_locked(tmp):
    tmp.mkdir()
    young, old = tmp / f"1-{'0' * 16}", tmp / f"2-{'0' * 16}"
    young.touch()
    old.touch()
    os.utime(old, (time.time() - 3600,) * 2)

    sweep(tmp)

    assert list(tmp.iterdir()) == [young]


def test_sweep_touches_nothing_that_is_not_a_draft(tmp):
    tmp.mkdir()
    (tmp / "notes.txt").write_text("the user's own")

    sweep(tmp)

    assert (tmp / "notes.txt").exists()


def test_sweep_does_not_follow_a_link_out_of_the_repository(tmp_path, tmp):
    home = tmp_path / "home"
    home.mkdir()
    (home / f"7-{'0' * 16}").write_text("a letter")
    tmp.symlink_to(home)

    sweep(tmp)

    assert list(home.iterdir())


def test_sweep_of_a_folder_that_is_not_there_is_no_error(tmp):
    sweep(tmp)

    assert not tmp.exists()


def test_a_draft_that_cannot_be_removed_is_left_to_the_sweep(tmp_path, tmp, monkeypatch):
    def cannot(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "not now")

    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.unlink", cannot)
        create(tmp_path / "file", b"data", tmp)  # it is there: that is no failure
    assert [path.read_bytes() for path in tmp.iterdir()] == [b"data"]

    sweep(tmp)

    assert list(tmp.iterdir()) == []
    assert (tmp_path / "file").read_bytes() == b"data"


def test_new_folders_are_made_durable_from_the_first_that_was_there(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)

    assert make_folder(tmp_path / "a" / "b" / "c")
    assert not make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert set(synced) == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}


def test_folders_that_cannot_be_synced_are_accepted(tmp_path, monkeypatch):
    def cannot(fd: int) -> None:
        raise OSError(errno.EINVAL, "not this file system")

    monkeypatch.setattr(os, "fsync", cannot)

    durable.sync_folder(tmp_path)
