"""The server as a process: told to stop, killed in the middle of a pack, killed while it looks at a record."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException

import pytest

from wvc.repo.fsck import fsck
from wvc.repo.repository import Repository
from wvc.store.log import Log
from wvc.store.records import State

from ..verbs.conftest import Shelf
from .conftest import Live, Sender, record


class Process(Live):
    """`wvc serve` in a process of its own. said: what it printed."""

    def __init__(self, repository: Repository, *options: str) -> None:
        self.repository, self.secret = repository, None
        line = [sys.executable, "-m", "wvc", "-C", str(repository.path), "serve", "--port", "0", *options]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        assert found, self.said
        self.address = ("127.0.0.1", int(found[1]))

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Send a signal; exit code and what it said on stderr."""
        self.process.send_signal(how)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err

    def head(self) -> State:
        return Log(self.repository.folder / "log", self.repository.folder / "tmp").head()


@pytest.fixture
def start(shelf: Shelf) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def begin(*options: str) -> Process:
        made.append(Process(shelf.repository, *options))
        return made[-1]

    yield begin
    for one in made:
        one.process.kill()
        one.process.wait()
        for pipe in (one.process.stdout, one.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_peace(start: Callable[..., Process], how: signal.Signals):
    live = start("--log-format", "json")
    secret = live.token()
    live.call("GET", f"/log?after={secret}")

    code, err = live.end(how)

    assert code == 0
    (line,) = err.splitlines()
    assert json.loads(line)["path"] == "/log" and json.loads(line)["caller"] == "ada"
    assert secret not in err + live.said and "Traceback" not in err


def test_what_was_begun_is_brought_to_its_end(start: Callable[..., Process], shelf: Shelf, sender: Sender):
    live = start()
    _, pack = sender.put("run", {"a": [5.0]})
    data = pack.read_bytes()
    head = f"PUT /packs/{pack.name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()

    with socket.create_connection(live.address, timeout=30) as connection:
        connection.sendall(head + data[:100])
        time.sleep(0.3)
        live.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(data[100:])
        answer = connection.recv(4096)

    assert b" 201 " in answer
    assert live.process.wait(30) == 0


def test_killed_in_the_middle_of_a_pack(start: Callable[..., Process], shelf: Shelf, sender: Sender):
    commit, pack = sender.put("run", {"a": [float(i) ** 0.5 for i in range(500_000)]})
    data, path = pack.read_bytes(), f"/packs/{pack.name}"
    live = start()
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with socket.create_connection(live.address, timeout=30) as connection:
        connection.sendall(head + data[: len(data) // 2])
        time.sleep(0.5)
        live.end(signal.SIGKILL)

    live = start()
    there = int(live.call("HEAD", path).headers.get("content-length", "0"))
    sent = live.call("PUT", path, data[there:], Content_Range=f"bytes {there}-{len(data) - 1}/{len(data)}")

    assert 0 <= there <= len(data) // 2 and sent.status == 201
    assert live.put_record(record(live.head(), [("refs/heads/run", None, commit.id)], [pack])).status == 201
    assert fsck(Repository(shelf.repository.path)).problems == []


def test_killed_while_it_takes_a_record(
    start: Callable[..., Process], shelf: Shelf, sender: Sender, pytestconfig: pytest.Config
):
    """At moments spread over the time that it takes: the old state or the new one, and going on works."""
    count = 40 if pytestconfig.getoption("long") else 4
    live, parent, old = start(), "main", None
    for i in range(count):
        commit, pack = sender.put("run", {"a": [float(i), 5.0]}, start=parent)
        assert live.put_pack(pack).status == 201
        before = live.head()
        data = record(before, [("refs/heads/run", old, commit.id)], [pack])

        request = threading.Thread(target=_put_and_hang_up, args=(live, data))
        request.start()
        time.sleep(0.15 * i / count)
        live.end(signal.SIGKILL)
        request.join()

        happened = Repository(shelf.repository.path).refs.get("refs/heads/run") == commit.id
        assert happened == (live.head() != before)
        assert fsck(Repository(shelf.repository.path)).problems == []
        live = start()
        assert live.put_record(data).status == (200 if happened else 201)
        assert fsck(Repository(shelf.repository.path)).counts["packs that no transaction names"] == 0
        parent, old = "run", commit.id


def _put_and_hang_up(live: Live, data: bytes) -> None:
    with contextlib.suppress(OSError, HTTPException):
        live.put_record(data)


def test_two_servers_of_one_repository(start: Callable[..., Process], shelf: Shelf, sender: Sender):
    one, two = start(), start()
    commit, pack = sender.put("run", {"a": [5.0]})

    assert one.put_pack(pack).status == 201
    data = record(one.head(), [("refs/heads/run", None, commit.id)], [pack])

    assert (two.put_record(data).status, one.put_record(data).status) == (201, 200)
