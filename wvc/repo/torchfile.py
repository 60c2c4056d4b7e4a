"""Take the tensors out of PyTorch's checkpoints (.pt, .pth, .bin) without torch, and without running what they name.

A checkpoint is a pickle that describes tensors, and storages that hold their bytes. Another process reads the pickle
(`unpickle`); everything that it says is checked here against the file; the bytes are read here, where they lie.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from wvc.errors import BadFile
from wvc.repo.archive import Archive
from wvc.repo.safefile import Opened, open_regular, read_at
from wvc.repo.strided import gather, is_plain, reach
from wvc.repo.unpickle import Contents, View, unpickle
from wvc.store.blobs import Blob, Bytes
from wvc.store.header import BITS, MAX_DIMENSION, MAX_DIMENSIONS, check_name

# torch's names and safetensors'. Those without one are not taken.
DTYPES: Mapping[str, str] = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float4_e2m1fn_x2": "F4",
}  # fmt: skip
STORAGES: Mapping[str, str] = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "UntypedStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32",
}  # fmt: skip
WIDTHS: Mapping[str, int] = {name: max(8, BITS[safe]) // 8 for name, safe in DTYPES.items()}
FURTHER: Mapping[str, int] = {
    "complex128": 16,
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
}  # of storages that may lie between

ZIP, PICKLE, TAR = b"PK\3\4", b"\x80", b"ustar"
MOST = 1 << 40  # bytes of all tensors
MOST_REPEATED = 4 << 30  # bytes of a tensor that is larger than its storage
DEEPEST = 32  # dimensions, where elements must be gathered: numpy 1 has no more
AGAIN = "load it with torch, and save the model's state_dict: torch.save(model.state_dict(), FILE)"

Place = Callable[[str], tuple[int, int]]


class TorchFile(Opened):
    """A checkpoint of PyTorch's whose pickle was read and checked. Use it in a `with`.

    tensors: by name, sorted. Names are as in the file, a prefix such as "module." included; tensors that share their
    bytes are there under every name. files: none. left_out: names of what lies beside the tensors, numbers and texts
    apart, a hundred at most.
    """

    format = "pytorch"

    def __init__(self, path: Path, key: str | None = None) -> None:
        """key: which of several mappings holds the weights: a name, names joined by dots, or "." for the outermost.

        None takes the outermost where no other holds tensors, else the one under "state_dict", "model" or the like
        where it is the only such one and nothing but single numbers lies beside it. Raises BadFile.
        """
        self.path = path
        self._fd = open_regular(path)
        try:
            self._size = os.fstat(self._fd).st_size
            contents, place = self._zip(key) if self._read(0, min(4, self._size)) == ZIP else self._legacy(key)
            self.tensors: Mapping[str, Blob] = self._blobs(contents, place)
        except ValueError as error:
            self.close()
            raise BadFile(path, str(error)) from None
        except BaseException:
            self.close()
            raise
        self.files: Mapping[str, Blob] = {}
        self.left_out = tuple(contents.left_out)

    def close(self) -> None:
        fd, self._fd = self._fd, -1  # a number that is let go may soon be another file's
        if fd >= 0:
            os.close(fd)

    def _read(self, start: int, stop: int) -> bytes:
        return read_at(self._fd, start, stop, self.path)

    def _zip(self, key: str | None) -> tuple[Contents, Place]:
        """The format since torch 1.6: the pickle and every storage are members of an archive."""
        archive = Archive(self._read, self._size)
        folder = archive.names[0].split("/")[0] if archive.names else ""
        if f"{folder}/constants.pkl" in archive:
            raise BadFile(self.path, "holds TorchScript, which is a program", AGAIN)
        if f"{folder}/data.pkl" not in archive:
            raise BadFile(self.path, "a zip archive, but no PyTorch checkpoint", AGAIN)
        if f"{folder}/byteorder" in archive:
            start, stop = archive.find(f"{folder}/byteorder")
            if self._read(start, min(stop, start + 9)) != b"little":
                raise BadFile(self.path, "was written with the bytes of its numbers in another order", AGAIN)
        start, stop = archive.find(f"{folder}/data.pkl")
        contents = unpickle(self.path, self._fd, start, stop, legacy=False, key=key)
        return contents, lambda key: _found(archive.find, f"{folder}/data/{key}")

    def _legacy(self, key: str | None) -> tuple[Contents, Place]:
        """The format before: pickles one after the other, then the storages, each behind its number of elements."""
        if self._read(0, min(1, self._size)) != PICKLE:
            old = self._size > 512 and self._read(257, 262) == TAR
            raise BadFile(
                self.path, f"not a PyTorch checkpoint{', or one from before torch 0.2' if old else ''}", AGAIN
            )
        contents = unpickle(self.path, self._fd, 0, self._size, legacy=True, key=key)
        places: dict[str, tuple[int, int]] = {}
        position = contents.end or 0
        for name, kind in contents.order:
            start = position + 8
            if start > self._size or name in places:
                raise ValueError("cut short, or it holds a storage twice")
            count = int.from_bytes(self._read(position, start), "little")
            position = start + count * _width(_dtype_of(kind))
            if position > self._size:
                raise ValueError(f"cut short: {self._size} bytes, where at least {position} are promised")
            places[name] = start, position
        return contents, lambda key: _found(places.__getitem__, key)

    def _blobs(self, contents: Contents, place: Place) -> dict[str, Blob]:
        blobs: dict[str, Blob] = {}
        total = 0
        for view in sorted(contents.views, key=lambda view: view.name):
            check_name(view.name)
            if view.name in blobs:
                raise ValueError(f"tensor {view.name!r} is there twice")
            blobs[view.name] = blob = self._blob(view, place)
            total += blob.size
            if total > MOST:
                raise ValueError(f"its tensors have more than {MOST} bytes")
        return blobs

    def _blob(self, view: View, place: Place) -> Blob:
        """The tensor that `view` describes. Raises ValueError unless every byte of it lies in its storage."""
        named, dtype = f"tensor {view.name!r}", view.dtype or _dtype_of(view.storage.kind)
        if dtype not in DTYPES:
            raise BadFile(self.path, f"{named} is {dtype[:20]!a}, which wvc cannot store", "save it as another dtype")
        width = _width(dtype)
        size = _count(view) * width
        start, stop = self._room(view, place) if size else (0, 0)
        start += view.offset * width
        if start + reach(view.shape, view.stride) * width > stop and size:
            raise ValueError(f"{named} reaches beyond its storage")
        if size > max(MOST_REPEATED, stop - start):
            raise ValueError(f"{named} repeats its {stop - start} bytes until they are {size}")
        shape = view.shape
        if DTYPES[dtype] == "F4":  # two numbers in each of torch's elements
            if not shape:
                raise ValueError(f"{named} is half a byte")
            shape = (*shape[:-1], shape[-1] * 2)
        return Blob(DTYPES[dtype], shape, self._reader(view, start, width))

    def _reader(self, view: View, start: int, width: int) -> Callable[[int, int], Bytes]:
        """Reads bytes of the tensor whose first element begins at byte `start` of the file."""

        def storage(first: int, last: int) -> bytes:
            return self._read(start + first, start + last)

        if 0 in view.shape or is_plain(view.shape, view.stride):
            return storage
        return partial(gather, storage, width, view.shape, view.stride)

    def _room(self, view: View, place: Place) -> tuple[int, int]:
        """Where the storage of a tensor, or the part that it may use, begins and ends in the file."""
        storage = view.storage
        width = _width(_dtype_of(storage.kind))
        start, stop = place(storage.key)
        if not 0 <= storage.start <= storage.start + storage.size <= storage.count:
            raise ValueError(f"tensor {view.name!r} lies in a part of a storage that has no such part")
        if storage.count * width > stop - start:
            raise ValueError(f"the storage of tensor {view.name!r} is cut short")
        return start + storage.start * width, start + (storage.start + storage.size) * width


def _found(find: Place, name: str) -> tuple[int, int]:
    try:
        return find(name)
    except KeyError:
        raise ValueError(f"storage {name[:80]!a} is missing") from None


def _count(view: View) -> int:
    """How many elements a tensor has. Raises ValueError for what no tensor can be."""
    shape, stride = view.shape, view.stride
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS or not all(0 <= n <= MAX_DIMENSION for n in shape):
        raise ValueError(f"tensor {view.name!r} has a shape that no tensor has")
    if view.offset < 0 or any(step < 0 for step in stride):
        raise ValueError(f"tensor {view.name!r} lies in front of its storage")
    if not is_plain(shape, stride) and sum(n > 1 for n in shape) > DEEPEST:
        raise ValueError(f"tensor {view.name!r} has too many dimensions that are not in order")
    return math.prod(shape)


def _dtype_of(kind: str) -> str:
    if kind not in STORAGES:
        raise ValueError(f"unknown class of storages {kind[:40]!a}")
    return STORAGES[kind]


def _width(dtype: str) -> int:
    return WIDTHS.get(dtype) or FURTHER[dtype]
