"""A cook that is killed, at any moment and with all its workers, ends as one that was not; no step is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from wvc.repo.fsck import fsck
from wvc.repo.kitchen import look
from wvc.repo.repository import Repository

RECIPE = """
schema = 1
name = "broth"
threads = 1
[options]
runs = 4
[axes]
run = "runs"
trial = 1
[[task]]
name = "source"
kind = "digits"
set = { pool = "source", rotations = [30] }
[[task]]
name = "digits"
kind = "digits"
set = { rotations = [0, 45] }
[[step]]
branch = "random"
create = { arch = "digits_cnn" }
[[step]]
branch = "main"
from = "random"
train = { task = "source", steps = 40, eval_every = 10, lr = 1e-3 }
[[step]]
branch = "probe"
from = "main"
probe = { task = "digits", test_domains = ["0"], probe_steps = 20 }
[[step]]
branch = "run/{run}"
each = ["run"]
from = "main"
after = ["probe"]

[step.train]
task = "digits"
test_domains = ["0"]
steps = 120
eval_every = 20
batch_size = 8
hparams_seed = "{run}"
probe_steps = 20

[[step]]
branch = "soup"
from = "main"
merge = { models = ["run/*"], select = "greedy", task = "digits" }
[table]
task = "digits"
over = "trial"
[[table.row]]
name = "soup"
models = ["soup"]
[[table.row]]
name = "ensemble"
models = ["run/*"]
ensemble = "logit"
"""
STEPS = 8


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A cook with two jobs, in a process group of its own."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1000", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "wvc", "cook", "../broth.toml", "--jobs", "2", "--device", "cpu", "--json"]
    with (folder / "out").open("ab") as out:
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=environment, start_new_session=True)


def cooked(folder: Path) -> Repository:
    process = start(folder)
    assert process.wait(600) == 0, (folder / "out").read_text()
    return Repository(folder / "broth")


def kill_when(process: subprocess.Popen[bytes], folder: Path, steps: int) -> None:
    """SIGKILL for the first process only, once `steps` steps are made and a training is under way."""
    until = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < until:
        if (folder / "broth" / ".wvc").is_dir():
            repository = Repository(folder / "broth")
            news = look(repository)
            working = news is not None and any(d.title == "training" and d.done > 5 for d in news.dishes)
            made = len([ref for ref in repository.refs if ref.startswith("refs/heads/")])
            if working and made >= steps:
                break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def trainings(repository: Repository) -> Counter[str]:
    """How often the log says that a branch got a trained commit."""
    said: Counter[str] = Counter()
    for number in range(1, repository.log.head().number + 1):
        record, _ = repository.log.read(number)
        if record.message.startswith("train: "):
            said.update(move.ref for move in record.moves)
    return said


@pytest.mark.parametrize("kills", [(3, 5)], ids=str)
def test_a_killed_cook_goes_on_and_ends_the_same(tmp_path: Path, kills: tuple[int, ...]):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    (tmp_path / "broth.toml").write_text(RECIPE)
    whole = cooked(tmp_path / "whole")

    for steps in kills:
        kill_when(start(tmp_path / "killed"), tmp_path / "killed", steps)
    killed = cooked(tmp_path / "killed")

    assert dict(killed.refs) == dict(whole.refs)
    assert len([ref for ref in killed.refs if ref.startswith("refs/heads/")]) == STEPS
    assert set(trainings(killed).values()) == {1}, "no step is done twice"
    assert trainings(killed) == trainings(whole)
    assert fsck(killed).problems == []
    assert look(killed) is None


def test_cooking_again_makes_nothing(tmp_path: Path):
    (tmp_path / "once").mkdir()
    (tmp_path / "broth.toml").write_text(RECIPE)
    number = cooked(tmp_path / "once").log.head().number

    assert cooked(tmp_path / "once").log.head().number == number
