"""The contract that every remote keeps."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wvc.errors import MissingObject, RemoteProblem
from wvc.remotes import Remote, folder
from wvc.repo.repository import create
from wvc.store.records import Draft

PACK = f"{'a' * 64}.{'0' * 16}.safetensors"
OTHER = f"{'b' * 64}.{'0' * 16}.safetensors"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    create(tmp_path / "hub", Draft("init", "Ada", 0, default_branch="main"))
    with folder.open(str(tmp_path / "hub")) as opened:
        yield opened


def put(remote: Remote, name: str, data: bytes) -> bool:
    return remote.put("packs", name, io.BytesIO(data), len(data))


def test_what_was_put_comes_back_whole_and_in_parts(remote: Remote):
    data = bytes(range(256)) * 10_000

    assert put(remote, PACK, data)

    assert remote.size("packs", PACK) == len(data)
    assert b"".join(remote.read("packs", PACK)) == data
    assert b"".join(remote.read("packs", PACK, 100, 2_000_000)) == data[100:2_000_000]
    assert b"".join(remote.read("packs", PACK, len(data) - 1, len(data) + 5)) == data[-1:]


def test_nothing_is_written_over(remote: Remote):
    put(remote, PACK, b"first")

    assert not put(remote, PACK, b"other")
    assert put(remote, PACK, b"first")  # the very same bytes, as after a lost reply
    assert b"".join(remote.read("packs", PACK)) == b"first"


def test_one_of_many_who_put_at_once_wins(remote: Remote):
    won = []

    def race(i: int) -> None:
        if put(remote, PACK, b"%d" % i):
            won.append(i)

    racers = [threading.Thread(target=race, args=(i,)) for i in range(16)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert len(won) == 1
    assert b"".join(remote.read("packs", PACK)) == b"%d" % won[0]


def test_names_are_listed_in_order_and_after_one(remote: Remote):
    put(remote, OTHER, b"1")
    put(remote, PACK, b"2")

    assert remote.names("packs") == [PACK, OTHER]
    assert remote.names("packs", after=PACK) == [OTHER]
    assert remote.names("log") == ["000000000001.json"]


def test_what_is_not_there_is_said_to_be_missing(remote: Remote):
    assert remote.size("packs", PACK) is None
    with pytest.raises(MissingObject):
        list(remote.read("packs", PACK))


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..", "", "x.safetensors", f"{'a' * 64}.json", "CON", "a\0b"]
)
def test_names_that_are_none_lead_nowhere(remote: Remote, tmp_path: Path, name: str):
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    with pytest.raises((MissingObject, RemoteProblem)):
        put(remote, name, b"evil")
    with pytest.raises((MissingObject, RemoteProblem)):
        list(remote.read("packs", name))

    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_half_of_a_file_never_counts(remote: Remote):
    with pytest.raises(RemoteProblem):
        remote.put("packs", PACK, io.BytesIO(b"half"), 8)

    assert remote.size("packs", PACK) is None


def test_a_probe_holds_and_leaves_nothing(remote: Remote, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))

    assert all(held for _, held in remote.probe())
    assert sorted(tmp_path.rglob("*")) == before
