"""The contract that every remote keeps.

What counts is what a record names. Before that, a folder shows a pack to everybody and a server to none but who sends
it, as far as it has come: the contract says nothing about it but that it cannot be written over.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wvc.errors import MissingObject, RemoteProblem
from wvc.remotes import Kind, Remote, folder, http
from wvc.store.log import Log

from ..verbs.conftest import Shelf
from ..web.conftest import Live, Sender, record

NOWHERE = f"{'a' * 64}.{'0' * 16}.safetensors"
NEXT = "000000000003.json"


@dataclass
class Door:
    """A remote with a base on it, and what belongs to a fine-tune of it that is not there yet."""

    remote: Remote
    pack: Path
    record: bytes
    others: list[bytes]

    def put(self, kind: Kind, name: str, data: bytes) -> bool:
        return self.remote.put(kind, name, io.BytesIO(data), len(data))

    def send(self) -> bytes:
        """Put the pack and then its record; the bytes of the pack."""
        data = self.pack.read_bytes()
        assert self.put("packs", self.pack.name, data) and self.put("log", NEXT, self.record)
        return data

    def read(self, kind: Kind, name: str, *span: int) -> bytes:
        return b"".join(self.remote.read(kind, name, *span))


@pytest.fixture(params=["folder", "http"])
def door(
    request: pytest.FixtureRequest, serve: Callable[..., Live], shelf: Shelf, sender: Sender, tmp_path: Path
) -> Iterator[Door]:
    commit, pack = sender.put("run", {"a": list(range(200_000)), "b": [3.0]})
    state = Log(shelf.repository.folder / "log", shelf.repository.folder / "tmp").head()
    one, *others = (record(state, [(f"refs/heads/run/{i}", None, commit.id)], [pack]) for i in range(16))
    if request.param == "folder":
        remote: Remote = folder.open(str(shelf.repository.path))
    else:
        live = serve(shelf.repository)
        remote = http.open(live.url, token=live.token())
    with remote:
        yield Door(remote, pack, one, others)


def test_what_was_put_comes_back_whole_and_in_parts(door: Door):
    data, name = door.send(), door.pack.name

    for kind, file, bytes_ in (("packs", name, data), ("log", NEXT, door.record)):
        assert door.remote.size(kind, file) == len(bytes_)
        assert door.read(kind, file) == bytes_
        assert door.read(kind, file, 100, 150) == bytes_[100:150]
        assert door.read(kind, file, len(bytes_) - 1, len(bytes_) + 5) == bytes_[-1:]
        assert door.read(kind, file, 7) == bytes_[7:]


def test_no_pack_is_written_over(door: Door):
    data, name = door.pack.read_bytes(), door.pack.name
    other = data[:-1] + bytes([data[-1] ^ 1])

    for finish in (lambda: door.put("packs", name, data), door.send):
        finish()
        assert not door.put("packs", name, other)
        assert door.put("packs", name, data)  # the very same bytes, as after a lost reply
    assert door.read("packs", name) == data


def test_no_record_is_written_over(door: Door):
    door.send()

    assert not door.put("log", NEXT, door.others[0])
    assert door.put("log", NEXT, door.record)
    assert door.read("log", NEXT) == door.record


def test_one_of_many_who_put_at_once_wins(door: Door):
    door.put("packs", door.pack.name, door.pack.read_bytes())
    won, begin = [], threading.Barrier(len(door.others))

    def race(data: bytes) -> None:
        begin.wait()
        if door.put("log", NEXT, data):
            won.append(data)

    racers = [threading.Thread(target=race, args=(data,)) for data in door.others]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert len(won) == 1
    assert door.read("log", NEXT) == won[0]


def test_names_are_listed_in_order_and_after_one(door: Door):
    before = door.remote.names("packs")
    door.send()

    packs = door.remote.names("packs")
    assert packs == sorted({*before, door.pack.name})
    assert door.remote.names("packs", after=packs[0]) == packs[1:]
    assert door.remote.names("log") == ["000000000001.json", "000000000002.json", NEXT]
    assert door.remote.names("log", after="000000000002.json") == [NEXT]


def test_what_is_not_there_is_said_to_be_missing(door: Door):
    for kind, name in (("packs", NOWHERE), ("log", "000000000099.json")):
        assert door.remote.size(kind, name) is None
        with pytest.raises(MissingObject):
            door.read(kind, name)


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..", "", "x.safetensors", f"{'a' * 64}.json", "CON", "a\0b"]
)
def test_names_that_are_none_lead_nowhere(door: Door, tmp_path: Path, name: str):
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    for kind in ("packs", "log"):
        assert door.remote.size(kind, name) is None
        with pytest.raises((MissingObject, RemoteProblem)):
            door.put(kind, name, b"evil")
        with pytest.raises((MissingObject, RemoteProblem)):
            door.read(kind, name)

    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_half_of_a_file_never_counts(door: Door):
    data, name = door.pack.read_bytes(), door.pack.name

    with pytest.raises(RemoteProblem):
        door.remote.put("packs", name, io.BytesIO(data[: len(data) // 2]), len(data))

    assert name not in door.remote.names("packs")
    assert door.send() == door.read("packs", name)  # and does not stand in the way of the whole


def test_a_probe_holds_and_leaves_nothing(door: Door, tmp_path: Path):
    before = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".json", ".safetensors"))

    assert all(held for _, held in door.remote.probe())
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix in (".json", ".safetensors")) == before
