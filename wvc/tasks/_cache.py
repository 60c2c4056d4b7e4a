"""Keep decoded images as .npy files with a checksum behind them, read back as memory maps.

Nothing here may fail the work: a damaged file is made again, a full disk means working from memory.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from wvc.progress import Progress
from wvc.tasks._threads import in_order

Decode = Callable[[int], NDArray[np.uint8]]

CHUNK = 1 << 22
STALE = 24 * 3600  # seconds after which an unfinished file belongs to nobody


def array(path: Path | None, shape: tuple[int, ...], decode: Decode, progress: Progress) -> NDArray[np.uint8]:
    """Array of `shape` whose row i is `decode(i)`: the one kept at `path` if it is sound, else made and kept there."""
    if path is None:
        return _made(shape, decode, progress)
    kept = _read(path, shape)
    if kept is None:
        with contextlib.suppress(OSError):
            _write(path, shape, decode, progress)
            kept = _read(path, shape)
    return _made(shape, decode, progress) if kept is None else kept


def _made(shape: tuple[int, ...], decode: Decode, progress: Progress) -> NDArray[np.uint8]:
    made = np.empty(shape, np.uint8)
    for i, row in enumerate(_rows(shape, decode, progress)):
        made[i] = np.frombuffer(row, np.uint8).reshape(shape[1:])
    return made


def _write(path: Path, shape: tuple[int, ...], decode: Decode, progress: Progress) -> None:
    """Leave header, rows and the CRC-32 of both at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("xb") as file:
            crc = 0
            for part in chain([_header(shape)], _rows(shape, decode, progress)):
                file.write(part)
                crc = zlib.crc32(part, crc)
            file.write(crc.to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The array at `path`, or None where there is none that is sound. Copy on write, so that torch can wrap it."""
    try:
        size = path.stat().st_size - 4
        with path.open("rb") as file:
            sound = size >= math.prod(shape) and _crc(file, size) == int.from_bytes(file.read(4), "little")
        if not sound:
            return None
        kept: NDArray[np.uint8] = np.load(path, mmap_mode="c" if math.prod(shape) else None)
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.shape == shape and kept.dtype == np.uint8 else None


def _rows(shape: tuple[int, ...], decode: Decode, progress: Progress) -> Iterator[bytes]:
    for row in in_order(decode, range(shape[0])):
        progress.advance()
        yield row.tobytes()


def _crc(file: IO[bytes], size: int) -> int:
    """CRC-32 of the first `size` bytes."""
    crc = 0
    for start in range(0, size, CHUNK):
        crc = zlib.crc32(file.read(min(CHUNK, size - start)), crc)
    return crc


def _sweep(folder: Path) -> None:
    """Remove what killed processes left."""
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
