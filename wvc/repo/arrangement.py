"""How tensors lie in safetensors files: as they came, or as the safetensors library would write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wvc.errors import Damage
from wvc.repo.index import SUFFIX, make_index, read_index
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.repo.safefile import HEADER, MODEL, SAFE
from wvc.store.header import MAX_HEADER, METADATA, Header, parse_header, size_of

# In the order of the safetensors library: wide ones first, so that every tensor is aligned to its own width.
ORDER = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E5M2FNUZ", "F8_E4M3FNUZ",
    "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "F6_E3M2", "F6_E2M3", "F4", "BOOL",
)  # fmt: skip
RANK = {dtype: rank for rank, dtype in enumerate(ORDER)}


@dataclass(frozen=True)
class File:
    """One safetensors file: its name and its header."""

    name: str
    header: Header

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.header.entries[-1].stop if self.header.entries else len(self.header.raw)


@dataclass(frozen=True)
class Arrangement:
    """The files that all tensors of a model are written to, each tensor to one of them.

    index: its name and its bytes, or None for a single file.
    """

    files: tuple[File, ...]
    index: tuple[str, bytes] | None = None


def single(tensors: Iterable[Tensor], name: str = MODEL) -> Arrangement:
    """One new file. Raises Damage for tensors that no file can hold."""
    return Arrangement((_file(name, tensors),))


def sharded(tensors: Sequence[Tensor], stem: str, limit: int) -> Arrangement:
    """New files of at most `limit` bytes of tensors each, and their index. A larger tensor has a file of its own.

    stem: what their names begin with, such as "model" for model-00001-of-00002.safetensors. Raises Damage.
    """
    groups = _split(tensors, limit)
    names = [f"{stem}-{i:05}-of-{len(groups):05}{SAFE}" for i in range(1, len(groups) + 1)]
    places = {tensor.name: name for name, group in zip(names, groups, strict=True) for tensor in group}
    index = make_index(places, sum(size_of(t.dtype, t.shape) for t in tensors))
    files = tuple(_file(name, group) for name, group in zip(names, groups, strict=True))
    return Arrangement(files, (stem + SAFE + SUFFIX, index))


def stored(repository: Repository, manifest: Manifest) -> Arrangement | None:
    """The files that the weights came in; None where they did not, or where other tensors do not fit into them.

    Raises Damage where a side file that should be a header is none.
    """
    headers = _headers(manifest)
    index = _index(repository, manifest)
    if index is None and len(headers) != 1:
        return None
    files = tuple(File(name, _header(repository, id)) for name, id in sorted(headers.items()))
    found = {e.name: (file.name, e.dtype, e.shape) for file in files for e in file.header.entries}
    places = {name: file for name, (file, _, _) in found.items()} if index is None else index[2]
    fits = sum(len(file.header.entries) for file in files) == len(manifest.tensors) == len(places)
    if not fits or any(found.get(t.name) != (places.get(t.name), t.dtype, t.shape) for t in manifest.tensors):
        return None
    return Arrangement(files, None if index is None else index[:2])


def names(repository: Repository, manifest: Manifest) -> set[str]:
    """Those side files that say how the weights lay in files; the others belong to the model."""
    index = _index(repository, manifest)
    return {name + HEADER for name in _headers(manifest)} | ({index[0]} if index is not None else set())


def kept(repository: Repository, before: Manifest, tensors: Iterable[Tensor]) -> tuple[tuple[str, str], ...]:
    """The side files of `before` for a model with `tensors`, less those on files that do not suit them."""
    if _outline(before.tensors) == _outline(tensors):
        return before.files
    gone = names(repository, before)
    return tuple(entry for entry in before.files if entry[0] not in gone)


def stem(repository: Repository, manifest: Manifest) -> str:
    """What the names of the files of weights began with, "model" where they had no common name."""
    index, headers = _index(repository, manifest), _headers(manifest)
    if index is not None:
        return index[0].removesuffix(SAFE + SUFFIX)
    return next(iter(headers)).removesuffix(SAFE) if len(headers) == 1 else MODEL.removesuffix(SAFE)


def _outline(tensors: Iterable[Tensor]) -> set[tuple[str, str, tuple[int, ...]]]:
    return {(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors}


def _headers(manifest: Manifest) -> dict[str, str]:
    """Name of a safetensors file -> id of its header."""
    found = {name: id for name, id in manifest.files if name.endswith(SAFE + HEADER) and "/" not in name}
    return {name.removesuffix(HEADER): id for name, id in found.items()}


def _index(repository: Repository, manifest: Manifest) -> tuple[str, bytes, Mapping[str, str]] | None:
    """Name, bytes and content of the index that names just the files whose headers are there."""
    headers = _headers(manifest)
    for name, id in manifest.files:
        if name.endswith(SAFE + SUFFIX) and "/" not in name:
            if repository.reader.size(id) > MAX_HEADER:
                continue
            raw = bytes(repository.read(id))
            try:
                places = read_index(raw, SAFE)
            except (ValueError, TypeError, RecursionError):
                continue  # it came along as a side file like any other
            if set(places.values()) == headers.keys():
                return name, raw, places
    return None


def _header(repository: Repository, id: str) -> Header:
    if repository.reader.size(id) > 8 + MAX_HEADER:
        raise Damage(f"the stored header {id[:12]} is far too long")
    raw = bytes(repository.read(id))
    try:
        if not 8 <= len(raw) <= 8 + MAX_HEADER or int.from_bytes(raw[:8], "little") != len(raw) - 8:
            raise ValueError("it states another length")
        return parse_header(raw, None)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Damage(f"the stored header {id[:12]} cannot be read: {error}") from None


def _split(tensors: Iterable[Tensor], limit: int) -> list[list[Tensor]]:
    """As Hugging Face's libraries do it: in order, and a tensor beyond the limit ends no group."""
    groups: list[list[Tensor]] = []
    group: list[Tensor] = []
    filled = 0
    for tensor in tensors:
        size = size_of(tensor.dtype, tensor.shape)
        if size > limit:
            groups.append([tensor])
            continue
        if filled + size > limit:
            groups.append(group)
            group, filled = [], 0
        group.append(tensor)
        filled += size
    return [*groups, group] if group else groups


def _file(name: str, tensors: Iterable[Tensor]) -> File:
    value: dict[str, object] = {METADATA: {"format": "pt"}}
    position = 0
    for tensor in sorted(tensors, key=lambda t: (RANK[t.dtype], t.name)):
        stop = position + size_of(tensor.dtype, tensor.shape)
        value[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    try:
        return File(name, parse_header(len(text).to_bytes(8, "little") + text, None))
    except (ValueError, TypeError, KeyError) as error:  # names that a file would not have been allowed
        raise Damage(f"the tensors fit into no file: {error}") from None
