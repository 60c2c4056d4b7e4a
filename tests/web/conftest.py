"""A repository that is served, a second one from which things are sent, and sockets that misbehave."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.store.canonical import dumps
from wvc.store.log import Log, compose
from wvc.store.packs import SUFFIX
from wvc.store.records import Draft, Move, State
from wvc.web.guard import Line
from wvc.web.serve import Options, Server, server
from wvc.web.tokens import create as create_token

from ..verbs.conftest import Shelf


class Answer:
    """status, headers (lower case) and body of an answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers.items()}, body

    def json(self) -> Any:
        return json.loads(self.body)


class Live:
    """A server in a thread of this process."""

    def __init__(self, repository: Repository, options: Options) -> None:
        self.repository, self.lines = repository, list[Line]()
        self.began, self.urls = threading.Event(), list[str]()
        self.server: Server = server(repository, options, self.lines.append, self._begin)
        self.thread = threading.Thread(target=self.server.go, daemon=True)
        self.thread.start()
        assert self.began.wait(30)
        self.url = self.urls[0]
        self.address = ("127.0.0.1", int(self.url.rsplit(":", 1)[1]))
        self.secret: str | None = None

    def _begin(self, started: Any) -> None:
        self.urls.append(started.url)
        self.began.set()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def token(self, name: str = "ada", scope: str = "push", **options: Any) -> str:
        """Make a token; requests are made with it from now on."""
        self.secret = create_token(self.repository.folder, name, scope, **{"actors": ["*"], **options})[1]
        return self.secret

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request over a connection of its own. headers: with `_` for `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.secret is not None:
            told.setdefault("Authorization", f"Bearer {self.secret}")
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, path, body, told)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def raw(self, data: bytes, wait: float = 30) -> bytes:
        """Send bytes, and read until the server hangs up."""
        with socket.create_connection(self.address, timeout=wait) as connection:
            connection.sendall(data)
            found = b""
            while piece := connection.recv(65536):
                found += piece
        return found

    def head(self) -> State:
        return Log(self.repository.folder / "log", self.repository.folder / "tmp").head()

    def put_pack(self, path: Path) -> Answer:
        return self.call("PUT", f"/packs/{path.name}", path.read_bytes())

    def put_record(self, data: bytes, number: int | None = None) -> Answer:
        number = json.loads(data)["number"] if number is None else number
        return self.call("PUT", f"/log/{number:012d}.json", data)


@pytest.fixture
def serve() -> Iterator[Callable[..., Live]]:
    """Starts servers, which are stopped at the end."""
    made: list[Live] = []

    def start(repository: Repository, **options: Any) -> Live:
        made.append(Live(repository, Options(port=0, **options)))
        return made[-1]

    yield start
    for live in made:
        live.stop()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """What is served: main with one commit."""
    made = Shelf(tmp_path / "served")
    made.put("main", {"a": [1.0, 2.0], "b": [3.0]})
    return made


class Sender:
    """A second repository that holds all of the first, and what is put into it afterwards."""

    def __init__(self, served: Shelf, path: Path) -> None:
        self.shelf = Shelf(path)
        self.served = served.repository
        repository = self.shelf.repository
        folder = repository.folder / "packs"
        packs = tuple(sorted(self.served.log.head().packs))
        for name in packs:
            (folder / (name + SUFFIX)).write_bytes((self.served.folder / "packs" / (name + SUFFIX)).read_bytes())
        moves = tuple(Move(ref, None, id) for ref, id in self.served.refs.items())
        repository.log.append(lambda _: Draft("all", "Ada", 0, moves, packs))

    def put(self, branch: str, tensors: Mapping[str, Any], **options: Any) -> tuple[Commit, Path]:
        """A new commit on `branch`, a child of main unless told otherwise, and the pack that it came in."""
        before = self.shelf.repository.log.head().packs
        commit = self.shelf.put(branch, tensors, **options)
        (name,) = self.shelf.repository.log.head().packs - before
        return commit, self.shelf.repository.folder / "packs" / (name + SUFFIX)


@pytest.fixture
def sender(shelf: Shelf, tmp_path: Path) -> Sender:
    return Sender(shelf, tmp_path / "sender")


def record(
    state: State, moves: Sequence[tuple[str, str | None, str | None]], packs: Sequence[Path] = (), **more: Any
) -> bytes:
    """A record that follows `state`."""
    names = tuple(path.name.removesuffix(SUFFIX) for path in packs)
    draft = Draft("push", "ada", 0, tuple(Move(*move) for move in moves), names, **more)
    return compose(state, draft)[1]


def changed(data: bytes, **fields: Any) -> bytes:
    """The same record with other values in it."""
    return dumps({**json.loads(data), **fields})
