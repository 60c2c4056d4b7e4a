"""Write a checkpoint that torch loads."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import torch

from wvc.errors import ModelProblem
from wvc.progress import SILENT, Progress
from wvc.repo import arrangement, targets
from wvc.repo.arrangement import File
from wvc.repo.export import Written, fill
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.tensors import DTYPES


def export_checkpoint(
    repository: Repository, manifest: Manifest, path: Path, *, force: bool = False, progress: Progress = SILENT
) -> Written:
    """Write a dictionary of all tensors of `manifest` with `torch.save`. Raises WvcError if something is there already.

    Raises ModelProblem for a tensor that torch does not have. Tensors are equal to those that came, bit for bit; the
    file is not the one that they came in.
    """
    for tensor in manifest.tensors:
        if tensor.dtype not in DTYPES:
            hint = "a safetensors file can hold it: name one that ends in .safetensors"
            raise ModelProblem(f"tensor {tensor.name!r} is {tensor.dtype}, which torch does not have", hint)
    before = (path.name,) if os.path.lexists(path) else ()
    file = arrangement.single(manifest.tensors).files[0]
    progress.start(f"writing {path.name}", file.size, "B")
    try:
        with targets.file(path, force=force) as temporary:
            _save(repository, manifest, file, temporary, progress)
    finally:
        progress.stop()
    return Written(str(path), "pt", (path.name,), path.stat().st_size, len(manifest.tensors), before)


def _save(repository: Repository, manifest: Manifest, file: File, path: Path, progress: Progress) -> None:
    # torch wants all tensors at once: they are laid out in a file without a name and mapped, and take no memory.
    with tempfile.TemporaryFile(dir=path.parent) as aside:
        fill(repository, manifest, {aside.fileno(): file}, progress)
        with mmap.mmap(aside.fileno(), file.size, access=mmap.ACCESS_COPY) as mapped:  # torch wants to be able to write
            state = _tensors(mapped, file)
            torch.save({tensor.name: state[tensor.name] for tensor in manifest.tensors}, path)
            state.clear()
    with path.open("rb") as made:
        os.fsync(made.fileno())


def _tensors(mapped: mmap.mmap, file: File) -> dict[str, torch.Tensor]:
    made = {}
    for entry in file.header.entries:
        dtype, size = DTYPES[entry.dtype], entry.stop - entry.start
        if size:
            data = torch.frombuffer(mapped, dtype=torch.uint8, offset=entry.start, count=size)
            made[entry.name] = data.view(dtype).reshape(entry.shape)
        else:
            made[entry.name] = torch.empty(entry.shape, dtype=dtype)
    return made
