"""Where work is done: here, or in processes that end with this one."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wvc.errors import TrainingProblem, WvcError
from wvc.learning.parallel import Engine, Failed, Here, Processes
from wvc.repo import kitchen
from wvc.repo.location import find


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(2, tmp_path / "workers")
    yield made
    made.close()


def results(engine: Engine, *wanted: str) -> dict[str, object]:
    """What came of the work called so."""
    found: dict[str, object] = {}
    while set(found) != set(wanted):
        found.update(engine.finished(60))
    return found


def test_here_one_thing_is_done_at_a_time_in_this_process():
    here = Here()

    here.submit("root", math.sqrt, 9.0)

    assert here.free == 0
    assert here.finished(0) == [("root", 3.0)]
    assert here.free == 1 and here.finished(0) == []


def test_processes_do_several_things_at_a_time_elsewhere(processes: Processes):
    for name in ("one", "two"):
        processes.submit(name, os.getpid)

    assert processes.free == 0
    pids = results(processes, "one", "two")
    assert len({*pids.values(), os.getpid()}) == 3
    assert processes.free == 2


def test_a_process_is_used_again(processes: Processes):
    processes.submit("one", os.getpid)
    first = results(processes, "one")["one"]

    processes.submit("two", os.getpid)

    assert results(processes, "two") == {"two": first}


def test_what_goes_wrong_elsewhere_is_told_here(processes: Processes, tmp_path: Path):
    processes.submit("find", find, tmp_path)
    with pytest.raises(Failed, match="not a wvc repository") as caught:
        results(processes, "find")
    assert isinstance(caught.value, WvcError) and "wvc init" in str(caught.value.hint)

    processes.submit("bug", math.sqrt, -1.0)
    with pytest.raises(Failed, match="internal error: ValueError"):
        results(processes, "bug")

    assert processes.free == 2


def test_a_process_that_dies_is_named(processes: Processes):
    processes.submit("run/0", os._exit, 1)

    with pytest.raises(TrainingProblem, match="run/0 died"):
        results(processes, "run/0")


def test_workers_hold_the_lock_as_long_as_they_live(processes: Processes, tmp_path: Path):
    processes.submit("one", os.getpid)
    results(processes, "one")

    with (tmp_path / "workers").open("a") as lock:
        assert not kitchen._taken(lock.fileno(), 0.1)
        processes.close()
        assert kitchen._taken(lock.fileno(), 0.1)


def test_what_is_at_work_is_told_to_end(processes: Processes):
    processes.submit("sleep", time.sleep, 600)
    process = processes._workers[0].process

    processes.close()

    assert process.exitcode == -signal.SIGTERM


ORPHANS = """
import sys, time
from pathlib import Path
from wvc.learning.parallel import Processes
if __name__ == "__main__":
    processes = Processes(1, Path(sys.argv[1]))
    processes.submit("sleep", time.sleep, 600)
    print(processes._workers[0].process.pid, flush=True)
    time.sleep(600)
"""


def test_workers_end_with_the_process_that_began_them_even_if_it_is_killed(tmp_path: Path):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    command = [sys.executable, str(tmp_path / "orphans.py"), str(tmp_path / "workers")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        _wait_until((tmp_path / "workers").exists)

        parent.kill()
        parent.wait()

    _wait_until(lambda: not Path(f"/proc/{worker}/stat").exists() or _state(worker) == "Z")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _wait_until(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
