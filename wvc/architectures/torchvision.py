"""torchvision's classification models, with torchvision's own tensor names.

Auxiliary heads (GoogLeNet, Inception) are off. Published weights are the first ImageNet ones, IMAGENET1K_V1, where
torchvision has them, since the papers' figures were made with those; else torchvision's default.
Vision transformers (vit_*) take images of another size than their weights': their position embeddings are interpolated.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from wvc.architectures import Card
from wvc.errors import ModelProblem

AUXILIARY = ("googlenet", "inception_v3")
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
HALF = (0.5, 0.5, 0.5)
POSITIONS = "encoder.pos_embedding"  # (1, 1 + side * side patches, width): that of the class token comes first
MADE_FOR_ONE_SIZE = ("vit_", "maxvit_", "swin_")
# Sides that work. torchvision's `min_size` says more here, for Swin the size of the published weights.
SMALLER = {"swin_": 4, "efficientnet_v2_": 1}


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
        smallest=_smallest(name, max(weights.meta["min_size"])),
        mean=HALF if ours else tuple(transforms.mean),
        std=HALF if ours else tuple(transforms.std),
        multiple=_multiple(name),
        fixed_size=name.startswith(MADE_FOR_ONE_SIZE),
        extras=("AuxLogits.", "aux1.", "aux2.") if ours else (),
    )


def build(name: str, outputs: int, image_size: int | None) -> nn.Module:
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True} if name in AUXILIARY else {}
    size = image_size or card(name).image_size
    if name.startswith("vit_"):
        options["image_size"] = size
    if name.startswith("maxvit_"):
        options["input_size"] = (size, size)
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs, **options)
    return model


def size_of(name: str, shapes: Mapping[str, Sequence[int]]) -> int | None:
    """Of a vision transformer: the side that its position embeddings are for."""
    shape = tuple(shapes.get(POSITIONS, ()))
    if not name.startswith("vit_") or len(shape) != 3:
        return None
    side = math.isqrt(max(shape[1] - 1, 0))
    return side * _multiple(name) if side and shape[1] == side * side + 1 else None


def resized(name: str, state: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]:
    r"""The state with bicubic position embeddings, whose corners stay where they were, as torchvision resizes them.

    Dosovitskiy et al., An image is worth 16x16 words, 2021, section 3.2, https://arxiv.org/abs/2010.11929
    """
    made_for = size_of(name, {key: tuple(tensor.shape) for key, tensor in state.items()})
    if made_for in (None, image_size):
        return dict(state)
    positions: dict[str, Tensor] = {POSITIONS: state[POSITIONS].float()}
    positions.update(interpolate_embeddings(image_size, _multiple(name), positions))
    return {**state, **positions}


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


def _smallest(name: str, said: int) -> int:
    """The smallest side that works, where torchvision says `said`."""
    if _multiple(name) > 1:
        return _multiple(name)
    return next((side for prefix, side in SMALLER.items() if name.startswith(prefix)), said)


def _multiple(name: str) -> int:
    """What a side must be a multiple of: a vision transformer's patch, a MaxViT's seven windows after five halvings."""
    if name.startswith("vit_"):
        return int(name.rpartition("_")[2])
    return 7 * 2**5 if name.startswith("maxvit_") else 1
