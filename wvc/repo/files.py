"""safetensors files in and out: streamed, checked, byte for byte."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from wvc.errors import BadFile, Damage, WvcError
from wvc.progress import SILENT, Progress
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.store.batch import Batch
from wvc.store.durable import disk, sync_folder
from wvc.store.header import BITS, Header, parse_header, read_header, size_of

HEADER = "model.safetensors.header"  # side file: length field and header of the file that was imported
CHUNK = 8 << 20


class Source:
    """An open safetensors file whose header has been checked. Use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Raises BadFile."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BadFile(path, "no such file") from None
        except OSError as error:
            raise BadFile(path, (error.strerror or "cannot be read").lower()) from None
        try:
            if path.is_dir():
                raise BadFile(path, "is a folder, not a safetensors file")
            self.header: Header = read_header(self._fd, path)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name."""
        return {entry.name: entry.shape for entry in self.header.entries}

    def tensors(self) -> tuple[Tensor, ...]:
        """What a manifest will say, ids not yet known."""
        entries = sorted(self.header.entries, key=lambda entry: entry.name)
        return tuple(Tensor(e.name, e.dtype, e.shape, "0" * 64) for e in entries)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes start..stop in chunks. Raises BadFile where the file became shorter meanwhile."""
        while start < stop:
            chunk = os.pread(self._fd, min(CHUNK, stop - start), start)
            if not chunk:
                raise BadFile(self.path, "became shorter while it was read", "try again when nobody writes to it")
            yield chunk
            start += len(chunk)

    def store(self, batch: Batch, progress: Progress = SILENT) -> tuple[tuple[Tensor, ...], tuple[str, str]]:
        """Add all tensors and the header to `batch`: what a manifest says of the tensors, and its side file."""
        progress.start(f"reading {self.path.name}", sum(e.stop - e.start for e in self.header.entries), "B")
        tensors = []
        for entry in sorted(self.header.entries, key=lambda e: e.start - e.stop):
            id = batch.add(entry.dtype, entry.shape, self._told(entry.start, entry.stop, progress))
            tensors.append(Tensor(entry.name, entry.dtype, entry.shape, id))
        progress.stop()
        raw = self.header.raw
        return tuple(sorted(tensors, key=lambda t: t.name)), (HEADER, batch.add("U8", (len(raw),), [raw]))

    def _told(self, start: int, stop: int, progress: Progress) -> Iterator[bytes]:
        for chunk in self.read(start, stop):
            yield chunk
            progress.advance(len(chunk))


def export(
    repository: Repository, manifest: Manifest, path: Path, *, force: bool = False, progress: Progress = SILENT
) -> int:
    """Write the tensors of `manifest` to `path`; return the bytes written. Raises WvcError if it exists.

    What came from a safetensors file goes out byte for byte. Every tensor is checked before the file appears.
    """
    if not path.parent.is_dir():
        raise WvcError(f"{path.parent}: no such folder", "make it first")
    if path.exists() and (path.is_dir() or not force):
        raise WvcError(f"{path} exists", "choose another name, or --force to overwrite it")
    header = _header(repository, manifest)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    progress.start(f"writing {path.name}", header.entries[-1].stop if header.entries else 0, "B")
    try:
        with disk(path):
            _write(repository, manifest, header, temporary, progress)
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        progress.stop()
    return path.stat().st_size


def _write(repository: Repository, manifest: Manifest, header: Header, path: Path, progress: Progress) -> None:
    with path.open("xb") as file:
        file.write(header.raw)
        for entry in header.entries:
            data = repository.tensor(manifest.by_name[entry.name])
            for start in range(0, len(data), CHUNK):
                file.write(data[start : start + CHUNK])
                progress.advance(len(data[start : start + CHUNK]))
        file.flush()
        os.fsync(file.fileno())


def _header(repository: Repository, manifest: Manifest) -> Header:
    """The header that the file had when it came, else one as the safetensors library writes it."""
    original = dict(manifest.files).get(HEADER)
    size = sum(size_of(t.dtype, t.shape) for t in manifest.tensors)
    if original is not None:
        raw = bytes(repository.read(original))
        try:
            header = parse_header(raw, len(raw) + size)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Damage(f"the stored header {original[:12]} cannot be read: {error}") from None
        same = {(e.name, e.dtype, e.shape) for e in header.entries}
        if same == {(t.name, t.dtype, t.shape) for t in manifest.tensors}:
            return header
    return parse_header(*_new_header(manifest, size))


def _new_header(manifest: Manifest, size: int) -> tuple[bytes, int]:
    """Wide dtypes first, then by name, so that every tensor is aligned to its own width."""
    value: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in sorted(manifest.tensors, key=lambda t: (-BITS[t.dtype], t.name)):
        stop = position + size_of(tensor.dtype, tensor.shape)
        value[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + size
