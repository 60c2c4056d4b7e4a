"""Which tensor lies in which file: as it came, or as the libraries would lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from wvc.errors import Damage
from wvc.repo import arrangement
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.store.header import BITS, size_of

from .layouts import PARTS, SIDES, bring_in, model_folder, safetensors, shards

LIBRARY = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64, "F64": torch.float64,
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
ID = "0" * 64


def tensor(name: str, dtype: str = "U8", *shape: int) -> Tensor:
    return Tensor(name, dtype, shape, ID)


NAMES = st.text('ab.é/"\\ 模', min_size=1, max_size=5)
SHAPES = st.lists(st.integers(0, 3), max_size=3)


@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(sorted(LIBRARY)), SHAPES), max_size=8))
def test_a_new_header_is_the_one_that_the_library_writes(models):
    tensors = [tensor(name, dtype, *shape) for name, (dtype, shape) in sorted(models.items())]
    written = save({t.name: torch.zeros(t.shape, dtype=LIBRARY[t.dtype]) for t in tensors}, {"format": "pt"})

    (file,) = arrangement.single(tensors).files

    assert written.startswith(file.header.raw)
    assert file.size == len(written)


def test_every_dtype_has_a_place_in_the_order():
    assert set(arrangement.ORDER) == set(BITS)


def test_what_no_file_can_hold_is_damage():
    for name in ("a\nb", "__metadata__", "x" * 513):
        with pytest.raises(Damage, match="fit into no file"):
            arrangement.single([tensor(name)])


def sizes(plan: arrangement.Arrangement) -> dict[str, list[str]]:
    return {file.name: [entry.name for entry in file.header.entries] for file in plan.files}


def test_shards_are_filled_in_order_and_a_large_tensor_has_its_own():
    tensors = [
        tensor("a", "U8", 4),
        tensor("b", "U8", 5),
        tensor("c", "U8", 50),
        tensor("d", "U8", 1),
        tensor("e", "U8", 2),
    ]

    plan = arrangement.sharded(tensors, "model", 10)

    assert sizes(plan) == {
        "model-00001-of-00003.safetensors": ["c"],
        "model-00002-of-00003.safetensors": ["a", "b", "d"],
        "model-00003-of-00003.safetensors": ["e"],
    }
    name, raw = plan.index or ("", b"")
    assert name == "model.safetensors.index.json"
    assert json.loads(raw) == {
        "metadata": {"total_size": 62},
        "weight_map": {tensor: file for file, held in sizes(plan).items() for tensor in held},
    }
    assert raw == (json.dumps(json.loads(raw), indent=2, sort_keys=True) + "\n").encode()


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 60))
def test_no_shard_is_too_large_and_no_tensor_is_lost(lengths, limit):
    tensors = [tensor(f"t{i:02}", "U8", n) for i, n in enumerate(lengths)]

    plan = arrangement.sharded(tensors, "m", limit)

    held = [(entry.name, entry.shape) for file in plan.files for entry in file.header.entries]
    assert sorted(held) == [(t.name, t.shape) for t in tensors]
    for file in plan.files:
        sizes = [size_of(entry.dtype, entry.shape) for entry in file.header.entries]
        assert sum(sizes) <= limit or len(sizes) == 1


def came(repository: Repository, path: Path) -> Manifest:
    return repository.manifest(bring_in(repository, path))


def test_what_came_is_known_again(tmp_path, repository):
    manifest = came(repository, model_folder(tmp_path / "m"))

    plan = arrangement.stored(repository, manifest)

    assert plan is not None
    assert [file.name for file in plan.files] == list(PARTS)
    assert plan.index == (
        "model.safetensors.index.json",
        (tmp_path / "m" / "model.safetensors.index.json").read_bytes(),
    )
    assert arrangement.names(repository, manifest) == {name for name, _ in manifest.files} - set(SIDES)
    assert arrangement.stem(repository, manifest) == "model"


@pytest.mark.parametrize("change", ["name", "dtype", "shape", "more", "fewer"])
def test_other_tensors_do_not_fit(tmp_path, repository, change):
    manifest = came(repository, model_folder(tmp_path / "m"))
    first, *rest = manifest.tensors
    changed = {
        "name": [Tensor("zzz", first.dtype, first.shape, first.id)],
        "dtype": [Tensor(first.name, "F16", first.shape, first.id)],
        "shape": [Tensor(first.name, first.dtype, first.shape[::-1], first.id)],
        "more": [first, tensor("zzz")],
        "fewer": [],
    }[change]
    tensors = tuple(sorted((*rest, *changed), key=lambda t: t.name))

    assert arrangement.stored(repository, Manifest(tensors, manifest.files)) is None
    assert dict(arrangement.kept(repository, manifest, tensors)).keys() == SIDES.keys()


def test_fine_tuned_tensors_fit(tmp_path, repository):
    manifest = came(repository, model_folder(tmp_path / "m"))
    tensors = tuple(Tensor(t.name, t.dtype, t.shape, ID) for t in manifest.tensors)

    assert arrangement.stored(repository, Manifest(tensors, manifest.files)) is not None
    assert arrangement.kept(repository, manifest, tensors) == manifest.files


def with_files(repository: Repository, manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    """`manifest` with other side files, which are stored."""
    with repository.batch([(len(data),) for data in files.values()]) as batch:
        ids = {name: batch.add("U8", (len(data),), [data]) for name, data in files.items()}
        repository.record(batch, [], "files")
    return Manifest(manifest.tensors, tuple(sorted(ids.items())))


HEADER = safetensors({"w": ("F32", [3], bytes(12))})[:-12]


@pytest.mark.parametrize("data", [b"", b"junk!", HEADER[:-1], HEADER + b" ", b"\xff" + HEADER[1:], bytes(20)])
def test_a_stored_header_that_is_none_is_damage(repository, save, data):
    manifest = with_files(repository, repository.manifest(save(1)), {"model.safetensors.header": data})

    with pytest.raises(Damage, match="header"):
        arrangement.stored(repository, manifest)


@pytest.mark.parametrize(
    "files",
    [
        {"x.safetensors.index.json": b"junk"},
        {"x.safetensors.index.json": b'{"weight_map": {"w": "other.safetensors"}}'},
        {"sub/model.safetensors.header": b"junk", "sub/x.safetensors.index.json": b"junk"},
    ],
)
def test_side_files_that_only_look_like_it_are_side_files(repository, save, files):
    own = repository.manifest(save(1))

    for more in ({}, {"model.safetensors.header": HEADER}):
        manifest = with_files(repository, own, {**files, **more})
        assert arrangement.names(repository, manifest) == set(more)
        assert (arrangement.stored(repository, manifest) is None) == (not more)


def test_two_headers_without_an_index_are_no_arrangement(repository, save):
    files = {"a.safetensors.header": HEADER, "b.safetensors.header": HEADER}
    manifest = with_files(repository, repository.manifest(save(1)), files)

    assert arrangement.stored(repository, manifest) is None
    assert arrangement.stem(repository, manifest) == "model"


def test_two_files_that_hold_the_same_tensor_are_no_arrangement(repository, save):
    index = b'{"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}'
    files = {"a.safetensors.header": HEADER, "b.safetensors.header": HEADER, "m.safetensors.index.json": index}
    manifest = with_files(
        repository, repository.manifest(save({"v": np.zeros(3, "f4"), "w": np.zeros(3, "f4")})), files
    )

    assert arrangement.stored(repository, manifest) is None


def test_an_index_that_places_a_tensor_in_another_file_is_no_arrangement(tmp_path, repository):
    manifest = came(repository, shards(tmp_path / "m", PARTS))
    path = tmp_path / "m" / "model.safetensors.index.json"
    value = json.loads(path.read_text())
    value["weight_map"]["embed"] = list(PARTS)[1]
    files = {name: bytes(repository.read(id)) for name, id in manifest.files} | {path.name: json.dumps(value).encode()}

    assert arrangement.stored(repository, with_files(repository, manifest, files)) is None
