"""What goes out: byte for byte as it came where it came so, and not a byte that was not checked."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from wvc.errors import CorruptObject, Damage, DiskProblem, MissingObject, WvcError
from wvc.repo.export import Options, export
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.store.packs import SUFFIX

from .layouts import PARTS, SIDES, Raw, bring_in, contents, model_folder, packed, random_bytes, shards
from .layouts import safetensors as written

INDEX = "model.safetensors.index.json"
HF, SHARDED = Options("hf"), Options("sharded")
SMALL = Options("sharded", 600)


def manifest_of(repository: Repository, path: Path) -> Manifest:
    return repository.manifest(bring_in(repository, path))


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
    (tmp_path / "in").write_bytes(FILES[case])

    made = export(repository, manifest_of(repository, tmp_path / "in"), tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == FILES[case]
    assert (made.bytes, made.files, made.format) == (len(FILES[case]), ("out",), "safetensors")


def test_a_file_of_many_chunks_is_the_same_file(tmp_path, repository):
    data = written(
        {"w": ("U8", [5 << 20], random_bytes(5 << 20)), "v": ("F32", [2**19, 2], bytes(2**22)), "u": ("U8", [1], b"x")}
    )
    (tmp_path / "in").write_bytes(data)

    export(repository, manifest_of(repository, tmp_path / "in"), tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == data


def test_the_same_file_again_takes_no_room(tmp_path, repository):
    (tmp_path / "in").write_bytes(written({"w": ("F32", [5000], random_bytes(20000))}))
    bring_in(repository, tmp_path / "in")
    before = sum(p.stat().st_size for p in (repository.folder / "packs").iterdir())

    bring_in(repository, tmp_path / "in", "again")

    assert sum(p.stat().st_size for p in (repository.folder / "packs").iterdir()) < before + 4000


def test_a_model_folder_comes_back_whole(tmp_path, repository):
    came = model_folder(tmp_path / "in")

    made = export(repository, manifest_of(repository, came), tmp_path / "out", HF)

    assert contents(tmp_path / "out") == contents(came)
    assert set(made.files) == set(contents(came))
    assert made.bytes == sum(map(len, contents(came).values()))
    assert made.files[-1] == INDEX and set(made.files[:-3]) == set(SIDES)


def test_sharded_is_the_weights_and_their_index_only(tmp_path, repository):
    came = model_folder(tmp_path / "in")

    export(repository, manifest_of(repository, came), tmp_path / "out", SHARDED)

    assert contents(tmp_path / "out") == {n: data for n, data in contents(came).items() if n not in SIDES}


def test_a_single_file_can_be_made_of_shards_and_shards_of_a_single_file(tmp_path, repository):
    model = manifest_of(repository, shards(tmp_path / "in", PARTS))
    held = {name: raw for part in PARTS.values() for name, raw in part.items()}

    export(repository, model, tmp_path / "one")
    export(repository, manifest_of(repository, tmp_path / "one"), tmp_path / "out", SMALL)

    (name,) = json.loads((tmp_path / "out" / INDEX).read_text())["metadata"]
    assert name == "total_size"
    for path in (tmp_path / "one", *(tmp_path / "out").glob("*.safetensors")):
        with safetensors.safe_open(path, "numpy") as file:
            assert file.metadata() == {"format": "pt"}
    assert raw_of(tmp_path / "one") == held
    assert {n: raw for p in (tmp_path / "out").glob("*.safetensors") for n, raw in raw_of(p).items()} == held


def raw_of(path: Path) -> dict[str, Raw]:
    """What a file holds, by an independent reader."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    return {
        name: (f["dtype"], tuple(f["shape"]), data[start + f["data_offsets"][0] : start + f["data_offsets"][1]])
        for name, f in header.items()
    }


def test_a_folder_with_one_file_is_that_again_and_can_be_cut(tmp_path, repository):
    held = {name: raw for part in PARTS.values() for name, raw in part.items()}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "adapter_model.safetensors").write_bytes(written(held, {"a": "b"}))
    (tmp_path / "in" / "adapter_config.json").write_text("{}")
    model = manifest_of(repository, tmp_path / "in")

    export(repository, model, tmp_path / "out", HF)
    export(repository, model, tmp_path / "cut", Options("hf", 2500))
    export(repository, model, tmp_path / "whole", Options("hf", 10**6))

    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert set(contents(tmp_path / "cut")) == {
        "adapter_config.json",
        "adapter_model-00001-of-00002.safetensors",
        "adapter_model-00002-of-00002.safetensors",
        "adapter_model.safetensors.index.json",
    }
    assert set(contents(tmp_path / "whole")) == set(contents(tmp_path / "in"))
    again = manifest_of(repository, tmp_path / "cut")
    assert again.weights == model.weights


def test_fine_tuned_tensors_keep_the_files_and_other_tensors_get_new_ones(tmp_path, repository, save):
    came = manifest_of(repository, model_folder(tmp_path / "in"))
    tuned = save({t.name: np.full(t.shape, i, "<f2") for i, t in enumerate(came.tensors)})
    same = tuple(Tensor(t.name, "BF16", t.shape, t.id) for t in repository.manifest(tuned).tensors)

    export(repository, Manifest(same, came.files), tmp_path / "tuned", HF)
    export(repository, Manifest(same[1:], came.files), tmp_path / "fewer", HF)

    before, after = contents(tmp_path / "in"), contents(tmp_path / "tuned")
    assert set(after) == set(before)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == set(PARTS)
    for name in PARTS:
        start = 8 + int.from_bytes(before[name][:8], "little")
        assert after[name][:start] == before[name][:start]
        assert {n: raw[:2] for n, raw in raw_of(tmp_path / "tuned" / name).items()} == {
            n: raw[:2] for n, raw in PARTS[name].items()
        }
    assert set(contents(tmp_path / "fewer")) == {*SIDES, "model.safetensors"}


def test_weights_that_never_were_a_file_are_written_as_the_library_reads_them(tmp_path, repository, save):
    manifest = repository.manifest(save({"b": np.arange(3, dtype=np.uint8), "a": np.ones((2, 2)), "c": np.float16(7)}))

    export(repository, manifest, tmp_path / "out")
    export(repository, manifest, tmp_path / "hf", HF)
    export(repository, manifest, tmp_path / "sharded", SHARDED)

    for path in (
        tmp_path / "out",
        tmp_path / "hf" / "model.safetensors",
        *(tmp_path / "sharded").glob("*.safetensors"),
    ):
        found = {name: array.tolist() for name, array in load_file(path).items()}
        assert found == {"a": [[1, 1], [1, 1]], "b": [0, 1, 2], "c": 7}
    assert set(contents(tmp_path / "hf")) == {"model.safetensors"}
    assert set(contents(tmp_path / "sharded")) == {"model-00001-of-00001.safetensors", INDEX}


def test_some_tensors_have_a_header_of_their_own(tmp_path, repository):
    model = manifest_of(repository, model_folder(tmp_path / "in"))

    export(repository, model, tmp_path / "some", Options(tensors=("layers.*", "he?d")))
    export(repository, model, tmp_path / "all", Options("hf", tensors=("*",)))
    export(repository, model, tmp_path / "cut", Options("sharded", tensors=("layers*w",)))

    assert set(raw_of(tmp_path / "some")) == {"layers.0.w", "layers.1.w", "head"}
    assert contents(tmp_path / "all") == contents(tmp_path / "in")
    assert set(json.loads((tmp_path / "cut" / INDEX).read_text())["weight_map"]) == {"layers.0.w", "layers.1.w"}


def test_a_pattern_that_matches_nothing_names_what_is_near(tmp_path, repository):
    model = manifest_of(repository, model_folder(tmp_path / "in"))

    with pytest.raises(WvcError, match=r"'layer\.0\.w'") as caught:
        export(repository, model, tmp_path / "out", Options(tensors=("embed", "layer.0.w")))

    assert "layers.0.w" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_the_header_of_another_model_is_not_used(tmp_path, repository, save):
    (tmp_path / "in").write_bytes(written({"other": ("F32", [3], bytes(12))}))
    header = manifest_of(repository, tmp_path / "in").files
    own = repository.manifest(save(1))

    export(repository, Manifest(own.tensors, header), tmp_path / "out")

    assert list(load_file(tmp_path / "out")) == ["w"]


def flip(repository: Repository) -> Repository:
    """Flip the last byte of every pack; the repository opened anew."""
    for path in (repository.folder / "packs").glob("*" + SUFFIX):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return Repository(repository.path)


@pytest.mark.parametrize("force", [False, True])
def test_a_corrupt_tensor_is_never_exported_and_leaves_no_file(tmp_path, repository, save, force):
    save({"a": np.frombuffer(random_bytes(64), "f4")})
    folder = tmp_path / "to"
    folder.mkdir()
    if force:
        (folder / "out").write_text("old")
    repository = flip(repository)

    with pytest.raises(CorruptObject):
        export(repository, repository.manifest(repository.head()), folder / "out", force=force)

    assert [(p.name, p.read_text()) for p in folder.iterdir()] == ([("out", "old")] if force else [])


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("damaged", ["a tensor", "a side file"])
def test_a_folder_with_damage_in_it_does_not_appear(tmp_path, repository, there, damaged):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.safetensors").write_bytes(written({"w": ("U8", [100], random_bytes(100))}))
    (tmp_path / "in" / "notes.txt").write_bytes(random_bytes(200 if damaged == "a tensor" else 50, 1))
    bring_in(repository, tmp_path / "in")
    out = tmp_path / "to" / "out"
    out.mkdir(parents=True) if there else out.parent.mkdir()
    repository = flip(repository)
    last = min(repository.manifest(repository.head()).ids(), key=lambda id: _intact(repository, id))
    assert not _intact(repository, last)

    with pytest.raises(Damage):
        export(repository, repository.manifest(repository.head()), out, HF)

    assert [p for p in (tmp_path / "to").rglob("*") if p != out] == []


def _intact(repository: Repository, id: str) -> bool:
    try:
        repository.read(id)
    except Damage:
        return False
    return True


def test_a_tensor_that_is_not_there_is_missing(tmp_path, repository, save):
    with pytest.raises(MissingObject):
        export(repository, Manifest((Tensor("w", "F32", (3,), "0" * 64),)), tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


def test_a_manifest_that_lies_about_a_shape_makes_no_file(tmp_path, repository, save):
    (tensor,) = repository.manifest(save(1)).tensors
    lie = Manifest((Tensor("w", "F32", (4,), tensor.id),))

    with pytest.raises(Damage):
        export(repository, lie, tmp_path / "out")

    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize("options", [Options(), HF, SHARDED])
def test_a_full_disk_leaves_no_half_a_file(tmp_path, repository, save, monkeypatch, options):
    manifest = repository.manifest(save(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskProblem):
        export(repository, manifest, tmp_path / "out", options)

    assert [p for p in tmp_path.iterdir() if p.name != "zoo"] == []


def test_nothing_is_visible_before_everything_was_checked(tmp_path, repository, monkeypatch):
    model = manifest_of(repository, model_folder(tmp_path / "in"))
    seen: list[list[str]] = []
    real = Repository.chunks

    def watched(self: Repository, tensor: Tensor) -> Iterator[memoryview]:
        yield from real(self, tensor)
        seen.append([p.name for p in tmp_path.iterdir() if not p.name.startswith(".wvc-")])

    monkeypatch.setattr(Repository, "chunks", watched)
    export(repository, model, tmp_path / "out", HF)
    export(repository, model, tmp_path / "file")

    assert len(seen) == 8 and not any({"file"} & set(names) for names in seen)
    assert all("out" not in names for names in seen[:4])


@pytest.mark.parametrize("name", ["a\nb", "__metadata__", "e\u0301", "x" * 600])
def test_a_hostile_name_of_a_tensor_is_damage(tmp_path, repository, save, name):
    (tensor,) = repository.manifest(save(1)).tensors

    with pytest.raises(Damage):
        export(repository, Manifest((Tensor(name, "F32", (3,), tensor.id),)), tmp_path / "out")


def test_progress_counts_every_byte_of_the_tensors(tmp_path, repository):
    class Counted:
        total = done = 0
        thread = threading.get_ident()

        def start(self, title: str, total: int, unit: str = "") -> None:
            self.total = total

        def advance(self, amount: int = 1, note: str = "") -> None:
            assert threading.get_ident() == self.thread
            self.done += amount

        def stop(self) -> None:
            self.total = -self.total

    model, progress = manifest_of(repository, model_folder(tmp_path / "in")), Counted()

    export(repository, model, tmp_path / "out", HF, progress=progress)

    held = sum(len(raw[2]) for part in PARTS.values() for raw in part.values())
    assert progress.done == held and progress.total < -held


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4000), st.lists(st.sampled_from(["embed", "head", "layers.0.w", "layers.1.w", "*"]), max_size=2))
def test_shards_of_any_size_hold_the_same_tensors(tmp_path, repository, limit, globs):
    if not (tmp_path / "in").exists():
        bring_in(repository, model_folder(tmp_path / "in"))
    manifest = repository.manifest(repository.head())
    out = tmp_path / f"out-{limit}-{'+'.join(globs).replace('*', 'x')}"

    export(repository, manifest, out, Options("sharded", limit, tuple(globs)), force=True)
    again = manifest_of(repository, out / INDEX)
    bring_in(repository, tmp_path / "in")

    wanted = {t for t in manifest.tensors if not globs or t.name in globs or "*" in globs}
    assert set(again.tensors) == wanted
