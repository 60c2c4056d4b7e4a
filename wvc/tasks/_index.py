"""Remember what was found out about files, so that only changed ones are read again.

One text file a dataset: the SHA-256 of the rest, then JSON. A missing, damaged or foreign one counts as empty.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wvc.store.canonical import digest
from wvc.tasks._shelves import Stamp

VERSION = 1


@dataclass(frozen=True)
class Facts:
    """What was found out about one image file.

    stamp: of the file when it was read.
    digest: SHA-256 of its bytes.
    width, height: in pixels, as its header says.
    """

    stamp: Stamp
    digest: str
    width: int
    height: int


@dataclass(frozen=True)
class Index:
    """stamp: of the whole shelf, or None where it has none. facts: by path."""

    stamp: Stamp | None
    facts: Mapping[str, Facts]


EMPTY = Index(None, {})


def place(cache: Path, source: Path, layout: str) -> Path:
    """Where the index of `source` is kept below the folder `cache`."""
    return cache / "index" / (digest(f"{source.resolve()}\n{layout}".encode("utf-8", "surrogateescape")) + ".json")


def read(path: Path) -> Index:
    try:
        seal, _, body = path.read_bytes().partition(b"\n")
        if digest(body).encode() != seal:
            return EMPTY
        version, stamp, rows = json.loads(body)
        if version != VERSION:
            return EMPTY
        facts = {name: Facts(tuple(own), sha, width, height) for name, own, sha, width, height in rows}
        return Index(None if stamp is None else tuple(stamp), facts)
    except (OSError, ValueError, TypeError):
        return EMPTY


def write(path: Path, index: Index) -> None:
    """Leave `index` at `path`, or nothing where that cannot be written: it only saves time."""
    rows = [[name, list(f.stamp), f.digest, f.width, f.height] for name, f in index.facts.items()]
    body = json.dumps([VERSION, index.stamp, rows], separators=(",", ":")).encode()
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(digest(body).encode() + b"\n" + body)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
