"""Unpickle without importing or calling anything that the pickle names.

Standard library only: this runs in the process that `unpickle` starts for it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import BinaryIO

# What names of dtypes begin with.
DTYPES = ("float", "bfloat", "complex", "bcomplex", "int", "uint", "bool", "bits", "qint", "quint")
MOST_CLASSES = 1000  # more than that many need not be told apart


class Refused(Exception):
    """A file that is not taken: one line why, and one what to do."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class Inert:
    """Something that a pickle may use but not change."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise Refused("its pickle changes what no checkpoint changes")


class Opaque:
    """Stands for everything that is no part of a tensor: takes whatever it is given, keeps nothing, does nothing."""

    __slots__ = ("is_module",)
    origin = "something"
    is_module: bool

    def __new__(cls, *_: object, **__: object) -> Opaque:
        self = object.__new__(cls)
        self.is_module = False
        return self

    def __call__(self, *_: object, **__: object) -> Opaque:
        return Opaque()

    def __setstate__(self, state: object) -> None:
        self.is_module = isinstance(state, dict) and "_modules" in state and "_parameters" in state

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """As of a list."""

    extend = add = append


class Names(dict[object, object]):
    """Stands for OrderedDict and defaultdict, without their attributes."""

    def __init__(self, *given: object) -> None:
        super().__init__()
        for pairs in given:
            if isinstance(pairs, dict | list):
                self.update(pairs)

    def __setstate__(self, state: object) -> None:
        pass


class Name(Inert):
    """Stands for a dtype or for a class of storages."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Call(Inert):
    """Stands for a function."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def __call__(self, *arguments: object) -> object:
        return self.function(*arguments)


class Storage(Inert):
    """Elements start..start + size of the storage that the file calls `key`, which has `count` of them."""

    __slots__ = ("place",)

    def __init__(self, key: str, kind: str, count: int, start: int, size: int) -> None:
        self.place = (key, kind, count, start, size)


class Tensor(Inert):
    """What the file says of a tensor, or, as `maker`, by which function it is made where that is none of the plain.

    dtype: "" for that of its storage. offset, shape, stride: in elements.
    """

    __slots__ = ("dtype", "maker", "offset", "shape", "storage", "stride")
    storage: Storage
    dtype: str
    offset: int
    stride: tuple[int, ...]

    def __init__(self, maker: str) -> None:
        self.maker = maker
        self.shape: tuple[int, ...] = (0,)

    def __setstate__(self, state: object) -> None:
        # (requires_grad, None, hooks) leaves the values alone; longer states replace them.
        if not isinstance(state, tuple) or len(state) != 3:
            super().__setstate__(state)


class Parameter:
    """Stands for torch.nn.Parameter and for the Variable of old times, which wrap a tensor."""

    def __new__(cls, data: object = None, *_: object) -> object:  # type: ignore[misc]
        return data if isinstance(data, Tensor) else Opaque()


def _made(storage: object, dtype: str, offset: object, shape: object, stride: object, marks: object) -> Tensor:
    if not isinstance(storage, Storage):
        raise Refused("a tensor in it has no storage")
    tensor = Tensor("marks" if marks else "")
    tensor.storage, tensor.dtype, tensor.offset = storage, dtype, _number(offset)
    tensor.shape, tensor.stride = _numbers(shape), _numbers(stride)
    return tensor


def _made_2(
    storage: object, offset: object, shape: object, stride: object,
    grad: object = None, hooks: object = None, marks: object = None,
) -> Tensor:  # fmt: skip
    return _made(storage, "", offset, shape, stride, marks)


def _made_3(
    storage: object, offset: object, shape: object, stride: object,
    grad: object, hooks: object, dtype: object, marks: object = None,
) -> Tensor:  # fmt: skip
    if not isinstance(dtype, Name):
        raise Refused("a tensor in it has no dtype")
    return _made(storage, dtype.name, offset, shape, stride, marks)


def _wrapped(make: object, kind: object = None, arguments: object = (), state: object = None) -> object:
    return make(*arguments) if isinstance(make, Call) and isinstance(arguments, tuple) else Opaque()


def _first(data: object, *_: object) -> object:
    return data


def _number(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Refused("a tensor in it has a size that is no number of 64 bits")
    return value


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list):
        raise Refused("a tensor in it has a shape that is none")
    return tuple(_number(n) for n in value)


KNOWN_CALLS = {
    "_rebuild_tensor": Call(_made_2), "_rebuild_tensor_v2": Call(_made_2), "_rebuild_tensor_v3": Call(_made_3),
    "_rebuild_parameter": Call(_first), "_rebuild_parameter_with_state": Call(_first),
    "_rebuild_from_type": Call(_wrapped), "_rebuild_from_type_v2": Call(_wrapped), "Size": Call(_numbers),
}  # fmt: skip


def _of_torch(module: str, name: str) -> object:
    """What stands for a name of torch, None where that need not be known."""
    if name in KNOWN_CALLS:
        return KNOWN_CALLS[name]
    if name.startswith("_rebuild_"):
        return Call(lambda *_: Tensor(name))
    if name.endswith("Storage") or (module == "torch" and name.startswith(DTYPES)):
        return Name(name)
    return Parameter if name in ("Parameter", "Variable") else None


class Reader(pickle.Unpickler):
    """Unpickles into the classes above and into Python's own plain types, and into nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._opaque: dict[tuple[str, str], type[Opaque]] = {}
        self.kinds: dict[str, str] = {}  # classes of storages by their keys

    def find_class(self, module: str, name: str, /) -> object:
        """What stands for `module.name`."""
        known: object = None
        if module == "collections" and name in ("OrderedDict", "defaultdict"):
            known = Names
        elif module.split(".", 1)[0] == "torch":
            known = _of_torch(module, name)
        if known is None and len(self._opaque) < MOST_CLASSES:
            made = type("Opaque", (Opaque,), {"__slots__": (), "origin": f"{module}.{name}"})
            known = self._opaque.setdefault((module, name), made)
        return known or Opaque

    def persistent_load(self, saved: object) -> object:
        """The storage that `saved` describes."""
        if not isinstance(saved, tuple) or len(saved) < 2:
            raise Refused("its pickle refers to something that is no storage")
        if saved[0] == "module":  # a class, with its source text
            return saved[1]
        _, kind, key, _, count, view = saved if len(saved) == 6 else (*saved, None)
        if saved[0] != "storage" or not isinstance(kind, Name) or not isinstance(key, str | int):
            raise Refused("its pickle refers to something that is no storage")
        if view is not None and not isinstance(view, tuple):
            raise Refused("its pickle refers to a part that is none")
        start, size = _numbers(view[1:]) if view else (0, _number(count))
        self.kinds.setdefault(str(key), kind.name)
        return Storage(str(key), kind.name, _number(count), start, size)
