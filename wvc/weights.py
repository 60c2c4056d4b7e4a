"""Weights: named tensors, read from a repository when they are asked for, written to it one by one.

Who asks for a tensor gets torch's, which takes seconds to load: so it is imported where a tensor is made or looked at.
What is blended, stored or hashed is read as arrays, and does without.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from wvc.dtypes import DTYPES, Array
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

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]


class LazyTensor(ABC):
    """One tensor that is read in pieces, by one thread at a time.

    dtype: safetensors' name. model: what errors call the model that it belongs to.
    """

    def __init__(self, dtype: str, shape: Sequence[int], model: str = "") -> None:
        self.dtype, self.shape, self.model = dtype, tuple(shape), model

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.width

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return DTYPES[self.dtype].itemsize

    @property
    def id(self) -> str:
        """SHA-256 of the raw little-endian bytes: what a manifest calls the tensor. Raises what `read` raises."""
        return self._digest

    @abstractmethod
    def read(self, start: int, stop: int) -> Array:
        """Elements start..stop in row-major order, (stop - start,); not to be written to. Raises Damage."""

    def load(self) -> Tensor:
        """The whole tensor, checked. Raises Damage."""
        from wvc import tensors

        whole = np.empty(self.numel, DTYPES[self.dtype])
        for start, stop in self.ranges():
            whole[start:stop] = self.read(start, stop)
        self.check()
        return tensors.tensor(whole, self.dtype, self.shape)

    def check(self) -> None:  # noqa: B027  (only what is stored can be damaged)
        """Raises Damage unless all that `read` gives is what the id promises."""

    def vouched(self) -> frozenset[str]:
        """Ids of the tensors that `check` looks at, of which there is one copy only."""
        return frozenset()

    def settled(self) -> LazyTensor:
        """What is to be stored: another tensor where this one stands for it. Raises what is wrong with that."""
        return self

    def ranges(self, size: int = CHUNK) -> Iterator[tuple[int, int]]:
        """Elements in pieces of about `size` bytes, in order."""
        step = max(1, size // self.width)
        for start in range(0, self.numel, step):
            yield start, min(start + step, self.numel)

    @cached_property
    def _digest(self) -> str:
        hasher = hashlib.sha256()
        with recent.kept():
            for start, stop in self.ranges():
                hasher.update(_bytes(self.read(start, stop)))
            self.check()
        return hasher.hexdigest()


class Held(LazyTensor):
    """A tensor in memory. name: what errors call it."""

    def __init__(self, tensor: Tensor, model: str = "", name: str = "") -> None:
        from wvc import tensors

        super().__init__(tensors.name_of(tensor.dtype, name), tensor.shape, model)
        self._tensor = tensor.detach()

    def read(self, start: int, stop: int) -> Array:
        return self._array[start:stop]

    def load(self) -> Tensor:
        return self._tensor

    @cached_property
    def _array(self) -> Array:
        from wvc import tensors

        return tensors.array(self._tensor)


class Stored(LazyTensor):
    """A tensor in a repository."""

    def __init__(self, repository: Repository, entry: Entry, model: str = "") -> None:
        if entry.dtype not in DTYPES:
            raise ModelProblem(f"tensor {entry.name!r} is {entry.dtype}, which torch does not have")
        super().__init__(entry.dtype, entry.shape, model)
        self._repository, self.entry = repository, entry

    @property
    def id(self) -> str:
        return self.entry.id

    def read(self, start: int, stop: int) -> Array:
        with self._repository.reader.explained(self.id):
            data = self._pieces.read(start * self.width, stop * self.width)
        return np.frombuffer(data, DTYPES[self.dtype])

    def load(self) -> Tensor:
        """The whole tensor, mapped from its pack: a private map, so writing to it changes no file."""
        from wvc import tensors

        data = self._repository.tensor(self.entry)
        return tensors.tensor(np.frombuffer(data, np.uint8), self.dtype, self.shape)

    def check(self) -> None:
        with self._repository.reader.explained(self.id):
            self._pieces.check()

    def vouched(self) -> frozenset[str]:
        return frozenset([self.id]) if self._pieces.alone else frozenset()

    @cached_property
    def _pieces(self) -> Pieces:
        return self._repository.reader.pieces(self.id, size_of(self.entry.dtype, self.entry.shape))


class Weights(Mapping[str, "Tensor"]):
    """Tensors by name, largest first, each read or made when it is asked for: nothing here holds a whole model.

    id: equal for equal weights; that of the manifest where there is one.
    """

    def __init__(self, lazy: Mapping[str, LazyTensor], id: Callable[[], str] | None = None) -> None:
        self.lazy = lazy
        self._id = id or (lambda: _identity(lazy))

    @classmethod
    def of(cls, repository: Repository, manifest: Manifest, model: str = "") -> Weights:
        """The tensors of `manifest`, each checked against its id when it is read."""
        repository.locate([tensor.id for tensor in manifest.tensors])
        entries = sorted(manifest.tensors, key=lambda t: -size_of(t.dtype, t.shape))
        return cls({t.name: Stored(repository, t, model) for t in entries}, lambda: manifest.weights)

    @classmethod
    def holding(cls, tensors: Tensors, model: str = "") -> Weights:
        """Tensors that are in memory."""
        names = sorted(tensors, key=lambda name: -tensors[name].nbytes)
        return cls({name: Held(tensors[name], model, name) for name in names})

    @cached_property
    def id(self) -> str:
        return self._id()

    def __getitem__(self, name: str) -> Tensor:
        return self.lazy[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self.lazy)

    def __len__(self) -> int:
        return len(self.lazy)


def read(repository: Repository, entry: Entry) -> Tensor:
    """One tensor, as `Stored.load` gives it."""
    return Stored(repository, entry).load()


def store(
    batch: Batch,
    weights: Tensors,
    progress: Progress = SILENT,
    like: Sequence[Manifest] = (),
) -> tuple[Entry, ...]:
    """Add all of `weights` to `batch`; return what a manifest says of them, sorted by name.

    Tensors that are stored already are neither read nor written, only checked.
    like: models that these weights were made from, the likeliest to resemble them first.
    """
    known = weights if isinstance(weights, Weights) else Weights.holding(weights)
    distinct = list(dict.fromkeys(known.lazy.values()))
    settled = dict(zip(distinct, threads.spread(lambda tensor: tensor.settled(), distinct), strict=True))
    lazy = {name: settled[tensor] for name, tensor in known.lazy.items()}
    stored = {tensor.id: tensor for tensor in lazy.values() if isinstance(tensor, Stored)}
    for tensor in threads.spread(lambda tensor: _rely(batch, tensor), stored.values()):
        progress.advance(tensor.nbytes)
    # What two names share is made once; large tensors come first, so that little padding is needed behind them.
    names = {tensor: name for name, tensor in reversed(lazy.items())}
    new = [tensor for tensor in dict.fromkeys(lazy.values()) if not isinstance(tensor, Stored)]
    blobs = [_blob(tensor, names[tensor], like) for tensor in new]
    ids = dict(zip(new, batch.store(blobs, progress), strict=True))
    return tuple(Entry(name, t.dtype, t.shape, ids.get(t) or t.id) for name, t in sorted(lazy.items()))


def ids(weights: Weights, progress: Progress = SILENT) -> dict[str, str]:
    """Name -> the id that each tensor would be stored under; tensors of a repository are checked, not stored."""

    def id_and_size(lazy: LazyTensor) -> tuple[str, int]:
        with recent.kept():
            settled = lazy.settled()
            id = settled.id
            settled.check()
        return id, lazy.nbytes

    found: dict[LazyTensor, str] = {}
    distinct = list(dict.fromkeys(weights.lazy.values()))
    for lazy, (id, size) in zip(distinct, threads.spread(id_and_size, distinct), strict=True):
        found[lazy] = id
        progress.advance(size)
    return {name: found[lazy] for name, lazy in weights.lazy.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone: where several tensors are worked on at a time already."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def id_of(tensor: Tensor) -> str:
    """The id that a manifest gives the tensor: SHA-256 of its raw little-endian bytes."""
    return Held(tensor).id


def _rely(batch: Batch, tensor: Stored) -> Stored:
    batch.rely_on(tensor.id)
    return tensor


def _blob(lazy: LazyTensor, name: str, like: Sequence[Manifest]) -> Blob:
    near = bases(Entry(name, lazy.dtype, lazy.shape, ""), like)
    if isinstance(lazy, Held):
        return replace(held(lazy.dtype, lazy.shape, _bytes(lazy.read(0, lazy.numel))), bases=near)
    return Blob(
        lazy.dtype,
        lazy.shape,
        lambda start, stop: _bytes(lazy.read(start // lazy.width, stop // lazy.width)),
        fixed=True,
        bases=near,
        costly=True,
        check=lazy.check,
        vouched=lazy.vouched(),
    )


def _identity(lazy: Mapping[str, LazyTensor]) -> str:
    """Over names, dtypes, shapes and ids, as manifests have it."""
    return Manifest(tuple(Entry(name, t.dtype, t.shape, t.id) for name, t in sorted(lazy.items()))).weights


def _bytes(array: Array) -> memoryview:
    return array.view(np.uint8).data
