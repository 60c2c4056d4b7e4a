"""Weights: named tensors, read from a repository when they are asked for, written to it one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from wvc.errors import ModelProblem
from wvc.progress import SILENT, Progress
from wvc.repo.commits import bases
from wvc.repo.objects import Manifest
from wvc.repo.objects import Tensor as Entry
from wvc.repo.repository import Repository
from wvc.store.batch import Batch
from wvc.store.blobs import Blob, held
from wvc.store.header import size_of

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Weights(Mapping[str, torch.Tensor]):
    """Tensors by name, largest first, each made when it is asked for: nothing here holds a whole model."""

    def __init__(self, names: list[str], load: Callable[[str], torch.Tensor]) -> None:
        self._names, self._load = names, load

    @classmethod
    def of(cls, repository: Repository, manifest: Manifest) -> Weights:
        """The tensors of `manifest`, each checked against its id when it is read."""
        entries = sorted(manifest.tensors, key=lambda t: -size_of(t.dtype, t.shape))
        return cls([t.name for t in entries], lambda name: read(repository, manifest.by_name[name]))

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read(repository: Repository, entry: Entry) -> torch.Tensor:
    """One tensor, mapped from its pack: a private map, so writing to it changes no file."""
    if entry.dtype not in DTYPES:
        raise ModelProblem(f"tensor {entry.name!r} is {entry.dtype}, which torch does not have")
    dtype = DTYPES[entry.dtype]
    data = repository.tensor(entry)
    if not len(data):
        return torch.empty(entry.shape, dtype=dtype)
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(entry.shape)


def store(
    batch: Batch,
    weights: Mapping[str, torch.Tensor],
    progress: Progress = SILENT,
    like: Sequence[Manifest] = (),
) -> tuple[Entry, ...]:
    """Add all of `weights` to `batch`; return what a manifest says of them, sorted by name.

    like: models that these weights were made from, the likeliest to resemble them first.
    """
    # Large tensors have sizes that need no padding behind them; Weights come largest first already.
    names = sorted(weights, key=lambda n: -weights[n].nbytes) if isinstance(weights, dict) else list(weights)
    made: list[Entry] = []

    def blobs() -> Iterator[Blob]:
        for name in names:
            tensor = weights[name].detach().to("cpu").contiguous()
            if tensor.dtype not in NAMES:
                raise ModelProblem(f"tensor {name!r} is {tensor.dtype}, which safetensors files cannot hold")
            entry = Entry(name, NAMES[tensor.dtype], tuple(tensor.shape), "")
            made.append(entry)
            yield replace(held(entry.dtype, entry.shape, _bytes(tensor)), bases=bases(entry, like))

    ids = batch.store(blobs(), progress)
    return tuple(sorted((replace(e, id=id) for e, id in zip(made, ids, strict=True)), key=lambda e: e.name))


def id_of(tensor: torch.Tensor) -> str:
    """The id that a manifest gives the tensor: SHA-256 of its raw little-endian bytes."""
    return hashlib.sha256(_bytes(tensor.detach().to("cpu").contiguous())).hexdigest()


def _bytes(tensor: torch.Tensor) -> memoryview:
    if not tensor.numel():
        return memoryview(b"")
    return tensor.reshape(-1).view(torch.uint8).numpy().data
