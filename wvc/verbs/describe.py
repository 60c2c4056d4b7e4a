"""Say which model it is that weights from outside belong to."""

from __future__ import annotations

from dataclasses import replace

from wvc import architectures
from wvc.repo.objects import ModelSpec
from wvc.repo.sources import Source


def describe(architecture: str, source: Source, image_size: int | None = None) -> ModelSpec:
    """The spec of `architecture` under the head that the weights in `source` have. Raises ModelProblem.

    image_size: side of the input in pixels, or None to let the data decide.
    """
    outputs = architectures.infer_outputs(architecture, {name: blob.shape for name, blob in source.tensors.items()})
    return replace(architectures.describe(architecture, outputs), image_size=image_size)
