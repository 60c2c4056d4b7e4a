"""du: what each commit brought, and what the packs are full of, to the byte."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings

from wvc.errors import MissingObject
from wvc.repo import commits
from wvc.repo.objects import Commit, Manifest, Parent, TaskDescription, Tensor
from wvc.repo.repository import Repository
from wvc.repo.usage import Usage
from wvc.store.packs import SUFFIX, Pack
from wvc.store.records import Move

from .histories import plans, planted


def sums(repository: Repository, starts: list[str], left_out: list[str] = ()) -> dict[str, tuple[int, int]]:
    """Subject -> (new tensors, their raw bytes)."""
    return {a.commit.subject: (a.tensors, a.raw) for a in Usage(repository).added(starts, left_out)}


def on_disk(repository: Repository) -> int:
    return sum(path.stat().st_size for path in (repository.folder / "packs").iterdir())


def whole(packs) -> int:
    return packs.needed + packs.copies + packs.dead + packs.objects + packs.rest


def test_a_commit_brings_what_no_commit_before_it_had(tmp_path):
    plan = [({"a": 0, "b": 1}, []), ({"a": 0, "b": 2}, [(0, "1")]), ({"a": 2, "b": 1, "c": 3}, [(1, "1")])]
    repository, made = planted(tmp_path / "zoo", plan)

    assert sums(repository, [made[2].id]) == {"c2": (1, 32), "c1": (1, 32), "c0": (2, 64)}
    assert sums(repository, [made[2].id], [made[0].id]) == {"c2": (1, 32), "c1": (1, 32)}
    assert sums(repository, [made[0].id]) == {"c0": (2, 64)}
    assert sums(repository, [made[0].id], [made[0].id]) == {}


def test_one_tensor_under_two_names_takes_room_once(save, repository):
    commit = save({"a": np.ones(4, np.float32), "b": np.ones(4, np.float32)})

    (added,) = Usage(repository).added([commit.id], items=True)

    assert (added.tensors, added.raw) == (1, 16)
    assert [item.name for item in added.items] == ["a"]


@settings(max_examples=40)
@given(plan=plans())
def test_of_any_history_everything_was_brought_once_and_nothing_is_dead(tmp_path_factory, plan):
    repository, made = planted(
        tmp_path_factory.mktemp("any") / "zoo", plan, {f"refs/heads/b{i}": i for i in range(len(plan))}
    )
    usage = Usage(repository)

    added, packs = usage.added([commit.id for commit in made], items=True), usage.packs()

    ids = {tensor.id for commit in made for tensor in repository.manifest(commit).tensors}
    brought = [item.id for one in added for item in one.items]
    assert sorted(brought) == sorted(ids)
    assert {one.commit.id for one in added} == {commit.id for commit in made}
    assert packs.needed == sum(one.stored for one in added)
    assert (packs.dead, packs.copies, packs.missing) == (0, 0, 0)
    assert packs.bytes == whole(packs) == on_disk(repository)


def test_what_no_ref_reaches_is_dead(save, repository):
    kept = save({"a": np.arange(100, dtype=np.float32)})
    lost = save({"a": np.arange(100, dtype=np.float32), "b": np.full(9, 7, np.float32)}, [kept], "side")
    before = Usage(repository).packs()
    repository.record(None, [Move("refs/heads/side", lost.id, None)], "gone")

    after = Usage(repository).packs()

    pack = Pack(repository.folder / "packs", repository.packs_with(lost.id)[0])
    gone = [lost.id, lost.manifest, repository.manifest(lost).by_name["b"].id]
    assert before.dead == 0
    assert after.dead == sum(pack.stored(id).size for id in gone)
    assert after.bytes == whole(after) == before.bytes


def test_a_second_copy_is_not_needed(save, repository):
    commit = save({"a": np.ones(1000, np.float32)})
    name = repository.packs_with(commit.id)[0]
    twin = name.split(".")[0] + "." + "0" * 16
    data = (repository.folder / "packs" / (name + SUFFIX)).read_bytes()
    with repository.batch() as batch:
        batch.publish = lambda: (twin,)  # type: ignore[method-assign]
        (repository.folder / "packs" / (twin + SUFFIX)).write_bytes(data)
        repository.record(batch, [], "the same pack once more")

    packs = Usage(repository).packs()

    stored = Pack(repository.folder / "packs", name).stored(repository.manifest(commit).by_name["a"].id).size
    assert (packs.count, packs.needed, packs.copies) == (2, stored, stored)
    assert packs.bytes == whole(packs) == on_disk(repository)


def test_what_others_are_differences_to_is_needed_too(save, repository):
    rng = np.random.default_rng(0)
    old = rng.normal(size=100_000).astype(np.float32)
    first = save({"a": old})
    base = repository.manifest(first).by_name["a"].id
    second = tuned(repository, first, old + 1e-5 * rng.normal(size=old.size).astype(np.float32))
    repository.record(
        None, [Move("refs/heads/main", first.id, None), Move("refs/heads/tuned", None, second.id)], "the first is gone"
    )

    packs = Usage(repository).packs()
    (added,) = Usage(repository).added([second.id], [first.id], items=True)

    pack = Pack(repository.folder / "packs", repository.packs_with(first.id)[0])
    (item,) = added.items
    assert (item.base, item.depth) == (base, 1)
    assert item.stored < item.raw == old.nbytes
    assert packs.needed == item.stored + pack.stored(base).size
    assert packs.dead == pack.stored(first.id).size + pack.stored(first.manifest).size


def tuned(repository: Repository, parent: Commit, values: np.ndarray) -> Commit:
    """A root, as far as refs tell, whose tensor is stored as a difference to the parent's."""
    from wvc.store.blobs import Blob

    data, before = values.tobytes(), repository.manifest(parent).by_name["a"]
    with repository.batch([values.shape], 4096) as batch:
        blob = Blob("F32", values.shape, lambda start, stop: data[start:stop], bases=(before.id,))
        manifest = Manifest((Tensor("a", "F32", values.shape, batch.store([blob])[0]),))
        commit = commits.make(repository, manifest, [], "tuned", {"kind": "import"})
        commits.put(repository, batch, manifest, commit)
        repository.record(batch, [], "tuned")
    return commit


def test_what_a_training_began_with_is_alive_without_a_ref(save, repository):
    probe = save(1, branch="probe")
    how = {"kind": "train", "start": {"probe": probe.id}}
    with repository.batch(objects=4096) as batch:
        manifest = repository.manifest(probe)
        trained = commits.make(repository, manifest, [], "trained", how)
        batch.put(trained.data)
        repository.record(
            batch, [Move("refs/heads/main", None, trained.id), Move("refs/heads/probe", probe.id, None)], "trained"
        )

    assert Usage(repository).packs().dead == 0


def test_descriptions_of_tasks_are_no_dead_tensors(save, repository):
    save()
    task = TaskDescription("pets", "folder", (), (), "0" * 64)
    with repository.batch(objects=4096) as batch:
        id = batch.put(task.data)
        repository.record(batch, [Move("refs/tasks/pets", None, id)], "task")
    repository.record(None, [Move("refs/tasks/pets", id, None)], "task remove")

    packs = Usage(repository).packs()

    assert packs.dead == 0
    assert packs.objects >= len(task.data)


def test_what_is_in_no_pack_is_counted_as_missing(save, repository):
    commit = save({"a": np.ones(4, np.float32)})
    manifest = Manifest((Tensor("lost", "F32", (5,), "1" * 64), *repository.manifest(commit).tensors)[::-1])
    bad = Commit(manifest.id, manifest.weights, (Parent(commit.id),), "Ada", 0, 2, "bad", {"kind": "import"})
    with repository.batch(objects=4096) as batch:
        batch.put(manifest.data)
        batch.put(bad.data)
        repository.record(batch, [Move("refs/heads/main", commit.id, bad.id)], "bad")
    usage = Usage(repository)

    added = usage.added([bad.id])[0]

    assert (added.tensors, added.raw, added.stored) == (1, 20, 0)
    assert usage.packs().missing == 1


def test_ids_that_end_in_zeros_are_ids_like_others(save, repository):
    number = next(n for n in range(100_000) if hashlib.sha256(np.int64([n]).tobytes()).hexdigest().endswith("00"))
    commit = save({"a": np.array([number]), "b": np.array([number + 1])})

    (added,) = Usage(repository).added([commit.id], items=True)

    assert {item.id for item in added.items} == {t.id for t in repository.manifest(commit).tensors}
    assert Usage(repository).packs().missing == 0


def test_a_commit_that_is_not_there_is_missing(repository):
    with pytest.raises(MissingObject):
        Usage(repository).added(["0" * 64])


def test_an_empty_repository_takes_no_room(repository):
    usage = Usage(repository)

    assert usage.added([]) == []
    assert whole(usage.packs()) == 0
