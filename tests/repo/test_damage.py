"""What damage touches, and how errors say so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.errors import CorruptObject, CorruptPack, Damage, MissingObject
from wvc.repo.damage import Touched, touched
from wvc.repo.fsck import fsck
from wvc.repo.objects import Attachment, Commit, TaskDescription, Tensor
from wvc.repo.repository import Repository
from wvc.store.packs import Pack
from wvc.store.records import Move

from .histories import plans, planted

MAIN, TAG = "refs/heads/main", "refs/tags/v1"


def flip(repository: Repository, id: str) -> None:
    """Damage every copy of `id`, in the middle."""
    for name in repository.packs_with(id):
        pack = Pack(repository.folder / "packs", name)
        data = bytearray(pack.path.read_bytes())
        data[(pack.entries[id].start + pack.entries[id].stop) // 2] ^= 1
        pack.path.unlink()
        pack.path.write_bytes(data)


def look(repository: Repository, *ids: str) -> list[Touched]:
    return touched(repository.lineage, repository.refs, ids, repository.branch)


@pytest.fixture
def history(save, repository) -> dict[str, Commit]:
    """first sets a and b; second, on main, a; side, from first, b. v1 is second, and a note is about it."""
    a, b = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    first = save({"a": a, "b": b}, branch="old")
    second = save({"a": a + 1, "b": b}, [first], said=[("note", {"text": "hello"})])
    side = save({"a": a, "b": b + 1}, [first], branch="side")
    repository.record(None, [Move(TAG, None, second.id)], "tag")
    return {"first": first, "second": second, "side": side}


def tensor(repository: Repository, commit: Commit, name: str) -> Tensor:
    return repository.manifest(commit).by_name[name]


def test_a_tensor_touches_the_commits_that_hold_it_and_all_refs_above_them(history, repository):
    first, second, side = history.values()
    ids = [tensor(repository, commit, name).id for commit, name in ((first, "a"), (second, "a"), (first, "b"))]

    old, new, both = look(repository, *ids)

    assert (old.kind, old.names, set(old.commits)) == ("tensor", ["a"], {first.id, side.id})
    assert old.refs == [MAIN, "refs/heads/old", "refs/heads/side", TAG]
    assert (new.names, new.commits, new.refs) == (["a"], [second.id], [MAIN, TAG])
    assert (both.names, set(both.commits)) == (["b"], {first.id, second.id})


def test_heads_branch_comes_first(history, repository):
    refs = touched(repository.lineage, repository.refs, [history["first"].id], "refs/heads/side")[0].refs

    assert refs == ["refs/heads/side", MAIN, "refs/heads/old", TAG]


@settings(max_examples=40)
@given(plan=plans(), data=st.data())
def test_in_any_history_what_is_touched_is_what_manifests_and_parents_say(tmp_path_factory, plan, data):
    tips = data.draw(st.sets(st.integers(0, len(plan) - 1)))
    refs = {f"refs/heads/b{i}": i for i in tips}
    repository, made = planted(tmp_path_factory.mktemp("any") / "zoo", plan, refs or {MAIN: 0})
    holders: dict[str, set[str]] = {}
    for commit in made:
        for one in repository.manifest(commit).tensors:
            holders.setdefault(one.id, set()).add(commit.id)

    def above(id: str) -> set[str]:
        parents = [p.commit for p in repository.commit(id).parents]
        return {id}.union(*(above(parent) for parent in parents))

    for item in look(repository, *holders):
        assert set(item.commits) == holders[item.id]
        assert set(item.refs) == {ref for ref, tip in repository.refs.items() if above(tip) & holders[item.id]}


def test_objects_touch_what_names_them(history, repository):
    second = history["second"]
    note = Attachment("note", second.id, {"text": "hello"})

    commit, manifest, said = look(repository, second.id, second.manifest, note.id)

    assert (commit.kind, commit.commits, commit.refs) == ("commit", [second.id], [MAIN, TAG])
    assert (manifest.kind, manifest.commits, manifest.refs) == ("manifest", [second.id], [MAIN, TAG])
    assert (said.kind, said.commits) == ("attachment", [second.id])
    assert commit.place == "it is on main and tag v1"


def test_a_commit_that_no_pack_holds_is_known_from_its_children_and_refs(history, repository):
    first, second = history["first"], history["second"]
    flip(repository, first.id)
    flip(repository, second.id)
    (repository.folder / "lineage.db").unlink()

    one, two = look(Repository(repository.path), first.id, second.id)

    assert (one.kind, one.refs) == ("commit", ["refs/heads/old", "refs/heads/side"])
    assert (two.kind, two.refs) == ("commit", [MAIN, TAG])


def test_a_task_is_told_by_its_ref(repository):
    task = TaskDescription("pets", "folder", (), (), "0" * 64)
    with repository.batch(objects=4096) as batch:
        id = batch.put(task.data)
        repository.record(batch, [Move("refs/tasks/pets", None, id)], "task")

    (item,) = look(repository, id)

    assert (item.kind, item.refs) == ("task", ["refs/tasks/pets"])


def test_what_nothing_names_touches_nothing(history, repository):
    (item,) = look(repository, "0" * 64)
    problem = CorruptObject("0" * 64)
    item.explain(problem)

    assert item == Touched("0" * 64)
    assert item.place == "it is named by no branch or tag"
    assert str(problem) == problem.message == "object 000000000000 does not match its hash"


def test_long_lists_are_cut():
    item = Touched("0" * 64, "tensor", ["a"], [f"{i}" * 64 for i in range(9)], [f"refs/heads/b{i}" for i in range(5)])

    assert item.place == (
        "it belongs to 9 commits, 0000000000, 1111111111, 2222222222 and 6 more, on b0, b1, b2 and 2 more"
    )
    item.commits[4:], item.refs[4:] = [], []
    assert item.place == (
        "it belongs to 4 commits, 0000000000, 1111111111, 2222222222 and 3333333333, on b0, b1, b2 and b3"
    )
    item.commits[1:], item.refs[1:] = [], []
    assert item.place == "it belongs to commit 0000000000, on b0"
    item.refs.clear()
    assert item.place == "it belongs to commit 0000000000, on no branch or tag"


def test_errors_say_what_is_lost_and_why():
    item = Touched("1" * 64, "tensor", ["head.weight"], ["2" * 64], [MAIN])
    problems: list[Damage] = [
        CorruptObject("1" * 64), MissingObject("1" * 64), MissingObject("3" * 64), CorruptPack("4" * 64, "cut short"),
    ]  # fmt: skip

    for problem in problems:
        item.explain(problem)

    end = "it belongs to commit 2222222222, on main"
    assert [str(problem) for problem in problems] == [
        f"tensor 'head.weight' (111111111111) is damaged: {end}",
        f"tensor 'head.weight' (111111111111) is missing: {end}",
        f"tensor 'head.weight' (111111111111) is damaged (object 333333333333 is missing): {end}",
        f"tensor 'head.weight' (111111111111) is damaged (pack 444444444444 is damaged: cut short): {end}",
    ]


@pytest.mark.parametrize("way", ["read", "tensor", "chunks"])
def test_whichever_way_a_tensor_is_read_its_damage_is_explained(history, repository, way):
    entry = tensor(repository, history["second"], "a")
    flip(repository, entry.id)
    repository = Repository(repository.path)

    with pytest.raises(CorruptObject) as info:
        match way:
            case "read":
                repository.read(entry.id)
            case "tensor":
                repository.tensor(entry)
            case _:
                list(repository.chunks(entry))

    short = history["second"].id[:10]
    assert info.value.message == (
        f"tensor 'a' ({entry.id[:12]}) is damaged: it belongs to commit {short}, on main and tag v1"
    )
    assert info.value.hint is not None and "wvc fsck" in info.value.hint


def test_objects_that_cannot_be_read_are_explained_too(history, repository):
    second = history["second"]
    flip(repository, second.manifest)
    repository = Repository(repository.path)

    with pytest.raises(CorruptObject, match=rf"manifest {second.manifest[:12]} is damaged: .* on main and tag v1"):
        repository.manifest(second)


def test_a_head_that_is_damaged_as_well_does_not_hide_the_error(history, repository):
    entry = tensor(repository, history["second"], "a")
    flip(repository, entry.id)
    (repository.folder / "HEAD").write_text("nonsense")

    with pytest.raises(CorruptObject, match="does not match its hash"):
        Repository(repository.path).tensor(entry)


def test_nothing_is_looked_up_while_all_is_well(history, repository, monkeypatch):
    monkeypatch.setattr("wvc.repo.damage.touched", lambda *_: pytest.fail("asked for nothing"))
    entry = tensor(repository, history["second"], "a")

    assert repository.tensor(entry) == b"".join(repository.chunks(entry))


def test_fsck_says_what_is_lost(history, repository):
    first, second = history["first"], history["second"]
    b = tensor(repository, first, "b")
    flip(repository, b.id)
    flip(repository, second.manifest)

    report = fsck(Repository(repository.path))

    lost = {item.id: item for item in report.lost}
    assert set(lost) == {b.id, second.manifest}
    assert (lost[b.id].names, set(lost[b.id].commits)) == (["b"], {first.id, second.id})
    assert lost[b.id].refs == [MAIN, "refs/heads/old", "refs/heads/side", TAG]
    assert lost[second.manifest].kind == "manifest"
    assert isinstance(facts := report.json()["lost"], list) and facts[0]["refs"] == lost[facts[0]["id"]].refs


def test_fsck_calls_nothing_lost_of_which_there_is_another_copy(history, repository):
    entry = tensor(repository, history["second"], "a")
    name = repository.packs_with(entry.id)[0]
    twin = f"{name.split('.')[0]}.{'0' * 16}"
    path = repository.folder / "packs" / f"{name}.safetensors"
    with repository.batch() as batch:
        path.with_name(f"{twin}.safetensors").write_bytes(path.read_bytes())
        batch.publish = lambda: (twin,)  # type: ignore[method-assign]
        repository.record(batch, [], "the same pack once more")
    data = bytearray(path.read_bytes())
    data[Pack(path.parent, name).entries[entry.id].start] ^= 1
    path.unlink()
    path.write_bytes(data)

    report = fsck(Repository(repository.path))

    assert report.problems and report.lost == []
    assert bytes(Repository(repository.path).tensor(entry)) == np.arange(1, 5, dtype=np.float32).tobytes()


def test_a_pack_that_is_gone_takes_its_commit_and_the_tensors_of_others_with_it(history, repository):
    first = history["first"]
    name = repository.packs_with(first.id)[0]
    (repository.folder / "packs" / f"{name}.safetensors").unlink()

    lost = {item.id: item for item in fsck(Repository(repository.path)).lost}

    held = {first.id, tensor(Repository(repository.path), history["side"], "a").id}
    assert held <= set(lost)
    assert lost[first.id].kind == "commit"
    assert lost[first.id].refs == [MAIN, "refs/heads/old", "refs/heads/side", TAG]


def test_what_is_a_difference_to_what_is_lost_is_lost_with_it(repository, save):
    from .test_usage import tuned

    rng = np.random.default_rng(0)
    old = rng.normal(size=50_000).astype(np.float32)
    first = save({"a": old})
    second = tuned(repository, first, old + 1e-5 * rng.normal(size=old.size).astype(np.float32))
    repository.record(None, [Move("refs/heads/tuned", None, second.id)], "branch")
    base, entry = (tensor(repository, commit, "a") for commit in (first, second))
    flip(repository, base.id)
    repository = Repository(repository.path)

    lost = {item.id: item for item in fsck(repository).lost}
    with pytest.raises(Damage, match=rf"tensor 'a' \({entry.id[:12]}\) is damaged.*commit {second.id[:10]}, on tuned"):
        repository.tensor(entry)

    assert set(lost) == {base.id, entry.id}
    assert lost[entry.id].bases == [base.id] and lost[base.id].bases == []
    assert (lost[base.id].refs, lost[entry.id].refs) == ([MAIN], ["refs/heads/tuned"])
