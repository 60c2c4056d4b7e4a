"""Pushing into a live server by bare requests: one after the other, in pieces, again, and at once."""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wvc.repo.fsck import fsck
from wvc.repo.repository import Repository
from wvc.store.packs import SUFFIX
from wvc.store.records import Move

from ..verbs.conftest import Shelf
from .conftest import Live, Sender, changed, record

Serve = Callable[..., Live]
RUN = "refs/heads/run"


def test_a_pack_and_then_its_record_make_a_commit(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": [5.0, 2.0], "b": [3.0]})

    sent, moved = live.put_pack(pack), live.put_record(record(live.head(), [(RUN, None, commit.id)], [pack]))

    assert (sent.status, moved.status) == (201, 201)
    served = Repository(shelf.repository.path)
    assert served.refs[RUN] == commit.id
    (tensor, _) = served.manifest(served.commit(commit.id)).tensors
    assert bytes(served.tensor(tensor)) == struct.pack("<2f", 5.0, 2.0)
    assert fsck(served).problems == [] and fsck(served).counts["packs that no transaction names"] == 0
    assert list((served.folder / "quarantine").glob(f"*/*{SUFFIX}")) == []


def test_a_pack_that_no_record_names_is_seen_by_its_sender_only(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    bob = live.token("bob")
    live.token("ada")
    _, pack = sender.put("run", {"a": [5.0, 2.0]})

    live.put_pack(pack)

    assert live.call("HEAD", f"/packs/{pack.name}").headers["content-length"] == str(pack.stat().st_size)
    live.secret = bob
    assert live.call("HEAD", f"/packs/{pack.name}").status == 404
    assert live.call("GET", f"/packs/{pack.name}").status == 404
    assert pack.name not in live.call("GET", "/packs").json()["names"]
    assert pack.stem not in live.head().packs


def test_a_pack_may_come_in_pieces(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": list(range(5000))})
    data, path = pack.read_bytes(), f"/packs/{pack.name}"

    first = live.call("PUT", path, data[:7], Content_Range=f"bytes 0-6/{len(data)}")
    wrong = live.call("PUT", path, data[9:20], Content_Range=f"bytes 9-19/{len(data)}")
    there = live.call("HEAD", path)
    rest = live.call("PUT", path, data[7:], Content_Range=f"bytes 7-{len(data) - 1}/{len(data)}")

    assert (first.status, rest.status) == (200, 201)
    assert (wrong.status, wrong.headers["upload-offset"]) == (409, "7")
    assert (there.headers["content-length"], there.headers["upload-complete"]) == ("7", "?0")
    assert live.put_record(record(live.head(), [(RUN, None, commit.id)], [pack])).status == 201


def test_a_pack_that_has_come_is_not_written_over(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    _, pack = sender.put("run", {"a": [5.0, 2.0]})
    data = pack.read_bytes()
    live.put_pack(pack)

    again = live.call("PUT", f"/packs/{pack.name}", data[:-1] + b"x")

    assert (again.status, again.headers["upload-offset"]) == (409, str(len(data)))
    assert live.call("GET", f"/packs/{pack.name}").body == data


def test_the_same_record_again_is_the_answer_that_was_lost(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": [5.0, 2.0]})
    live.put_pack(pack)
    data = record(live.head(), [(RUN, None, commit.id)], [pack])

    first, again, other = live.put_record(data), live.put_record(data), live.put_record(changed(data, nonce="0" * 32))

    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert live.head().number == json.loads(data)["number"]


def test_the_same_record_at_the_same_time_counts_once(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": [5.0, 2.0]})
    live.put_pack(pack)
    data, found = record(live.head(), [(RUN, None, commit.id)], [pack]), list[int]()

    threads = [threading.Thread(target=lambda: found.append(live.put_record(data).status)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found.count(201) == 1 and set(found) <= {200, 201, 423}
    assert live.put_record(data).status == 200


def test_of_two_who_race_one_is_first_and_the_other_can_try_again(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    pushes = [(name, *sender.put(name, {"a": [float(i), 2.0]})) for i, name in enumerate("abcd")]
    for _, _, pack in pushes:
        live.put_pack(pack)
    statuses: dict[str, list[int]] = {name: [] for name in "abcd"}

    def push(name: str, id: str, pack: Path) -> None:
        while 201 not in statuses[name]:
            data = record(live.head(), [(f"refs/heads/{name}", None, id)], [pack])
            statuses[name].append(live.put_record(data).status)

    threads = [threading.Thread(target=push, args=(name, commit.id, pack)) for name, commit, pack in pushes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {status for found in statuses.values() for status in found} <= {201, 409}
    served = Repository(shelf.repository.path)
    assert {served.refs[f"refs/heads/{name}"] for name in "abcd"} == {commit.id for _, commit, _ in pushes}
    assert fsck(served).problems == []


def test_many_pushers_and_every_push_whole_or_not_at_all(serve: Serve, shelf: Shelf, pytestconfig: pytest.Config):
    """R12: each push moves three refs, which all of a pusher's pushes share; 16 x 8 in the long form."""
    pushers, pushes = (16, 8) if pytestconfig.getoption("long") else (6, 3)
    live, main = serve(shelf.repository), shelf.tip("main").id
    ids = [shelf.put(f"c{i}", {"a": [float(i)]}).id for i in range(2)]
    before = live.head().number

    def push(who: int) -> None:
        old: list[str | None] = [None] * 3
        for i in range(pushes):
            new = [(main, *ids)[(i + k) % 3] for k in range(3)]
            while True:
                moves = [(f"refs/heads/p{who}/{k}", old[k], new[k]) for k in range(3)]
                if live.put_record(record(live.head(), moves)).status == 201:
                    break
                time.sleep(random.uniform(0, 0.2))
            old = [*new]

    threads = [threading.Thread(target=push, args=(who,)) for who in range(pushers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert live.head().number == before + pushers * pushes
    wanted = [(main, *ids)[(pushes - 1 + k) % 3] for k in range(3)]
    assert [live.head().refs[f"refs/heads/p{who}/{k}"] for who in range(pushers) for k in range(3)] == wanted * pushers
    assert fsck(Repository(shelf.repository.path)).problems == []


def test_a_local_command_may_be_first(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": [5.0, 2.0]})
    live.put_pack(pack)
    data = record(live.head(), [(RUN, None, commit.id)], [pack])

    shelf.keep("elsewhere", shelf.tip("main"))

    assert live.put_record(data).status == 409
    assert (shelf.repository.folder / "packs" / pack.name).exists() is False
    assert live.put_record(record(live.head(), [(RUN, None, commit.id)], [pack])).status == 201


def test_moves_of_several_refs_go_together_or_not_at_all(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    live.token(refs=["run/*"])
    main = shelf.tip("main").id

    both = live.put_record(record(live.head(), [("refs/heads/run/0", None, main), ("refs/heads/x", None, main)]))
    one = live.put_record(record(live.head(), [("refs/heads/run/0", None, main)]))

    assert (both.status, one.status) == (403, 201)
    assert set(live.head().refs) == {"refs/heads/main", "refs/heads/run/0"}


def test_every_256th_record_carries_the_full_state(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    main, own = shelf.tip("main").id, shelf.repository
    while own.log.head().number < 255:
        state = own.log.head()
        at = state.refs.get("refs/heads/x")
        own.record(None, [Move("refs/heads/x", at, None if at else main)], "move")
    data = record(live.head(), [("refs/heads/y", None, main)])
    lying = json.loads(data)
    lying["state"]["refs"]["refs/heads/main"] = "0" * 64

    assert live.put_record(changed(data, state=lying["state"])).status == 422
    assert live.put_record(data).status == 201
    assert fsck(Repository(own.path)).problems == []
