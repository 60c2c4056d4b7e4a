"""What goes out: safetensors files and model folders, byte for byte as they came, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from wvc.errors import WvcError
from wvc.progress import SILENT, Progress
from wvc.repo import arrangement, targets
from wvc.repo.arrangement import Arrangement, File
from wvc.repo.names import check_files
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.repo.safefile import SAFE
from wvc.repo.targets import Stage
from wvc.repo.touching import check, matching
from wvc.store.header import Entry, size_of
from wvc.store.threads import spread

FORMATS = ("safetensors", "sharded", "hf")
LIMIT = 5 * 10**9  # bytes of tensors in a file, where nobody says how many


@dataclass(frozen=True)
class Options:
    """How to write a model.

    format: "safetensors" is one file, "sharded" a folder of files and their index, "hf" the whole model folder.
    limit: bytes of tensors in a file of a folder at most; None keeps the files that the weights came in, if any, and is
      5 GB otherwise.
    tensors: patterns of which a tensor's name must match one, "*" crosses dots and slashes; none for all tensors.
    """

    format: str = "safetensors"
    limit: int | None = None
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What was written: names of files in the order in which they appeared, relative to `path` if that is a folder.

    bytes: of all files. tensors: how many. replaced: those of the names that had been there before.
    """

    path: str
    format: str
    files: tuple[str, ...]
    bytes: int
    tensors: int
    replaced: tuple[str, ...]


def export(
    repository: Repository,
    manifest: Manifest,
    path: Path,
    options: Options = Options(),
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> Written:
    """Write the tensors of `manifest`, and for "hf" its side files, to `path`. Raises WvcError if something is there.

    What came from safetensors files goes out byte for byte, and fine-tuned tensors take the places of those that came.
    Every byte is checked before anything appears. force: overwrite a file, or write into a folder that is not empty.
    """
    manifest = selected(manifest, options.tensors)
    plan = _plan(repository, manifest, options)
    progress.start(f"writing {path}", sum(file.size for file in plan.files), "B")
    try:
        if options.format == "safetensors":
            return _write_file(repository, manifest, path, plan.files[0], force=force, progress=progress)
        sides = dict(manifest.files) if options.format == "hf" else {}
        for name in arrangement.names(repository, manifest):
            sides.pop(name, None)
        made = _write_folder(repository, manifest, path, plan, sides, force=force, progress=progress)
        return replace(made, format=options.format)
    finally:
        progress.stop()


def selected(manifest: Manifest, patterns: tuple[str, ...]) -> Manifest:
    """`manifest` with those tensors only whose names match one of `patterns`; none for all. Raises WvcError."""
    names = [tensor.name for tensor in manifest.tensors]
    check(names, patterns)
    kept = set(matching(names, patterns) if patterns else names)
    return replace(manifest, tensors=tuple(tensor for tensor in manifest.tensors if tensor.name in kept))


def _plan(repository: Repository, manifest: Manifest, options: Options) -> Arrangement:
    """The files of weights to write: those that came, where they suit what is asked for."""
    tensors = manifest.tensors
    came = None if options.limit is not None else arrangement.stored(repository, manifest)
    if options.format == "safetensors":
        return came if came is not None and len(came.files) == 1 else arrangement.single(tensors)
    if came is not None and (options.format == "hf" or came.index is not None):
        return came
    stem, limit = arrangement.stem(repository, manifest), options.limit or LIMIT
    if options.format == "hf" and sum(size_of(t.dtype, t.shape) for t in tensors) <= limit:
        return arrangement.single(tensors, stem + SAFE)
    return arrangement.sharded(tensors, stem, limit)


def _write_file(
    repository: Repository, manifest: Manifest, path: Path, file: File, *, force: bool, progress: Progress
) -> Written:
    before = (path.name,) if os.path.lexists(path) else ()
    with targets.file(path, force=force) as temporary:
        fd = os.open(temporary, targets.NEW, 0o666)
        try:
            fill(repository, manifest, {fd: file}, progress)
            os.fsync(fd)
        finally:
            os.close(fd)
    return Written(str(path), "safetensors", (path.name,), file.size, len(manifest.tensors), before)


def _write_folder(
    repository: Repository,
    manifest: Manifest,
    path: Path,
    plan: Arrangement,
    sides: Mapping[str, str],
    *,
    force: bool,
    progress: Progress,
) -> Written:
    """The weights come last, and their index after them: until they are there, nobody takes the folder for a model."""
    index = dict([plan.index] if plan.index else [])
    names = (*sides, *(file.name for file in plan.files), *index)
    try:
        check_files(names)
    except ValueError as error:
        hint = "--format sharded writes nothing but the weights"
        raise WvcError(f"the folder cannot be written: {error}", hint) from None
    before = targets.check_folder(path, names, force=force)
    with targets.folder(path, names, force=force) as stage:
        size = sum(spread(lambda item: _write_side(repository, stage, *item), sides.items()))
        with ExitStack() as stack:
            opened: dict[int, File] = {}
            for file in plan.files:
                fd = stage.create(file.name)
                stack.callback(os.close, fd)
                opened[fd] = file
            fill(repository, manifest, opened, progress)
            for fd in opened:
                os.fsync(fd)
        for name, raw in index.items():
            size += _write(stage, name, [raw])
    size += sum(file.size for file in plan.files)
    return Written(str(path), "hf", names, size, len(manifest.tensors), tuple(before))


def _write_side(repository: Repository, stage: Stage, name: str, id: str) -> int:
    return _write(stage, name, repository.reader.chunks(id))


def _write(stage: Stage, name: str, chunks: Iterable[bytes | memoryview]) -> int:
    """A new file, durable; the bytes written."""
    fd = stage.create(name)
    try:
        size = _put(fd, chunks, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    return size


def fill(repository: Repository, manifest: Manifest, opened: Mapping[int, File], progress: Progress = SILENT) -> None:
    """Write headers and tensors to open files, by descriptor. Raises Damage, at the latest when all was written."""
    jobs: list[tuple[int, Entry]] = []
    for fd, file in opened.items():
        os.ftruncate(fd, file.size)
        _put(fd, [file.header.raw], 0)
        jobs += [(fd, entry) for entry in file.header.entries]

    def put(job: tuple[int, Entry]) -> int:
        fd, entry = job
        return _put(fd, repository.chunks(manifest.by_name[entry.name]), entry.start)

    # As they lie in packs, large ones first: a large one that came last would keep one thread busy and the others idle.
    for size in spread(put, sorted(jobs, key=lambda job: job[1].start - job[1].stop)):
        progress.advance(size)


def _put(fd: int, chunks: Iterable[bytes | memoryview], start: int) -> int:
    """Write all of `chunks` at `start`; the bytes written."""
    position = start
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        while view:
            done = os.pwrite(fd, view, position)
            view, position = view[done:], position + done
    return position - start
