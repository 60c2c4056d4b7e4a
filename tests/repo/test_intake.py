"""What a source holds becomes a commit: stored once, small, and with room for all that is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wvc.errors import BadFile, RefMoved
from wvc.repo import sources
from wvc.repo.intake import Plan, how, take
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.store.batch import Batch
from wvc.store.blobs import Blob
from wvc.store.packs import Pack

from .layouts import PARTS, SIDES, bring_in, model_folder, safetensors

MAIN = "refs/heads/main"
IMPORT = {"kind": "import", "format": "hf"}


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[Blob]:
    """The blobs that reach the store, in their order."""
    seen: list[Blob] = []
    real = Batch.store

    def watched(self: Batch, blobs: Iterator[Blob], *more: object) -> list[str]:
        seen.extend(blobs)
        return real(self, seen, *more)

    monkeypatch.setattr(Batch, "store", watched)
    return seen


def follow(repository: Repository, path: Path, parent: Commit) -> Commit:
    with sources.open(path) as source:
        return take(repository, source, Plan(MAIN, "next", how(source, None), parent=parent))


def test_a_commit_names_everything_that_came(tmp_path, repository):
    folder = model_folder(tmp_path / "in")

    made = bring_in(repository, folder)

    manifest = repository.manifest(made)
    files = dict(manifest.files)
    assert (made.parents, made.how, made.kind) == ((), IMPORT, "import")
    assert repository.refs == {MAIN: made.id}
    assert {name: bytes(repository.read(files[name])) for name in SIDES} == SIDES
    held = {t.name: (t.dtype, t.shape, bytes(repository.tensor(t))) for t in manifest.tensors}
    assert held == {name: (d, tuple(s), raw) for part in PARTS.values() for name, (d, s, raw) in part.items()}


def test_large_blobs_come_first(tmp_path, repository, stored):
    bring_in(repository, model_folder(tmp_path / "in"))

    sizes = [blob.size for blob in stored]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 4 + 3 + len(SIDES)


def test_tensors_know_those_of_the_parent_that_they_may_resemble(tmp_path, repository, stored):
    path = tmp_path / "x.safetensors"
    before = {name: ("U8", [4], bytes([i] * 4)) for i, name in enumerate(("same", "tuned", "cast", "grown", "gone"))}
    path.write_bytes(safetensors(before))
    head = bring_in(repository, path)
    ids = {t.name: t.id for t in repository.manifest(head).tensors}
    stored.clear()
    after = {**before, "tuned": ("U8", [4], b"tune"), "cast": ("I8", [4], b"cast"), "grown": ("U8", [5], b"grown")}
    after["new"] = after.pop("gone")
    path.write_bytes(safetensors(after))

    follow(repository, path, head)

    found = sorted((blob.dtype, blob.shape, blob.bases) for blob in stored if blob.size < 6)
    assert found == sorted(
        [
            ("U8", (4,), (ids["same"],)),
            ("U8", (4,), (ids["tuned"],)),
            ("I8", (4,), ()),  # cast
            ("U8", (5,), ()),  # grown
            ("U8", (4,), ()),  # new
        ]
    )


def test_there_is_room_for_the_names_of_many_side_files(tmp_path, repository):
    folder = tmp_path / "in"
    deep = folder / "/".join(letter * 128 for letter in "abc")
    deep.mkdir(parents=True)
    for i in range(300):
        (deep / f"{i:04}".ljust(128, "x")).write_bytes(bytes([i % 256]) * 100)
    (folder / "model.safetensors").write_bytes(safetensors({"w": ("U8", [1], b"x")}))

    made = bring_in(repository, folder)

    (pack,) = [Pack(repository.folder / "packs", name) for name in repository.log.head().packs]
    assert made.id in pack.objects() and made.manifest in pack.objects()
    assert len(repository.manifest(made).files) == 301


def test_a_branch_that_moved_meanwhile_is_left_alone(tmp_path, repository):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors({"w": ("U8", [1], b"x")}))
    head = bring_in(repository, path)
    path.write_bytes(safetensors({"w": ("U8", [1], b"y")}))
    theirs = follow(repository, path, head)

    with pytest.raises(RefMoved):
        follow(repository, path, head)

    assert repository.refs[MAIN] == theirs.id


def test_a_source_that_cannot_be_read_to_its_end_changes_nothing(tmp_path, repository):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors({"w": ("U8", [100], bytes(100)), "v": ("U8", [50], bytes(50))}))
    with sources.open(path) as source:
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(BadFile, match="shorter"):
            take(repository, source, Plan(MAIN, "no", how(source, None)))

    assert repository.refs == {}
    assert list((repository.folder / "packs").iterdir()) == list((repository.folder / "tmp").iterdir()) == []


def test_equal_weights_have_one_identity_whatever_files_they_came_in(tmp_path, repository):
    folder = model_folder(tmp_path / "in")
    (tmp_path / "one.safetensors").write_bytes(
        safetensors({n: raw for part in PARTS.values() for n, raw in part.items()})
    )

    made = [bring_in(repository, path, f"b{i}") for i, path in enumerate((folder, tmp_path / "one.safetensors"))]

    assert made[0].weights == made[1].weights and made[0].manifest != made[1].manifest


def test_what_is_said_of_an_import(tmp_path):
    with sources.open(model_folder(tmp_path)) as source:
        assert how(source, None) == IMPORT
        assert how(source, "ema") == {**IMPORT, "key": "ema"}
