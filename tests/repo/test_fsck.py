"""fsck names every kind of damage, and finds none where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wvc.errors import MissingObject
from wvc.repo import commits
from wvc.repo.fsck import fsck
from wvc.repo.objects import Attachment, Commit, Manifest, Parent, Tensor
from wvc.repo.repository import Repository
from wvc.store.blobs import held
from wvc.store.canonical import dumps
from wvc.store.packs import SUFFIX, Pack
from wvc.store.records import Move

Z = "0" * 64


@pytest.fixture
def history(repository, save) -> Repository:
    """Two commits on main, one beside it, a tag."""
    first = save({"a": np.arange(40, dtype=np.float32), "b": np.ones(3, np.float16)})
    save(2, [first], branch="side")
    save(3, [first], said=[("note", {"text": "hello"})])
    repository.record(None, [Move("refs/tags/v1", None, first.id)], "tag")
    return repository


def problems(repository: Repository) -> list[str]:
    return fsck(Repository(repository.path)).problems


def packs(repository: Repository) -> list[Path]:
    return sorted((repository.folder / "packs").iterdir())


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.unlink()
    path.write_bytes(data)


def put(repository: Repository, *objects: bytes, moves: tuple[Move, ...] = (), listed: tuple[str, ...] = ()) -> None:
    with repository.batch(objects=sum(map(len, objects))) as batch:
        for data in objects:
            batch.put(data)
        repository.record(batch, moves, "by hand", listed)


def test_a_clean_repository_has_no_problems(history):
    report = fsck(history)

    assert report.problems == []
    assert report.json()["ok"] is True
    assert report.counts == {"transactions": 5, "packs": 3, "objects": 7, "tensors": 4, "refs": 3}


def test_an_empty_repository_has_no_problems(repository):
    assert fsck(repository).problems == []


def test_a_flipped_byte_in_a_tensor_names_the_tensor_and_the_pack(history):
    (id,) = [t.id for t in history.manifest(history.head()).tensors]
    name = history.packs_with(id)[0]
    pack = Pack(history.folder / "packs", name)
    flip(pack.path, pack.entries[id].start)

    found = problems(history)

    assert any(id[:12] in line and name[:12] in line for line in found)
    assert any("manifest" in line and "'w'" in line for line in found)


def test_a_flipped_byte_in_a_commit_names_the_ref(history):
    head = history.head()
    pack = Pack(history.folder / "packs", history.packs_with(head.id)[0])
    flip(pack.path, pack.entries[head.id].start + 20)

    found = problems(history)

    assert any("refs/heads/main" in line and head.id[:12] in line for line in found)


@pytest.mark.parametrize("damage", ["header", "padding", "shorter", "longer", "missing", "empty", "link", "folder"])
def test_a_damaged_pack_is_named(history, tmp_path, damage):
    id = history.refs["refs/tags/v1"]
    name = history.packs_with(id)[0]
    pack = Pack(history.folder / "packs", name)
    pads = [entry for entry in pack.entries.values() if entry.name.startswith("pad") and entry.stop > entry.start]
    data = pack.path.read_bytes()
    if damage in ("header", "padding"):
        flip(pack.path, 30 if damage == "header" else pads[0].start)
    else:
        pack.path.rename(tmp_path / "moved")
        if damage == "link":
            pack.path.symlink_to(tmp_path / "moved")
        elif damage == "folder":
            pack.path.mkdir()
        elif damage != "missing":
            pack.path.write_bytes({"shorter": data[:-1], "longer": data + b"\0", "empty": b""}[damage])

    found = problems(history)

    assert any(name[:12] in line for line in found)
    assert any("refs/tags/v1" in line for line in found)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("damage", ["missing", "flipped", "empty"])
def test_a_damaged_record_of_the_log_is_named(history, number, damage):
    path = history.folder / "log" / f"{number:012}.json"
    if damage == "flipped":
        flip(path, 100)
    else:
        path.unlink()
        if damage == "empty":
            path.touch()
    repository = Repository(history.path)

    found = fsck(repository).problems

    assert len(found) == 1 and "transaction" in found[0]


def test_a_ref_that_names_nothing_is_named(history):
    history.record(None, [Move("refs/heads/ghost", None, Z)], "nothing there")

    assert any("refs/heads/ghost" in line and Z[:12] in line for line in problems(history))


def test_a_branch_that_names_a_manifest_is_named(history):
    history.record(None, [Move("refs/heads/ghost", None, history.head().manifest)], "no commit")

    assert any("refs/heads/ghost" in line and "Commit" in line for line in problems(history))


def test_missing_parents_manifests_and_tensors_are_named(history):
    manifest = Manifest((Tensor("lost", "F32", (3,), "1" * 64),), (("config.json", "2" * 64),))
    orphan = Commit("3" * 64, Z, (Parent("4" * 64),), "me", 0, 2, "", {"kind": "import", "task": {"object": "5" * 64}})
    note = Attachment("note", "6" * 64, {})
    put(history, manifest.data, orphan.data, note.data)

    found = "\n".join(problems(history))

    assert all(digit * 12 in found for digit in "123456")
    assert "'lost'" in found and "'config.json'" in found


def test_a_commit_that_lies_about_weights_or_generation_is_named(history):
    head = history.head()
    lie = Commit(head.manifest, Z, (Parent(head.id),), "me", 0, 9, "", {"kind": "import"})
    put(history, lie.data)

    found = [line for line in problems(history) if lie.id[:12] in line]

    assert any("weights" in line for line in found) and any("generation" in line for line in found)


def test_a_parent_that_is_no_commit_is_named(history):
    head = history.head()
    odd = Commit(head.manifest, head.weights, (Parent(head.manifest),), "me", 0, 2, "", {"kind": "import"})
    put(history, odd.data)

    assert any("wrong type" in line for line in problems(history))


def test_an_object_that_is_none_is_named(history):
    put(history, dumps({"_type": "wvc.commit/9"}))

    assert any("not an object" in line for line in problems(history))


def test_a_manifest_whose_shape_does_not_fit_the_bytes_is_named(history):
    (tensor,) = history.manifest(history.head()).tensors
    put(history, Manifest((Tensor("w", "F32", (4,), tensor.id),)).data)

    assert any("'w'" in line and "shape" in line for line in problems(history))


def test_an_attachment_that_was_listed_but_never_stored_is_named(history):
    history.record(None, [], "a score", ["7" * 64])

    assert any("7" * 12 in line and "attachment" in line for line in problems(history))


@pytest.mark.parametrize("text", [None, b"", b"\xff", b"main", b"ref: refs/tags/x", b"ref: refs/heads/../x"])
def test_a_damaged_head_is_named(history, text):
    path = history.folder / "HEAD"
    path.unlink()
    if text is not None:
        path.write_bytes(text)

    assert any("HEAD" in line for line in problems(history))


def test_fsck_changes_nothing(history):
    before = {p: p.read_bytes() for p in history.folder.rglob("*") if p.is_file()}

    fsck(Repository(history.path))

    assert {p: p.read_bytes() for p in history.folder.rglob("*") if p.is_file()} == before


def test_bytes_flipped_anywhere_in_packs_and_log_never_go_unnoticed(history, request):
    stride = 1 if request.config.getoption("--long") else 67
    files = [path for folder in ("packs", "log") for path in sorted((history.folder / folder).iterdir())]
    last = files[-1]  # nothing hashes the newest record yet: changes of its texts are changes of nothing
    unnoticed = []

    for path in files:
        data = path.read_bytes()
        for i in range(0, len(data), stride):
            flip(path, i)
            if not problems(history):
                unnoticed.append((path.name, i))
            path.unlink()
            path.write_bytes(data)

    assert [name for name, _ in unnoticed if name != last.name] == []


def test_a_pack_that_was_put_back_is_whole_again_once_the_lineage_is_made_anew(history):
    path = packs(history)[0]
    data = path.read_bytes()
    path.unlink()
    (history.folder / "lineage.db").unlink()
    assert problems(history)
    Repository(history.path).lineage.update()  # made while the pack is away
    path.write_bytes(data)

    found = problems(history)
    (history.folder / "lineage.db").unlink()

    assert len(found) == 1 and "lineage.db" in found[0]
    assert problems(history) == []
    assert path.name.endswith(SUFFIX)


def test_a_pack_that_no_transaction_names_is_counted_and_no_damage(history):
    with history.batch(objects=100) as batch:
        batch.put(dumps({"_type": "nobody's"}))
        batch.publish()

    report = fsck(Repository(history.path))

    assert report.problems == []
    assert report.counts["packs that no transaction names"] == 1


def test_a_second_copy_of_a_base_keeps_what_rests_on_it(repository, save):
    old = np.random.default_rng(0).normal(0, 0.02, 4000).astype(np.float32)
    new = old + np.float32(1e-4)
    first = save({"w": old})
    tensor = repository.manifest(first).tensors[0]
    with repository.batch([(4000,)]) as batch:
        made = replace(held("F32", (4000,), new.tobytes()), bases=(tensor.id,))
        batch.store([made])
        repository.record(batch, [], "a difference")
    (pack,) = repository.packs_with(tensor.id)
    path = repository.folder / "packs" / (pack + SUFFIX)
    flip(path, Pack(path.parent, pack).entries[tensor.id].start + 100)
    healed = Repository(repository.path)
    with healed.batch([(4000,)]) as batch:
        batch.add("F32", (4000,), [old.tobytes()])
        healed.record(batch, [], "again")

    report = fsck(Repository(repository.path))

    assert len(report.problems) == 1  # the damaged copy, and nothing that rests on it
    assert report.lost == []


def test_a_commit_of_what_nobody_stored_is_refused(repository):
    manifest = Manifest((Tensor("w", "F32", (3,), "ab" * 32),))
    commit = commits.make(repository, manifest, [], "x", {"kind": "import"})

    with repository.batch(objects=4096) as batch, pytest.raises(MissingObject):
        commits.put(repository, batch, manifest, commit)
