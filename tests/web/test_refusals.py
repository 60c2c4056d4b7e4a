"""Pushing what must not count into a live server: records, refs and packs that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wvc.repo import commits
from wvc.repo.fsck import fsck
from wvc.repo.repository import Repository
from wvc.store.blobs import Blob
from wvc.store.packs import SUFFIX, Pack

from ..verbs.conftest import Shelf
from .conftest import Live, Sender, changed, record

Serve = Callable[..., Live]
RUN = "refs/heads/run"


def test_who_asks_first_is_told_before_anything_is_sent(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository, protect=["main"])
    live.token("ada", refs=["team/*"])
    commit, _ = sender.put("run", {"a": [5.0, 2.0], "b": [3.0]})
    before = live.head()
    main = before.refs["refs/heads/main"]

    def ask(*moves: tuple[str, str | None, str | None]) -> int:
        data = record(before, moves)
        return live.call("PUT", "/log/000000000003.json", data, Wvc_Ask="?1").status

    assert ask(("refs/heads/team/1", None, commit.id)) == 200
    assert ask((RUN, None, commit.id)) == 403
    live.token("eve", refs=["*"])
    assert ask(("refs/heads/main", main, None)) == 403
    assert ask(("refs/heads/main", main, commit.id)) == 200  # a descendant, as far as can be told without it
    assert live.head() == before  # nothing counts that was only asked


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"number": 99}, 422),
        ({"previous": "0" * 64}, 409),
        ({"repository": "0" * 64}, 422),
        ({"nonce": "short"}, 422),
        ({"created": -1}, 422),
        ({"actor": "a\nb"}, 422),
        ({"message": "x" * 2000}, 422),
        ({"condemned": ["0" * 64 + "." + "0" * 16]}, 403),
        ({"moves": [["refs/heads/x", "0" * 64, "1" * 64]]}, 422),
        ({"moves": [["refs/heads/x", None, "1" * 64]]}, 422),
        ({"moves": [["refs/remotes/origin/main", None, "1" * 64]]}, 403),
        ({"moves": [["refs/notes/x", None, "1" * 64]]}, 403),
        ({"moves": [["refs/heads/HEAD", None, "1" * 64]]}, 403),
        ({"moves": [["refs/heads/../x", None, "1" * 64]]}, 422),
        ({"moves": [["refs/probes/main", None, "1" * 64]]}, 403),
        ({"packs": ["0" * 64 + "." + "0" * 16]}, 422),
        ({"packs": ["../../../etc/passwd"]}, 422),
        ({"attachments": ["1" * 64]}, 422),
        ({"default_branch": "elsewhere"}, 403),
        ({"state": {"refs": {}, "packs": [], "condemned": [], "default_branch": None}}, 422),
        ({"more": 1}, 422),
    ],
)
def test_a_record_that_is_none_is_refused(serve: Serve, shelf: Shelf, fields: dict[str, object], status: int):
    live = serve(shelf.repository)
    before = live.head()
    data = changed(record(before, []), **fields)

    answer = live.put_record(data, before.number + 1)

    assert (answer.status, live.head()) == (status, before)
    assert set(answer.json()) == {"error", "hint"}


def test_what_is_not_canonical_is_no_record(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    data = record(live.head(), [])

    spelled = json.dumps(json.loads(data), indent=1).encode()

    assert live.put_record(spelled).status == 422
    assert live.call("PUT", "/log/1.json", data).status == 404
    assert live.put_record(b"[" * 100_000, live.head().number + 1).status == 422


def test_a_ref_to_something_of_another_kind_is_refused(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    commit = shelf.tip("main")

    as_branch = live.put_record(record(live.head(), [(RUN, None, commit.manifest)]))
    as_task = live.put_record(record(live.head(), [("refs/tasks/pets", None, commit.id)]))

    assert (as_branch.status, as_task.status) == (422, 422)
    assert "Manifest" in as_branch.json()["error"] and "Commit" in as_task.json()["error"]


def test_an_incomplete_push_is_refused(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    first, without = sender.put("run", {"a": [5.0, 2.0]})
    second, pack = sender.put("run", {"a": [6.0, 2.0]}, start="run")
    live.put_pack(pack)

    alone = live.put_record(record(live.head(), [(RUN, None, second.id)], [pack]))
    live.put_pack(without)
    both = live.put_record(record(live.head(), [(RUN, None, second.id)], [pack, without]))

    assert alone.status == 422 and first.id[:12] in alone.json()["error"]
    assert both.status == 201
    assert fsck(Repository(shelf.repository.path)).problems == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("change", "said"), [({"shape": (7,)}, "does not match"), ({"id": "7" * 64}, "missing")])
def test_a_tensor_of_another_size_or_none_is_refused(
    serve: Serve, shelf: Shelf, sender: Sender, order: tuple[int, int], change: dict[str, Any], said: str
):
    live = serve(shelf.repository)
    own = sender.shelf.repository
    manifest = own.manifest(shelf.tip("main"))
    lying = replace(manifest, tensors=tuple(replace(tensor, **change) for tensor in manifest.tensors))
    with own.batch([], 1 << 14) as batch:
        commit = commits.make(own, lying, [], "lie", {"kind": "train"})
        for place in order:  # whichever is looked at first
            batch.put((lying, commit)[place].data)
        (name,) = batch.publish()
    pack = own.folder / "packs" / (name + SUFFIX)
    live.put_pack(pack)

    answer = live.put_record(record(live.head(), [(RUN, None, commit.id)], [pack]))

    assert answer.status == 422 and said in answer.json()["error"]


def test_every_flipped_byte_of_a_pack_is_noticed(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": [5.0, 2.0]})
    data, before = pack.read_bytes(), live.head()
    own = Pack(pack.parent, pack.name.removesuffix(SUFFIX))
    places = [3, 20, *(entry.start for entry in own.entries.values())]

    statuses = []
    for place in places:
        bad = bytes([*data[:place], data[place] ^ 1, *data[place + 1 :]])
        sent = live.call("PUT", f"/packs/{pack.name}", bad)
        statuses.append(sent.status)
        if sent.status == 201:
            statuses[-1] = live.put_record(record(before, [(RUN, None, commit.id)], [pack])).status

    assert statuses == [422] * len(places)
    assert live.head() == before


def test_a_difference_needs_its_base(serve: Serve, tmp_path: Path):
    served = Shelf(tmp_path / "served")
    served.put("main", {"x": [0.0]})
    sender = Sender(served, tmp_path / "sender")
    base, first = sender.put("base", {"a": [float(i) for i in range(9000)]})
    _, pack = _fine_tuned(sender, base.manifest)
    live = serve(served.repository)
    live.put_pack(pack)

    answer = live.put_record(record(live.head(), [], [pack]))
    live.put_pack(first)
    both = live.put_record(record(live.head(), [("refs/heads/base", None, base.id)], [pack, first]))

    assert answer.status == 422 and "refused" in answer.json()["error"]
    assert both.status == 201
    assert fsck(Repository(served.repository.path)).problems == []


def _fine_tuned(sender: Sender, manifest: str) -> tuple[str, Path]:
    """A pack that holds nothing but a difference to the one tensor of `manifest`."""
    own = sender.shelf.repository
    (tensor,) = next(m for c in own.refs.values() if (m := own.manifest(own.commit(c))).id == manifest).tensors
    data = (np.frombuffer(own.tensor(tensor), "<f4") * np.float32(1.001)).tobytes()
    with own.batch([tensor.shape], 0) as batch:
        blob = Blob("F32", tensor.shape, lambda start, stop: memoryview(data)[start:stop], bases=(tensor.id,))
        (id,) = batch.store([blob])
        (name,) = batch.publish()
    pack = own.folder / "packs" / (name + SUFFIX)
    assert Pack(pack.parent, name).stored(id).codec == "delta"
    return id, pack
