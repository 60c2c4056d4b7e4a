"""Weights: named tensors, read from a repository when they are asked for, written to it one by one."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch

from wvc.errors import ModelProblem
from wvc.progress import SILENT, Progress
from wvc.repo.commits import bases
from wvc.repo.objects import Manifest
from wvc.repo.objects import Tensor as Entry
from wvc.repo.repository import Repository
from wvc.store import recent, threads
from wvc.store.batch import Batch
from wvc.store.blobs import Blob, held
from wvc.store.codecs import CHUNK
from wvc.store.header import size_of
from wvc.store.pieces import Pieces

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64, "BOOL": torch.bool, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class LazyTensor(ABC):
    """One tensor that is read in pieces, by one thread at a time.

    model: what errors call the model that it belongs to.
    """

    def __init__(self, dtype: torch.dtype, shape: Sequence[int], model: str = "") -> None:
        self.dtype, self.shape, self.model = dtype, tuple(shape), model

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    @abstractmethod
    def id(self) -> str:
        """SHA-256 of the raw little-endian bytes: what a manifest calls the tensor."""

    @abstractmethod
    def read(self, start: int, stop: int) -> torch.Tensor:
        """Elements start..stop in row-major order, (stop - start,); not to be written to. Raises Damage."""

    @abstractmethod
    def load(self) -> torch.Tensor:
        """The whole tensor, checked. Raises Damage."""

    def check(self) -> None:  # noqa: B027  (only what is stored can be damaged)
        """Raises Damage unless all that `read` gives is what the id promises."""

    def vouched(self) -> frozenset[str]:
        """Ids of the tensors that `check` looks at, of which there is one copy only."""
        return frozenset()

    def ranges(self, size: int = CHUNK) -> Iterator[tuple[int, int]]:
        """Elements in pieces of about `size` bytes, in order."""
        step = max(1, size // self.dtype.itemsize)
        for start in range(0, self.numel, step):
            yield start, min(start + step, self.numel)


class Held(LazyTensor):
    """A tensor in memory."""

    def __init__(self, tensor: torch.Tensor, model: str = "") -> None:
        super().__init__(tensor.dtype, tensor.shape, model)
        self._tensor = tensor.detach()

    @cached_property
    def id(self) -> str:
        return id_of(self._tensor)

    def read(self, start: int, stop: int) -> torch.Tensor:
        return self._flat[start:stop]

    def load(self) -> torch.Tensor:
        return self._tensor

    @cached_property
    def _flat(self) -> torch.Tensor:
        return self._tensor.to("cpu").contiguous().reshape(-1)


class Stored(LazyTensor):
    """A tensor in a repository."""

    def __init__(self, repository: Repository, entry: Entry, model: str = "") -> None:
        super().__init__(_dtype(entry), entry.shape, model)
        self._repository, self.entry = repository, entry

    @property
    def id(self) -> str:
        return self.entry.id

    def read(self, start: int, stop: int) -> torch.Tensor:
        size = self.dtype.itemsize
        with self._repository.reader.explained(self.id):
            data = self._pieces.read(start * size, stop * size)
        return _tensor(data, self.dtype)

    def load(self) -> torch.Tensor:
        return read(self._repository, self.entry)

    def check(self) -> None:
        with self._repository.reader.explained(self.id):
            self._pieces.check()

    def vouched(self) -> frozenset[str]:
        return frozenset([self.id]) if self._pieces.alone else frozenset()

    @cached_property
    def _pieces(self) -> Pieces:
        return self._repository.reader.pieces(self.id, size_of(self.entry.dtype, self.entry.shape))


class Weights(Mapping[str, torch.Tensor]):
    """Tensors by name, largest first, each read or made when it is asked for: nothing here holds a whole model.

    id: equal for equal weights; that of the manifest where there is one.
    """

    def __init__(self, lazy: Mapping[str, LazyTensor], id: Callable[[], str] | None = None) -> None:
        self.lazy = lazy
        self._id = id or (lambda: _identity(lazy))

    @classmethod
    def of(cls, repository: Repository, manifest: Manifest, model: str = "") -> Weights:
        """The tensors of `manifest`, each checked against its id when it is read."""
        entries = sorted(manifest.tensors, key=lambda t: -size_of(t.dtype, t.shape))
        return cls({t.name: Stored(repository, t, model) for t in entries}, lambda: manifest.weights)

    @classmethod
    def holding(cls, tensors: Mapping[str, torch.Tensor], model: str = "") -> Weights:
        """Tensors that are in memory."""
        names = sorted(tensors, key=lambda name: -tensors[name].nbytes)
        return cls({name: Held(tensors[name], model) for name in names})

    @cached_property
    def id(self) -> str:
        return self._id()

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.lazy[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self.lazy)

    def __len__(self) -> int:
        return len(self.lazy)


def read(repository: Repository, entry: Entry) -> torch.Tensor:
    """One tensor, mapped from its pack: a private map, so writing to it changes no file."""
    dtype = _dtype(entry)
    data = repository.tensor(entry)
    return _tensor(data, dtype).reshape(entry.shape)


def store(
    batch: Batch,
    weights: Mapping[str, torch.Tensor],
    progress: Progress = SILENT,
    like: Sequence[Manifest] = (),
) -> tuple[Entry, ...]:
    """Add all of `weights` to `batch`; return what a manifest says of them, sorted by name.

    Tensors that are stored already are neither read nor written, only checked.
    like: models that these weights were made from, the likeliest to resemble them first.
    """
    known = weights if isinstance(weights, Weights) else Weights.holding(weights)
    stored = {lazy.id: lazy for lazy in known.lazy.values() if isinstance(lazy, Stored)}
    with one_thread():
        for lazy in threads.spread(lambda lazy: _rely(batch, lazy), stored.values()):
            progress.advance(lazy.nbytes)
        # What two names share is made once; large tensors come first, so that little padding is needed behind them.
        new = [lazy for lazy in dict.fromkeys(known.lazy.values()) if not isinstance(lazy, Stored)]
        ids = dict(zip(new, batch.store([_blob(lazy, like, known) for lazy in new], progress), strict=True))
    return tuple(
        Entry(name, name_of(lazy.dtype, name), lazy.shape, ids.get(lazy) or lazy.id)
        for name, lazy in sorted(known.lazy.items())
    )


def ids(weights: Weights, progress: Progress = SILENT) -> dict[str, str]:
    """Name -> the id that each tensor would be stored under; tensors of a repository are checked, not stored."""

    def id_and_size(lazy: LazyTensor) -> tuple[str, int]:
        hasher = hashlib.sha256()
        with recent.kept():
            for start, stop in lazy.ranges():
                hasher.update(_bytes(lazy.read(start, stop)))
            lazy.check()
        return hasher.hexdigest(), lazy.nbytes

    found: dict[LazyTensor, str] = {}
    distinct = list(dict.fromkeys(weights.lazy.values()))
    with one_thread():
        for lazy, (id, size) in zip(distinct, threads.spread(id_and_size, distinct), strict=True):
            found[lazy] = id
            progress.advance(size)
    return {name: found[lazy] for name, lazy in weights.lazy.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone: where several tensors are worked on at a time already."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def name_of(dtype: torch.dtype, name: str) -> str:
    """What safetensors calls `dtype`. Raises ModelProblem where it has no name for it."""
    if dtype not in NAMES:
        raise ModelProblem(f"tensor {name!r} is {dtype}, which safetensors files cannot hold")
    return NAMES[dtype]


def id_of(tensor: torch.Tensor) -> str:
    """The id that a manifest gives the tensor: SHA-256 of its raw little-endian bytes."""
    return hashlib.sha256(_bytes(tensor.detach().to("cpu").contiguous())).hexdigest()


def _rely(batch: Batch, lazy: Stored) -> Stored:
    batch.rely_on(lazy.id)
    return lazy


def _blob(lazy: LazyTensor, like: Sequence[Manifest], weights: Weights) -> Blob:
    name = next(name for name, other in weights.lazy.items() if other is lazy)
    entry = Entry(name, name_of(lazy.dtype, name), lazy.shape, "")
    if isinstance(lazy, Held):
        return replace(held(entry.dtype, entry.shape, _bytes(lazy.read(0, lazy.numel))), bases=bases(entry, like))
    size = lazy.dtype.itemsize
    return Blob(
        entry.dtype,
        entry.shape,
        lambda start, stop: _bytes(lazy.read(start // size, stop // size)),
        fixed=True,
        bases=bases(entry, like),
        costly=not isinstance(lazy, Stored),
        check=lazy.check,
        vouched=lazy.vouched(),
    )


def _identity(lazy: Mapping[str, LazyTensor]) -> str:
    """Over names, dtypes, shapes and ids, as manifests have it."""
    return Manifest(
        tuple(Entry(name, name_of(t.dtype, name), t.shape, t.id) for name, t in sorted(lazy.items()))
    ).weights


def _dtype(entry: Entry) -> torch.dtype:
    if entry.dtype not in DTYPES:
        raise ModelProblem(f"tensor {entry.name!r} is {entry.dtype}, which torch does not have")
    return DTYPES[entry.dtype]


def _tensor(data: memoryview, dtype: torch.dtype) -> torch.Tensor:
    if not len(data):
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype)


def _bytes(tensor: torch.Tensor) -> memoryview:
    if not tensor.numel():
        return memoryview(b"")
    return tensor.reshape(-1).view(torch.uint8).numpy().data
