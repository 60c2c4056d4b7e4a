"""Bring in weights that were made elsewhere, as a commit without parents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wvc import architectures
from wvc.progress import SILENT, Progress
from wvc.repo import commits, files
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository


@dataclass(frozen=True)
class Foundation:
    """The model that a repository begins with.

    architecture: its name, or None for plain tensors of any model.
    weights: a safetensors file, or None for the architecture's published weights.
    random: seed of random weights instead, or None.
    image_size: side of the input in pixels, or None to let the data decide.
    """

    architecture: str | None = None
    weights: Path | None = None
    random: int | None = None
    image_size: int | None = None


def import_weights(
    repository: Repository, foundation: Foundation, ref: str, message: str, progress: Progress = SILENT
) -> Commit:
    """A commit without parents of the weights in a file, on a new branch `ref`. Raises BadFile, ModelProblem."""
    assert foundation.weights is not None
    with files.Source(foundation.weights) as source:
        spec = None
        if foundation.architecture is not None:
            outputs = architectures.infer_outputs(foundation.architecture, source.shapes)
            spec = replace(architectures.describe(foundation.architecture, outputs), image_size=foundation.image_size)
        how = {"kind": "import", "format": "safetensors"}
        sketch = Manifest(source.tensors(), spec=spec)
        shapes = [*source.shapes.values(), (1,)]
        with repository.batch(shapes, commits.room(sketch, how)) as batch:
            tensors, header = source.store(batch, progress)
            manifest = Manifest(tensors, (header,), spec)
            commit = commits.make(repository, manifest, [], message, how)
            commits.put(repository, batch, manifest, commit)
            commits.record(repository, batch, commit, ref=ref, old=repository.refs.get(ref))
    return commit
