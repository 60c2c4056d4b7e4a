"""Checkpoints for torch: every tensor equal, bit for bit, and nothing there until all of it was checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wvc.errors import Damage, ModelProblem, WvcError
from wvc.repo import sources
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.store.packs import SUFFIX
from wvc.verbs.export import export_checkpoint
from wvc.verbs.import_ import Foundation, import_weights
from wvc.verbs.init import init

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64,
]  # fmt: skip


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


def imported(folder: Path, tensors: dict[str, torch.Tensor]) -> tuple[Repository, Manifest]:
    save_file(tensors, folder / "in.safetensors")
    repository = init(folder / "zoo", Foundation(weights=folder / "in.safetensors"))
    return repository, repository.manifest(repository.head())


def test_torch_loads_every_tensor_bit_for_bit(tmp_path: Path):
    torch.manual_seed(0)
    tensors = {f"t{i}": torch.randint(0, 256, (48,), dtype=torch.uint8).view(d) for i, d in enumerate(DTYPES)}
    tensors |= {"scalar": torch.tensor(7), "empty": torch.empty(0, 3), "odd": torch.ones(3, dtype=torch.uint8)}
    tensors["matrix"] = torch.randn(5, 7).bfloat16()
    repository, manifest = imported(tmp_path, tensors)

    made = export_checkpoint(repository, manifest, tmp_path / "out.pt")
    loaded = torch.load(tmp_path / "out.pt", weights_only=True)

    assert {n: (t.dtype, t.shape, bits(t)) for n, t in loaded.items()} == {
        n: (t.dtype, t.shape, bits(t)) for n, t in tensors.items()
    }
    assert list(loaded) == sorted(tensors)
    assert (made.format, made.tensors, made.bytes) == ("pt", len(tensors), (tmp_path / "out.pt").stat().st_size)
    with sources.open(tmp_path / "out.pt") as source:
        again = import_weights(repository, source, "refs/heads/again", "again")
    assert again.weights == repository.head().weights


def test_a_model_without_tensors(tmp_path: Path):
    repository, manifest = imported(tmp_path, {})

    export_checkpoint(repository, manifest, tmp_path / "out.pt")

    assert torch.load(tmp_path / "out.pt", weights_only=True) == {}


def test_a_dtype_that_torch_lacks_is_named(tmp_path: Path):
    repository, manifest = imported(tmp_path, {"w": torch.zeros(2)})
    odd = Manifest((manifest.tensors[0].__class__("w", "F6_E2M3", (4,), "0" * 64),))

    with pytest.raises(ModelProblem, match="'w' is F6_E2M3"):
        export_checkpoint(repository, odd, tmp_path / "out.pt")


def test_a_file_is_overwritten_only_if_forced(tmp_path: Path):
    repository, manifest = imported(tmp_path, {"w": torch.ones(2)})
    (tmp_path / "out.pt").write_text("precious")

    with pytest.raises(WvcError, match="exists"):
        export_checkpoint(repository, manifest, tmp_path / "out.pt")
    assert (tmp_path / "out.pt").read_text() == "precious"
    export_checkpoint(repository, manifest, tmp_path / "out.pt", force=True)

    assert torch.load(tmp_path / "out.pt", weights_only=True)["w"].tolist() == [1, 1]


def test_damage_makes_no_file(tmp_path: Path):
    repository, _ = imported(tmp_path, {"w": torch.randn(3)})
    for path in (repository.folder / "packs").glob("*" + SUFFIX):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    repository = Repository(repository.path)
    (tmp_path / "to").mkdir()

    with pytest.raises(Damage):
        export_checkpoint(repository, repository.manifest(repository.head()), tmp_path / "to" / "out.pt")

    assert os.listdir(tmp_path / "to") == []  # noqa: PTH208
