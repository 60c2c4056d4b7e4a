"""The index of a model that lies in several files: which tensor is in which. Hugging Face's format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from wvc.errors import BadFile
from wvc.repo.names import check_file
from wvc.repo.safefile import open_regular, read_at
from wvc.store.canonical import Json
from wvc.store.header import unique

SUFFIX = ".index.json"
MAX_INDEX = 64 * 2**20  # bytes; that of a model with 90,000 tensors has 9 MB


def read_index(raw: bytes, suffix: str) -> Mapping[str, str]:
    """Tensor name -> name of the file that holds it, as the index in `raw` says.

    suffix: what the names of all files end with, such as ".safetensors".
    Raises ValueError, TypeError, KeyError or RecursionError.
    """
    value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    places: Json = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(places, dict):
        raise ValueError("it has no weight_map")
    if not all(isinstance(file, str) for file in places.values()):
        raise TypeError("the values of its weight_map are not all names")
    for file in sorted(set(places.values())):
        check_file(file)
        if "/" in file or not file.endswith(suffix):
            raise ValueError(f"{file!r} is no {suffix} file in the same folder")
    return places


def load_index(path: Path, suffix: str) -> tuple[Mapping[str, str], bytes]:
    """The index in the file `path`, and the bytes of it. Raises BadFile."""
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        raw = read_at(fd, 0, min(size, MAX_INDEX + 1), path)
    finally:
        os.close(fd)
    try:
        if size > MAX_INDEX:
            raise ValueError(f"it has {size} bytes")
        return read_index(raw, suffix), raw
    except (ValueError, TypeError, RecursionError) as error:
        raise BadFile(path, f"not a valid index: {error}") from None


def make_index(places: Mapping[str, str], size: int) -> bytes:
    """The index for tensors of `size` bytes together, as Hugging Face's libraries write it."""
    value = {"metadata": {"total_size": size}, "weight_map": places}
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode("utf-8")
