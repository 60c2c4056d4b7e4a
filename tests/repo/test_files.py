"""safetensors files in and out: byte for byte, checked, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wvc.errors import BadFile, CorruptObject, Damage, DiskProblem, MissingObject, WvcError
from wvc.repo import commits, files
from wvc.repo.files import HEADER, Source, export
from wvc.repo.objects import Commit, Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.store.packs import SUFFIX

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def bring_in(repository: Repository, path: Path, ref: str = "refs/heads/main") -> Commit:
    with Source(path) as source:
        shapes = [*source.shapes.values(), (1,)]
        with repository.batch(shapes, 4096 + 400 * len(shapes)) as batch:
            tensors, header = source.store(batch)
            manifest = Manifest(tensors, (header,))
            commit = commits.make(repository, manifest, [], "imported", {"kind": "import"})
            commits.put(repository, batch, manifest, commit)
            commits.record(repository, batch, commit, ref=ref, old=repository.refs.get(ref))
    return commit


def packed(header: dict[str, object] | str, body: bytes, blanks: int = 0) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode() + b" " * blanks
    return len(text).to_bytes(8, "little") + text + body


def bits(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    """A tensor of any bits at all: NaN with payloads, infinities, minus zero, true that is not 1."""
    n = torch.empty(shape, dtype=dtype).nbytes
    if not n:
        return torch.empty(shape, dtype=dtype)
    data = np.random.default_rng(seed).integers(0, 2 if dtype == torch.bool else 256, n, dtype=np.uint8)
    return torch.from_numpy(data).view(dtype).reshape(shape)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("abé.θ/ ", min_size=1, max_size=6),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 9)),
        max_size=6,
    ),
    st.none() | st.dictionaries(st.text("ab\né"), st.text("ab\né"), min_size=1, max_size=2),
)
def test_what_the_library_wrote_goes_out_byte_for_byte(tmp_path, repository, tensors, metadata):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(safetensors.torch.save({n: bits(*spec) for n, spec in tensors.items()}, metadata))

    commit = bring_in(repository, path)
    export(repository, repository.manifest(commit), out, force=True)

    assert out.read_bytes() == path.read_bytes()


F4 = {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}
FILES = {
    "no tensors": packed("{}", b""),
    "many blanks": packed({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"ab", blanks=999),
    "a dtype that torch does not have": packed({"a": F4}, b"\x12\x34"),
    "unsorted and unaligned": packed(
        '{"b": {"data_offsets":[0,3],"shape":[3],"dtype":"U8"}, "__metadata__":{}, "a":'
        ' {"dtype":"F64","shape":[1],"data_offsets":[3,11]}}', b"abc" + bytes(8)),
    "equal tensors": packed(
        {n: {"dtype": "U8", "shape": [2], "data_offsets": [2 * i, 2 * i + 2]} for i, n in enumerate("abc")}, b"ababab"),
    "names like paths": packed({"../../etc/passwd": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"x"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_files_of_other_writers_go_out_byte_for_byte(tmp_path, repository, case):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(FILES[case])

    commit = bring_in(repository, path)
    size = export(repository, repository.manifest(commit), out)

    assert out.read_bytes() == FILES[case]
    assert size == len(FILES[case])


def test_a_file_in_chunks_is_the_same_file(tmp_path, repository, monkeypatch):
    path = tmp_path / "in"
    path.write_bytes(safetensors.torch.save({"w": bits(torch.float32, [50, 7], 1), "v": bits(torch.uint8, [33], 2)}))
    monkeypatch.setattr(files, "CHUNK", 11)

    commit = bring_in(repository, path)
    export(repository, repository.manifest(commit), tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == path.read_bytes()


def test_the_same_file_again_takes_no_room(tmp_path, repository):
    path = tmp_path / "in"
    path.write_bytes(safetensors.torch.save({"w": bits(torch.float32, [5000], 1)}))
    bring_in(repository, path)
    before = sum(p.stat().st_size for p in (repository.folder / "packs").iterdir())

    bring_in(repository, path, "refs/heads/again")

    assert sum(p.stat().st_size for p in (repository.folder / "packs").iterdir()) < before + 4000


def test_weights_that_never_were_a_file_are_written_as_the_library_reads_them(tmp_path, repository, save):
    commit = save({"b": np.arange(3, dtype=np.uint8), "a": np.ones((2, 2)), "c": np.float16(7)})

    export(repository, repository.manifest(commit), tmp_path / "out")

    found = safetensors.torch.load_file(tmp_path / "out")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [[1, 1], [1, 1]], "b": [0, 1, 2], "c": 7}


def test_the_header_of_another_model_is_not_used(tmp_path, repository, save):
    path = tmp_path / "in"
    path.write_bytes(safetensors.torch.save({"other": bits(torch.float32, [3], 1)}))
    header = repository.manifest(bring_in(repository, path)).files
    own = repository.manifest(save(1))

    export(repository, Manifest(own.tensors, header), tmp_path / "out")

    assert list(safetensors.torch.load_file(tmp_path / "out")) == ["w"]


def test_a_stored_header_that_is_none_is_damage(tmp_path, repository, save):
    with repository.batch([(5,)]) as batch:
        id = batch.add("U8", (5,), [b"junk!"])
        repository.record(batch, [], "a header that is none")
    own = repository.manifest(save(1))

    with pytest.raises(Damage, match="header"):
        export(repository, Manifest(own.tensors, ((HEADER, id),)), tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_export_overwrites_nothing_unless_forced(tmp_path, repository, save, what):
    manifest, out = repository.manifest(save(1)), tmp_path / "out"
    out.write_text("precious") if what == "file" else out.mkdir()

    with pytest.raises(WvcError, match="exists"):
        export(repository, manifest, out)
    assert out.is_dir() or out.read_text() == "precious"

    if what == "folder":
        with pytest.raises(WvcError, match="exists"):
            export(repository, manifest, out, force=True)
    else:
        export(repository, manifest, out, force=True)
        assert safetensors.torch.load_file(out)["w"].tolist() == [1, 1, 1]


def break_tensor(repository: Repository, commit: Commit) -> None:
    """Flip the last byte of every pack."""
    for path in (repository.folder / "packs").glob("*" + SUFFIX):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("force", [False, True])
def test_a_corrupt_tensor_is_never_exported_and_leaves_no_file(tmp_path, repository, save, force):
    commit = save({"a": np.arange(16, dtype=np.float32)})
    break_tensor(repository, commit)
    folder = tmp_path / "to"
    folder.mkdir()
    if force:
        (folder / "out").write_text("old")
    repository = Repository(repository.path)

    with pytest.raises(CorruptObject):
        export(repository, repository.manifest(repository.head()), folder / "out", force=force)

    assert [(p.name, p.read_text()) for p in folder.iterdir()] == ([("out", "old")] if force else [])


def test_a_tensor_that_is_not_there_is_missing(tmp_path, repository, save):
    tensors = (Tensor("w", "F32", (3,), "0" * 64),)

    with pytest.raises(MissingObject):
        export(repository, Manifest(tensors), tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


def test_a_manifest_that_lies_about_a_shape_makes_no_file(tmp_path, repository, save):
    (tensor,) = repository.manifest(save(1)).tensors
    lie = Manifest((Tensor("w", "F32", (4,), tensor.id),))

    with pytest.raises(Damage):
        export(repository, lie, tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


def test_a_full_disk_leaves_no_half_a_file(tmp_path, repository, save, monkeypatch):
    manifest = repository.manifest(save(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskProblem):
        export(repository, manifest, tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


def test_export_into_a_folder_that_is_not_there_is_one_clear_error(tmp_path, repository, save):
    with pytest.raises(WvcError):
        export(repository, repository.manifest(save(1)), tmp_path / "nowhere" / "out")


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path, repository):
    path = tmp_path / "in"
    path.write_bytes(safetensors.torch.save({"w": bits(torch.float32, [50], 1)}))

    with Source(path) as source, repository.batch(source.shapes.values()) as batch:
        os.truncate(path, 100)
        with pytest.raises(BadFile, match="shorter"):
            source.store(batch)

    assert repository.refs == {}


@pytest.mark.parametrize("what", ["missing", "folder", "pickle", "empty"])
def test_what_is_no_safetensors_file_is_a_bad_file(tmp_path, what):
    path = tmp_path / "in"
    if what == "folder":
        path.mkdir()
    elif what != "missing":
        path.write_bytes(b"" if what == "empty" else b"\x80\x04\x95\x00\x00\x00\x00")

    with pytest.raises(BadFile, match="in"):
        Source(path)
