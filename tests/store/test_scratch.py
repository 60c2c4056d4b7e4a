"""Scratch folders: gone when their maker is done or dead, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wvc.store.scratch import NAME, scratch, sweep

HOLD = """
import sys, time
from pathlib import Path
from wvc.store.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "half done").mkdir()
    print(folder.name, flush=True)
    time.sleep(60)
"""


def planted(parent: Path, *, age: float) -> Path:
    """A scratch folder that nobody has locked, so many seconds old."""
    folder = parent / f".wvc-1-{'0' * 16}"
    folder.mkdir()
    (folder / "file").touch()
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def test_it_is_there_for_the_while(tmp_path: Path):
    with scratch(tmp_path) as folder:
        (folder / "file").write_bytes(b"data")
        assert folder.parent == tmp_path
        assert NAME.fullmatch(folder.name)

    assert list(tmp_path.iterdir()) == []


def test_it_goes_with_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError), scratch(tmp_path):
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_what_the_dead_left_is_removed_and_the_living_are_spared(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dying:
        assert dying.stdout is not None
        dead = dying.stdout.readline().strip()
        dying.kill()
    assert [path.name for path in tmp_path.iterdir()] == [dead]

    with scratch(tmp_path) as living:
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [living]


def test_one_that_may_be_about_to_be_locked_is_spared(tmp_path: Path):
    young = planted(tmp_path, age=0)

    sweep(tmp_path)
    assert young.exists()

    os.utime(young, (time.time() - 3600,) * 2)
    sweep(tmp_path)
    assert not young.exists()


def test_nothing_else_is_touched(tmp_path: Path):
    folder = tmp_path / "here"
    home = tmp_path / "home"
    for path in (folder, home, folder / ".wvc", folder / ".wvc-notes"):
        path.mkdir()
    (home / "letter").touch()
    link = folder / f".wvc-2-{'0' * 16}"
    link.symlink_to(home)

    sweep(folder)

    assert (home / "letter").exists()
    assert {path.name for path in folder.iterdir()} >= {".wvc", ".wvc-notes"}


def test_a_lock_that_is_a_pipe_makes_nobody_wait(tmp_path: Path):
    folder = planted(tmp_path, age=3600)
    os.mkfifo(folder / "lock")

    sweep(tmp_path)


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path):
    sweep(tmp_path / "missing")
