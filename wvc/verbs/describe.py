"""Say which model it is that weights from outside belong to."""

from __future__ import annotations

from dataclasses import replace

from wvc import architectures
from wvc.repo.objects import ModelSpec
from wvc.repo.sources import Source


def describe(architecture: str, source: Source, image_size: int | None = None) -> ModelSpec:
    """The spec of `architecture` under the head that the weights in `source` have. Raises ModelProblem.

    image_size: side of the input in pixels; None for what the shapes tell, or to let the data decide.
    """
    shapes = {name: blob.shape for name, blob in source.tensors.items()}
    outputs = architectures.infer_outputs(architecture, shapes)
    size = image_size or architectures.infer_image_size(architecture, shapes)
    return replace(architectures.describe(architecture, outputs), image_size=size)
