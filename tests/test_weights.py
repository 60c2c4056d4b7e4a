"""Weights: tensors that come when they are asked for, and go back bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wvc import weights
from wvc.errors import CorruptObject, Damage, ModelProblem
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository, create
from wvc.store.packs import Pack
from wvc.store.records import Draft
from wvc.tensors import DTYPES
from wvc.weights import Held, Weights

SHAPES = st.lists(st.integers(0, 3), max_size=3)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path / "zoo", Draft("init", "me", 0))


def store(repository: Repository, tensors: dict[str, torch.Tensor]) -> Manifest:
    with repository.batch([t.shape for t in tensors.values()]) as batch:
        manifest = Manifest(weights.store(batch, tensors))
        repository.record(batch, [], "weights")
    return manifest


def bits(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    """Any bits at all."""
    n = torch.empty(shape, dtype=dtype).nbytes
    data = np.random.default_rng(seed).integers(0, 2 if dtype == torch.bool else 256, n, dtype=np.uint8)
    return torch.from_numpy(data).view(dtype).reshape(shape) if n else torch.empty(shape, dtype=dtype)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text("ab.", min_size=1), st.tuples(st.sampled_from(sorted(DTYPES)), SHAPES, st.integers(0, 9)))
)
def test_any_bits_of_any_dtype_come_back(repository, specs):
    tensors = {name: bits(DTYPES[dtype], shape, seed) for name, (dtype, shape, seed) in specs.items()}

    found = Weights.of(repository, store(repository, tensors))

    assert set(found) == set(tensors)
    assert {n: (t.dtype, t.shape) for n, t in found.items()} == {n: (t.dtype, t.shape) for n, t in tensors.items()}
    assert all(raw(found[name]) == raw(tensor) for name, tensor in tensors.items())


def test_views_that_are_not_contiguous_are_stored_as_they_look(repository):
    table = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "t": table.T,
        "column": table[:, 1],
        "grad": torch.ones(2, requires_grad=True),
        "wide": torch.ones(1).expand(5),
    }

    found = Weights.of(repository, store(repository, tensors))

    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_the_largest_come_first_and_the_manifest_is_sorted_by_name(repository):
    manifest = store(repository, {"a": torch.ones(1), "b": torch.ones(9), "c": torch.ones(4)})

    assert list(Weights.of(repository, manifest)) == ["b", "c", "a"]
    assert [tensor.name for tensor in manifest.tensors] == ["a", "b", "c"]


def test_writing_to_a_tensor_changes_neither_the_file_nor_the_next_look(repository):
    manifest = store(repository, {"a": torch.ones(4)})
    found = Weights.of(repository, manifest)

    found["a"].fill_(7)

    assert Weights.of(Repository(repository.path), manifest)["a"].tolist() == [1, 1, 1, 1]


def test_stored_bytes_are_little_endian_and_plain(repository):
    manifest = store(repository, {"a": torch.tensor([1.0, -2.0])})

    assert bytes(repository.read(manifest.tensors[0].id)) == np.array([1, -2], "<f4").tobytes()


def test_a_damaged_tensor_is_refused_when_it_is_asked_for(repository):
    manifest = store(repository, {"a": torch.arange(100.0), "b": torch.ones(3)})
    id = manifest.by_name["a"].id
    pack = Pack(repository.folder / "packs", repository.packs_with(id)[0])
    data = bytearray(pack.path.read_bytes())
    data[pack.entries[id].start] ^= 1
    pack.path.unlink()
    pack.path.write_bytes(data)

    found = Weights.of(Repository(repository.path), manifest)

    with pytest.raises(CorruptObject):
        found["a"]
    assert found["b"].tolist() == [1, 1, 1]


def test_a_manifest_that_lies_about_a_shape_is_damage(repository):
    manifest = store(repository, {"a": torch.ones(4)})
    lie = Tensor("a", "F32", (5,), manifest.tensors[0].id)

    with pytest.raises(Damage):
        weights.read(repository, lie)


def test_a_dtype_that_torch_does_not_have_is_named(repository):
    with pytest.raises(ModelProblem, match="F6_E2M3"):
        weights.read(repository, Tensor("a", "F6_E2M3", (4,), "0" * 64))


def test_a_dtype_that_safetensors_does_not_have_is_named(repository):
    with pytest.raises(ModelProblem, match="complex128"):
        store(repository, {"a": torch.ones(2, dtype=torch.complex128)})


def test_pieces_are_arrays_of_the_dtype(repository):
    numbers = torch.arange(600_000).to(torch.bfloat16)
    held = Weights.holding({"a": numbers}).lazy["a"]
    lazy = Weights.of(repository, store(repository, {"a": numbers})).lazy["a"]

    for tensor in (held, lazy):
        pieces = [tensor.read(start, stop) for start, stop in tensor.ranges()]
        assert (tensor.dtype, tensor.shape, tensor.numel, tensor.nbytes) == ("BF16", (600_000,), 600_000, 1_200_000)
        assert {piece.dtype for piece in pieces} == {np.dtype(ml_dtypes.bfloat16)}
        assert b"".join(piece.tobytes() for piece in pieces) == raw(numbers)
        assert tensor.id == hashlib.sha256(raw(numbers)).hexdigest()


def test_a_tensor_that_two_names_share_is_made_once(repository):
    class Counted(Held):
        read_ = 0

        def read(self, start: int, stop: int) -> np.ndarray:
            self.read_ += 1
            return super().read(start, stop)

    shared = Counted(torch.arange(9.0))

    with repository.batch([(9,)] * 2) as batch:
        entries = weights.store(batch, Weights({"b": shared, "a": shared}))

    assert [(entry.name, entry.id) for entry in entries] == [(name, shared.id) for name in "ab"]
    assert shared.read_ == 2  # once to be stored, once for the id just now


def test_another_tensor_may_be_stored_in_its_place(repository):
    class Stand(Held):
        def settled(self) -> Held:
            return Held(torch.ones(2))

    some = Weights({"a": Stand(torch.zeros(2))})

    with repository.batch([(2,)]) as batch:
        (entry,) = weights.store(batch, some)

    assert entry.id == weights.ids(some)["a"] == hashlib.sha256(np.ones(2, np.float32).tobytes()).hexdigest()


def test_ids_of_what_is_stored_are_checked_and_not_made(repository):
    manifest = store(repository, {"a": torch.arange(100.0)})
    found = Weights.of(repository, manifest)

    assert weights.ids(found) == {"a": manifest.tensors[0].id}
