"""Give a model ready to use, from Python."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from wvc import architectures
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.verbs import need
from wvc.verbs.scoring import spec_of


def load(path: Path | str, revision: str = "HEAD") -> nn.Module:
    """The model at `revision` of the repository at `path`, in eval mode, in float32, on the CPU.

    It takes images (B, C, H, W) that are resized and normalised as its spec says, and gives (B, classes) logits.
    Raises UnknownRevision, CorruptObject, and ModelProblem for plain tensors.
    """
    repository = Repository(path)
    manifest = repository.manifest(repository.commit(resolve(repository, revision)))
    return architectures.load(spec_of(manifest), need.weights(repository, manifest)).eval()
