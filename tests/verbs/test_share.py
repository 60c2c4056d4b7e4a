"""Fetch, pull and push between repositories."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from wvc.errors import CorruptLog, Damage, MergeProblem, RemoteProblem, Rewound, Unclear, Unreachable, UsageError
from wvc.remotes import folder
from wvc.repo import names
from wvc.repo.fsck import fsck
from wvc.repo.repository import Repository, create
from wvc.repo.revisions import expand
from wvc.store.records import Draft, Move
from wvc.verbs import remote, terms
from wvc.verbs.clone import clone
from wvc.verbs.fetch import complete, fetch
from wvc.verbs.merge import merge
from wvc.verbs.need import need
from wvc.verbs.pull import pull
from wvc.verbs.push import Options, push
from wvc.weights import Weights

from .conftest import Shelf

REMOTE = ("remotes/origin/one", "remotes/origin/two")


def numbers(seed: int, n: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """An empty repository that all share."""
    create(tmp_path / "hub", Draft("init", "Ada", 0, default_branch="main"))
    return tmp_path / "hub"


@pytest.fixture
def ada(tmp_path: Path, hub: Path) -> Shelf:
    """Somebody with a base and two fine-tunes of it, and the hub as a remote; nothing is pushed yet."""
    shelf = Shelf(tmp_path / "ada")
    shelf.put("main", {"w": numbers(0), "b": numbers(1, 10)})
    for i, branch in enumerate(("one", "two")):
        shelf.put(branch, {"w": numbers(0) + numbers(5 + i) / 1000, "b": numbers(1, 10)})
    remote.add(shelf.repository, "hub", str(hub))
    return shelf


def is_whole(path: Path) -> bool:
    return not fsck(Repository(path)).problems


def held(repository: Repository, ref: str) -> dict[str, np.ndarray]:
    weights = Weights.of(repository, repository.manifest(repository.commit(repository.refs[ref])))
    return {name: weights[name].numpy() for name in weights}


def sent(shelf: Shelf, *refs: str, **options: Any) -> Any:
    return push(shelf.repository, "hub", Options(refs, **options))


class TestPush:
    """What arrives, and what does not."""

    def test_a_branch_arrives_with_all_that_it_needs_and_nothing_else(self, ada: Shelf, hub: Path):
        sent(ada, "one")

        there = Repository(hub)
        assert set(there.refs) == {"refs/heads/one"}
        np.testing.assert_array_equal(held(there, "refs/heads/one")["w"], held(ada.repository, "refs/heads/one")["w"])
        assert is_whole(hub)
        other = ada.repository.manifest(ada.tip("two")).by_name["w"].id
        assert not there.reader.has(other)

    def test_what_is_there_does_not_go_again(self, ada: Shelf, hub: Path):
        first = sent(ada, "main").sent

        second = sent(ada, "one").sent

        assert 0 < second < first
        assert sent(ada, "one").moves == ()

    def test_no_byte_of_what_was_not_pushed_leaves(self, ada: Shelf, hub: Path):
        secret = numbers(99)
        ada.put("private", {"w": secret, "b": numbers(1, 10)}, start="one")
        ada.put("public", {"w": secret + 1e-4, "b": numbers(1, 10)}, start="private")
        ada.repository.record(None, [Move("refs/heads/later", None, ada.tip("two").id)], "later")

        sent(ada, "two")

        packs = b"".join(path.read_bytes() for path in (hub / ".wvc" / "packs").iterdir())
        for branch in ("one", "private", "public"):
            id = ada.repository.manifest(ada.tip(branch)).by_name["w"].id
            assert id.encode() not in packs
            assert bytes(ada.repository.read(id))[:64] not in packs

    def test_all_branches_arrive_or_none(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "one")
        bea = clone(hub, tmp_path / "bea", "one")
        ada.put("one", {"w": numbers(8), "b": numbers(1, 10)}, start="one")
        sent(ada, "one")
        bea.record(None, [Move("refs/heads/new", None, bea.refs["refs/heads/one"])], "new")

        with pytest.raises(RemoteProblem, match="has what is not here"):
            push(bea, "origin", Options(("one", "new")))
        assert "refs/heads/new" not in Repository(hub).refs

    def test_what_others_did_is_replaced_only_with_force(self, ada: Shelf, hub: Path):
        sent(ada, "one:main")
        with pytest.raises(RemoteProblem, match="no ancestor"):
            sent(ada, "two:main")

        with pytest.raises(RemoteProblem, match="not where you saw it"):
            sent(ada, "two:main", lease={"refs/heads/main": ada.tip("two").id})
        sent(ada, "two:main", lease={"refs/heads/main": ada.tip("one").id})

        assert Repository(hub).refs["refs/heads/main"] == ada.tip("two").id

    def test_a_branch_can_be_removed(self, ada: Shelf, hub: Path):
        sent(ada, "one", "two")

        sent(ada, "two", delete=True)

        assert set(Repository(hub).refs) == {"refs/heads/one"}
        with pytest.raises(UsageError, match="has no two"):
            sent(ada, "two", delete=True)

    def test_a_dry_run_sends_nothing(self, ada: Shelf, hub: Path):
        pushed = sent(ada, "one", dry_run=True)

        assert [move.ref for move in pushed.moves] == ["refs/heads/one"] and pushed.sent > 12_000
        assert not Repository(hub).refs and not list((hub / ".wvc" / "packs").iterdir())

    def test_nothing_damaged_is_sent(self, ada: Shelf, hub: Path):
        ada.flip(ada.repository.manifest(ada.tip("one")).by_name["w"].id)

        with pytest.raises(Damage):
            sent(ada, "one")
        assert not Repository(hub).refs

    def test_many_who_push_at_once_all_end_well(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        people = [clone(hub, tmp_path / f"p{i}") for i in range(4)]
        problems: list[BaseException] = []

        def work(i: int) -> None:
            try:
                for j in range(4):
                    id = people[i].refs["refs/heads/main"]
                    refs = [f"refs/heads/p{i}/{j}/{k}" for k in range(3)]
                    people[i].record(None, [Move(ref, None, id) for ref in refs], "more")
                    push(people[i], "origin", Options(tuple(map(names.short, refs))))
            except BaseException as error:
                problems.append(error)

        workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        assert not problems
        assert len([ref for ref in Repository(hub).refs if ref.startswith("refs/heads/p")]) == 48
        assert Repository(hub).log.verify().number == 2 + 16
        assert is_whole(hub)


class Unreliable(folder.Folder):
    """Loses every reply to a put of a record: some after it happened, some before."""

    happens = True

    def put(self, kind: Any, name: str, source: Any, size: int) -> bool:
        if kind == "packs":
            return super().put(kind, name, source, size)
        if self.happens:
            super().put(kind, name, source, size)
        type(self).happens = not self.happens
        raise Unclear("the reply was lost")


@pytest.mark.parametrize("happens", [True, False])
def test_a_lost_reply_is_settled_by_looking(ada: Shelf, hub: Path, monkeypatch: pytest.MonkeyPatch, happens: bool):
    Unreliable.happens = happens
    monkeypatch.setattr(folder, "Folder", Unreliable)

    pushed = sent(ada, "one")

    assert [move.new for move in pushed.moves] == [ada.tip("one").id]
    assert Repository(hub).log.verify().number == 2


class Raced(folder.Folder):
    """Where somebody else is first with a record that moves `ref`."""

    ref: ClassVar[str] = ""
    packs: ClassVar[list[str]] = []

    def put(self, kind: Any, name: str, source: Any, size: int) -> bool:
        if kind == "packs":
            self.packs.append(name)
        elif Raced.ref:
            there, ref = Repository(self.url), Raced.ref
            Raced.ref = ""
            there.record(None, [Move(ref, there.refs.get(ref), there.refs["refs/heads/main"])], "first")
        return super().put(kind, name, source, size)


@pytest.mark.parametrize("ref", ["refs/heads/other", "refs/heads/two"])
def test_who_was_not_first_sends_no_pack_again(ada: Shelf, hub: Path, monkeypatch: pytest.MonkeyPatch, ref: str):
    sent(ada, "main")
    monkeypatch.setattr(folder, "Folder", Raced)
    monkeypatch.setattr(Raced, "ref", ref)
    monkeypatch.setattr(Raced, "packs", [])

    if ref == "refs/heads/other":
        assert sent(ada, "two").moves
    else:
        pushed = sent(ada, "two")  # which is at main by now, an ancestor
        assert [move.old for move in pushed.moves] == [ada.tip("main").id]

    assert Repository(hub).refs["refs/heads/two"] == ada.tip("two").id
    assert len({name.split(".")[0] for name in Raced.packs}) == len(Raced.packs) == 1
    assert is_whole(hub)


class TestFetch:
    """What comes."""

    def test_branches_tags_and_their_history_come(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        bea = clone(hub, tmp_path / "bea")
        ada.repository.record(None, [Move("refs/tags/v1", None, ada.tip("one").id)], "tag")
        sent(ada, "two", "v1")

        fetched = fetch(bea, "origin")

        assert {move.ref for move in fetched.moves} == {"refs/remotes/origin/two", "refs/tags/v1"}
        np.testing.assert_array_equal(
            held(bea, "refs/remotes/origin/two")["w"], held(ada.repository, "refs/heads/two")["w"]
        )
        assert fetch(bea, "origin").moves == () and is_whole(tmp_path / "bea")

    def test_one_branch_alone(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        bea = clone(hub, tmp_path / "bea")
        sent(ada, "one", "two")

        fetch(bea, "origin", ["one"])

        assert "refs/remotes/origin/two" not in bea.refs
        with pytest.raises(RemoteProblem, match="no branch 'three'"):
            fetch(bea, "origin", ["three"])

    def test_what_is_gone_there_is_forgotten_if_asked(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main", "one")
        bea = clone(hub, tmp_path / "bea", "main")
        sent(ada, "one", delete=True)

        assert not fetch(bea, "origin").moves
        assert [move.new for move in fetch(bea, "origin", prune=True).moves] == [None]

    def test_history_comes_first_and_weights_when_asked(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main", "one")

        bea = clone(hub, tmp_path / "bea", "main", weights=False)

        assert bea.manifest(bea.head()).tensors
        with pytest.raises(Damage):
            held(bea, "refs/heads/main")
        complete(bea, "origin", ["main"])
        np.testing.assert_array_equal(held(bea, "refs/heads/main")["w"], numbers(0))
        complete(bea, "origin")
        assert is_whole(tmp_path / "bea")

    def test_weights_come_when_they_are_needed(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main", "one", "two")
        bea = clone(hub, tmp_path / "bea", "main", weights=False)
        manifest = {ref: bea.manifest(bea.commit(bea.refs[f"refs/{ref}"])) for ref in ("heads/main", *REMOTE)}

        assert expand(bea, ["origin/*"]) == ["refs/remotes/origin/main", *(f"refs/{ref}" for ref in REMOTE)]
        assert expand(bea, ["m*"]) == ["refs/heads/main"]
        before = bea.log.head().number
        with pytest.raises(MergeProblem):  # for want of a task: nothing comes for what is refused, or only tried
            merge(bea, ["origin/[ot]*"], terms.Options(with_head=False, select="greedy"))
        merge(bea, ["origin/[ot]*"], terms.Options(with_head=False, dry_run=True))
        assert bea.log.head().number == before
        merged = merge(bea, ["origin/[ot]*"], terms.Options(with_head=False))

        assert merged.commit is not None
        mean = (held(bea, "refs/remotes/origin/one")["w"] + held(bea, "refs/remotes/origin/two")["w"]) / 2
        np.testing.assert_allclose(held(bea, "refs/heads/main")["w"], mean, rtol=1e-6)
        base = manifest["heads/main"].by_name["w"].id
        assert not bea.reader.has(base)  # nobody needed it
        need(bea, [manifest["heads/main"]])
        assert bea.reader.has(base) and bea.config.without_weights() == "origin"
        before = bea.log.head().number
        need(bea, manifest.values())
        assert bea.log.head().number == before  # nothing is asked for twice

    def test_damage_there_does_not_come_here(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        bea = clone(hub, tmp_path / "bea")
        sent(ada, "one")
        before = bea.log.head().number
        (pack,) = (p for p in (hub / ".wvc" / "packs").iterdir() if p.name.split(".")[0] not in _hashes(bea))
        data = bytearray(pack.read_bytes())
        data[-100] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)

        with pytest.raises(Damage):
            fetch(bea, "origin")
        assert bea.log.head().number == before and is_whole(tmp_path / "bea")
        data[-100] ^= 1
        pack.write_bytes(data)
        assert fetch(bea, "origin").moves


def _hashes(repository: Repository) -> set[str]:
    return {name.split(".")[0] for name in repository.log.head().packs}


class Cut(folder.Folder):
    """A connection that breaks after so many bytes of packs, and counts those that came."""

    left: ClassVar[float] = float("inf")
    came: ClassVar[int] = 0

    def read(self, kind: Any, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        for data in super().read(kind, name, start, stop):
            if kind == "packs":
                if Cut.left < len(data):
                    raise Unreachable("the line was cut")
                Cut.left -= len(data)
                Cut.came += len(data)
            yield data


def test_what_came_before_a_cut_does_not_come_again(
    ada: Shelf, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sent(ada, "main")
    bea = clone(hub, tmp_path / "bea")
    ada.put("wide", {"w": numbers(3, 3_000_000), "v": numbers(4, 2_000_000), "b": numbers(1, 10)})
    size = sent(ada, "wide").sent
    monkeypatch.setattr(folder, "Folder", Cut)
    cuts = 0

    Cut.came = 0
    generator = np.random.default_rng(0)
    while True:
        Cut.left = int(generator.integers(1 << 20, 6 << 20))
        try:
            fetch(bea, "origin")
            break
        except Unreachable:
            cuts += 1

    assert cuts > 3
    assert Cut.came <= 1.05 * size + cuts * (1 << 20)
    np.testing.assert_array_equal(held(bea, "refs/remotes/origin/wide")["w"], numbers(3, 3_000_000))


@pytest.mark.parametrize("broken", [b"", b"0 8\n"])
def test_a_cache_that_was_cut_short_mends_itself(ada: Shelf, hub: Path, broken: bytes):
    sent(ada, "main")
    (pack,) = (ada.repository.folder / "cache" / "remotes" / "hub" / "packs").glob("*.safetensors")
    pack.write_bytes(bytes(pack.stat().st_size))
    pack.with_name(pack.name + ".parts").write_bytes(broken)

    assert sent(ada, "one").moves
    assert fetch(ada.repository, "hub").moves == ()


class TestRewound:
    """A remote whose history is not what it was."""

    @pytest.fixture
    def seen(self, ada: Shelf, hub: Path) -> Iterator[Shelf]:
        sent(ada, "main")
        sent(ada, "one")
        before = {path: path.read_bytes() for path in sorted((hub / ".wvc" / "log").iterdir())}
        yield ada
        assert len(before) == 3

    def records(self, hub: Path) -> list[Path]:
        return sorted((hub / ".wvc" / "log").iterdir())

    def test_an_older_copy_is_detected(self, seen: Shelf, hub: Path):
        self.records(hub)[-1].unlink()

        with pytest.raises(Rewound):
            fetch(seen.repository, "hub")
        with pytest.raises(Rewound):
            sent(seen, "two")

    def test_another_history_is_detected_even_without_a_cache(self, seen: Shelf, hub: Path):
        last = self.records(hub)[-1]
        value = json.loads(last.read_bytes())
        last.chmod(0o644)
        last.write_bytes(json.dumps({**value, "message": "other"}, sort_keys=True, separators=(",", ":")).encode())

        with pytest.raises(Rewound):
            fetch(seen.repository, "hub")
        shutil.rmtree(seen.repository.folder / "cache")
        with pytest.raises((Rewound, CorruptLog)):
            fetch(seen.repository, "hub")
        remote.accept(seen.repository, "hub")
        fetch(seen.repository, "hub")

    def test_another_repository_in_its_place_is_detected(self, seen: Shelf, hub: Path):
        shutil.rmtree(hub)
        create(hub, Draft("init", "Eve", 0, default_branch="main"))

        with pytest.raises(Rewound):
            fetch(seen.repository, "hub")


class TestPull:
    """The current branch follows."""

    def test_fast_forward_or_nothing(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        bea = clone(hub, tmp_path / "bea")
        ada.put("main", {"w": numbers(7), "b": numbers(1, 10)}, start="main")
        sent(ada, "main")

        assert pull(bea, "origin").move is not None
        assert bea.head().id == ada.tip("main").id
        assert pull(bea, "origin").move is None

    def test_two_that_moved_are_merged_only_if_asked(self, ada: Shelf, hub: Path):
        sent(ada, "one:main")
        ada.repository.record(None, [Move("refs/heads/main", ada.tip("main").id, ada.tip("two").id)], "two")

        with pytest.raises(MergeProblem, match="have both moved"):
            pull(ada.repository, "hub")
        merged = pull(ada.repository, "hub", merging=terms.Options(strategy="linear")).merged

        assert merged is not None and merged.commit is not None
        assert sorted(p.coefficient for p in merged.commit.parents) == [0.5, 0.5]


class TestRemotes:
    """Remotes by name."""

    @pytest.mark.parametrize("url", ["", "ftp://hub", "http://", "http://me:secret@hub", "http://hub/?q=1"])
    def test_what_can_be_no_address_is_refused_at_once(self, ada: Shelf, url: str):
        with pytest.raises(UsageError):
            remote.add(ada.repository, "other", url)

    @pytest.mark.parametrize("name", ["a/b", "HEAD", "", "x" * 200, "-x"])
    def test_names_that_are_none_are_refused(self, ada: Shelf, hub: Path, name: str):
        with pytest.raises(UsageError):
            remote.add(ada.repository, name, str(hub))

    def test_an_address_may_change_and_the_history_not(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        hub.rename(tmp_path / "moved")
        create(tmp_path / "other", Draft("init", "Ada", 0, default_branch="main"))

        remote.move(ada.repository, "hub", str(tmp_path / "moved"))
        assert sent(ada, "one").moves

        remote.move(ada.repository, "hub", str(tmp_path / "other"))
        with pytest.raises(Rewound):
            sent(ada, "two")
        with pytest.raises(UsageError):
            remote.move(ada.repository, "hub", "ftp://elsewhere")

    def test_another_place_may_take_the_name_of_one_that_was_removed(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        create(tmp_path / "other", Draft("init", "Ada", 0, default_branch="main"))

        remote.remove(ada.repository, "hub")
        remote.add(ada.repository, "hub", str(tmp_path / "other"))

        assert sent(ada, "main").moves

    def test_what_is_known_of_a_remote_shares_no_file_with_what_is_here(self, ada: Shelf, hub: Path, tmp_path: Path):
        sent(ada, "main")
        bea = clone(hub, tmp_path / "bea")
        sent(ada, "one")
        fetch(bea, "origin")

        for repository in (ada.repository, bea):
            cached = {path.stat().st_ino for path in (repository.folder / "cache").rglob("*") if path.is_file()}
            assert not cached & {path.stat().st_ino for path in (repository.folder / "packs").iterdir()}

    @pytest.mark.parametrize("there", ["refs/tasks/x", "refs/remotes/o/x", "refs/probes/x"])
    def test_only_branches_and_tags_are_pushed_to(self, ada: Shelf, there: str):
        with pytest.raises(UsageError, match="no branch and no tag"):
            sent(ada, f"main:{there}")
