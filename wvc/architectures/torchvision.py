"""torchvision's classification models, with torchvision's own tensor names.

Auxiliary heads (GoogLeNet, Inception) are off. Published weights are the first ImageNet ones, IMAGENET1K_V1, where
torchvision has them, since the papers' figures were made with those; else torchvision's default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torchvision
from torch import Tensor, nn

from wvc.architectures import Card
from wvc.errors import ModelProblem

AUXILIARY = ("googlenet", "inception_v3")
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
HALF = (0.5, 0.5, 0.5)


def names() -> list[str]:
    return sorted(torchvision.models.list_models(module=torchvision.models))


def card(name: str) -> Card:
    weights = _weights(name)
    transforms = weights.transforms()
    # torchvision's published GoogLeNet and Inception renormalise their input from ImageNet's statistics to these.
    ours = name in AUXILIARY
    return Card(
        outputs=len(weights.meta["categories"]),
        image_size=transforms.crop_size[0],
        smallest=max(weights.meta["min_size"]),
        mean=HALF if ours else tuple(transforms.mean),
        std=HALF if ours else tuple(transforms.std),
        fixed_size=name.startswith(("vit_", "maxvit_")),
        extras=("AuxLogits.", "aux1.", "aux2.") if ours else (),
    )


def build(name: str, outputs: int, image_size: int | None) -> nn.Module:
    """Raises ModelProblem where the architecture cannot take images of `image_size`."""
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in AUXILIARY else {}
    size = image_size or card(name).image_size
    if name.startswith("vit_"):
        options["image_size"] = size
    if name.startswith("maxvit_"):
        options["input_size"] = (size, size)
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **options)
    except (ValueError, AssertionError) as error:
        raise ModelProblem(f"{name} cannot take images of {size} px: {error}", "choose another --image-size") from None
    return model


def pretrained(name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    weights = _weights(name)
    try:
        with _inert():
            model = torchvision.models.get_model(name, weights=weights, progress=False)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = str(error).split("\n")[0]
        raise ModelProblem(
            f"cannot download the weights of {name}: {reason}", "give a file instead: --weights FILE"
        ) from None
    extras = card(name).extras
    state = {key: tensor for key, tensor in model.state_dict().items() if not (extras and key.startswith(extras))}
    return state, tuple(weights.meta["categories"])


@contextmanager
def _inert() -> Iterator[None]:
    """torchvision's files are pickles, which it lets run code: inside, torch takes tensors and nothing else."""
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        os.environ.pop(WEIGHTS_ONLY)
        os.environ.update({} if before is None else {WEIGHTS_ONLY: before})


def _weights(name: str) -> Any:
    """torchvision's description of the published weights; downloads nothing."""
    known = torchvision.models.get_model_weights(name)
    return getattr(known, "IMAGENET1K_V1", known.DEFAULT)
