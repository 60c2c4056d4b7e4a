"""Bring in weights that were made elsewhere, as a commit without parents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wvc.progress import SILENT, Progress
from wvc.repo import intake
from wvc.repo.objects import Commit, ModelSpec
from wvc.repo.repository import Repository
from wvc.repo.sources import Source


@dataclass(frozen=True)
class Foundation:
    """The model that a repository begins with.

    architecture: its name, or None for plain tensors of any model.
    weights: where they are, as `sources.open` takes it, or None for the architecture's published weights.
    random: seed of random weights instead, or None.
    image_size: side of the input in pixels, or None to let the data decide.
    key: which dictionary in a checkpoint of PyTorch's holds the weights, or None.
    """

    architecture: str | None = None
    weights: Path | None = None
    random: int | None = None
    image_size: int | None = None
    key: str | None = None


def import_weights(
    repository: Repository,
    source: Source,
    ref: str,
    message: str,
    spec: ModelSpec | None = None,
    key: str | None = None,
    progress: Progress = SILENT,
) -> Commit:
    """A commit without parents of what `source` holds, as the new value of `ref`. Raises BadFile, RefMoved.

    spec: the model that it belongs to, None for plain tensors. key: as the source was opened with.
    """
    return intake.take(repository, source, intake.Plan(ref, message, intake.how(source, key), spec), progress)
