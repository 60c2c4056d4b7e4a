"""What comes in: the tensors and side files of a model, whatever files hold them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

from wvc.errors import BadFile
from wvc.repo.folders import Folder, Shards, checkpoint, safe_file
from wvc.repo.index import SUFFIX
from wvc.repo.names import check_files
from wvc.repo.safefile import MODEL, SAFE, open_regular
from wvc.store.blobs import Blob
from wvc.store.header import MAX_HEADER, check_name

TORCH = (".pt", ".pth", ".bin")
INDEXES = (SAFE + SUFFIX, *(suffix + SUFFIX for suffix in TORCH))
MAGIC = (b"PK\x03\x04", b"\x80")  # how a zip and a pickle begin


class Source(Protocol):
    """An open model from outside. Use it in a `with`.

    format: "safetensors", "sharded", "hf" or "pytorch".
    tensors: by name. files: side files, by the names that a manifest gives them.
    """

    @property
    def format(self) -> str: ...

    @property
    def tensors(self) -> Mapping[str, Blob]: ...

    @property
    def files(self) -> Mapping[str, Blob]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open(path: Path, key: str | None = None) -> Source:
    """The model at `path`: a safetensors file, an index of several, a model folder, or a checkpoint of PyTorch's.

    key: which dictionary in a checkpoint holds the weights, None where that is plain. Raises BadFile, UsageError.
    """
    source = _source(path, key)
    try:
        for name in source.tensors:
            check_name(name)
        check_files(source.files)
    except ValueError as error:
        source.close()
        raise BadFile(path, str(error)) from None
    return source


def title(path: Path) -> str:
    """What to call the model at `path` where nobody gave it a name."""
    # Links are not followed where that can be avoided: in Hugging Face's cache, files are links to mere hashes.
    name = path.resolve().name if path.name in ("", "..") else path.name
    if path.is_dir():
        return name
    for suffix in INDEXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return Path(name).stem


def _source(path: Path, key: str | None) -> Source:
    if path.is_dir():
        return Folder(path, key)
    if path.name.endswith(INDEXES):
        return Shards(path, key)
    return checkpoint(path, key) if path.suffix != SAFE and _is_torch(path) else safe_file(path, MODEL, key)


def _is_torch(path: Path) -> bool:
    """Whether a file whose name does not say what it is is a checkpoint of PyTorch's, by its first bytes."""
    fd = open_regular(path)
    try:
        start = os.pread(fd, 9, 0)
    finally:
        os.close(fd)
    is_safe = start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER
    return not is_safe and (path.suffix in TORCH or start.startswith(MAGIC))
