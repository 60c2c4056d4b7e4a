"""Families of architectures: how to build a model, where its head is, which images it wants.

A file behind this door is a family, its name the part before the slash in "torchvision/mobilenet_v2". It has
`names() -> list[str]`, `card(name) -> Card`, `build(name, outputs, image_size) -> nn.Module` with random weights and
never a download, and `pretrained(name) -> (state dict, class names)`, which may download. Where the shapes of weights
depend on the size of the images, it may have `size_of` and `resized` too (Resizing).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wvc import plugins
from wvc.architectures._heads import head_name, join_state, split
from wvc.errors import ModelProblem
from wvc.repo.objects import ModelSpec
from wvc.repo.states import check, completed

__all__ = [
    "Card",
    "Family",
    "Resizing",
    "build",
    "describe",
    "head_name",
    "image_size",
    "infer_image_size",
    "infer_outputs",
    "join_state",
    "load",
    "names",
    "pretrained",
    "split",
]

DOOR = "wvc.architectures"


@dataclass(frozen=True)
class Card:
    """What a family says of one architecture without building it.

    outputs: width of the head of the published weights.
    image_size: side of the square input that it was made for, in pixels.
    smallest: the smallest side that it takes, in pixels.
    mean, std: per-channel normalisation of pixels in [0, 1]; as many as channels.
    multiple: a side must be a multiple of this many pixels.
    fixed_size: True if it was made for images of one size (position embeddings, windows): another only where asked for.
    extras: beginnings of names that published files may have and the model has not (auxiliary heads).
    """

    outputs: int
    image_size: int
    smallest: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    multiple: int = 1
    fixed_size: bool = False
    extras: tuple[str, ...] = ()


class Family(Protocol):
    """What a file behind the door offers."""

    def names(self) -> list[str]: ...

    def card(self, name: str) -> Card: ...

    def build(self, name: str, outputs: int, image_size: int | None) -> nn.Module: ...

    def pretrained(self, name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]: ...


@runtime_checkable
class Resizing(Family, Protocol):
    """A family of which some architectures have tensors whose shape depends on the size of the images.

    size_of: side in pixels that weights of these shapes are for; None where they fit every size, or none.
    resized: a state for images of that side; the same where there is nothing to change. The tensors given stay as
    they are.
    """

    def size_of(self, name: str, shapes: Mapping[str, Sequence[int]]) -> int | None: ...

    def resized(self, name: str, state: Mapping[str, Tensor], image_size: int) -> dict[str, Tensor]: ...


def names() -> list[str]:
    """Every architecture as "family/name", sorted. Families whose package is not installed are left out."""
    found = [(family, _installed(family)) for family in plugins.names(DOOR)]
    return sorted(f"{name}/{own}" for name, family in found if family is not None for own in family.names())


def describe(architecture: str, outputs: int | None = None) -> ModelSpec:
    """The spec of "mobilenet_v2" or "torchvision/mobilenet_v2", with the published number of outputs unless given.

    Raises ModelProblem where no family knows the name.
    """
    full = _resolve(architecture)
    family, name = _family(full)
    card = family.card(name)
    outputs = card.outputs if outputs is None else outputs
    return ModelSpec(
        architecture=full,
        outputs=outputs,
        classes=None,
        head=head_name(_outline(family, name, outputs, None)),
        channels=len(card.mean),
        mean=card.mean,
        std=card.std,
    )


def image_size(spec: ModelSpec, own: int | None = None) -> int:
    """Side in pixels of the images to feed: the spec's, else `own` where the architecture takes it, else its default.

    own: side of the task's images if they all share one, else None.
    Raises ModelProblem where the architecture cannot take the spec's.
    """
    family, name = _family(spec.architecture)
    card = family.card(name)
    if spec.image_size is not None:
        _check_size(name, card, spec.image_size)
        return spec.image_size
    return own if own is not None and not card.fixed_size and _takes(card, own) else card.image_size


def build(spec: ModelSpec) -> nn.Module:
    """The model with random weights from torch's global generator, on the default device, in training mode.

    Raises ModelProblem where it cannot take images of the spec's size.
    """
    image_size(spec)
    family, name = _family(spec.architecture)
    return family.build(name, spec.outputs, spec.image_size)


def pretrained(architecture: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Published weights as (state dict, class names), downloaded unless the family finds them in its cache.

    Raises ModelProblem where there are none or the download fails.
    """
    family, name = _family(_resolve(architecture))
    return family.pretrained(name)


def load(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The model that `spec` describes, with copies of `tensors`; floating ones become float32.

    Raises ModelProblem where names or shapes differ. Auxiliary heads in `tensors` are ignored, a missing
    `num_batches_tracked` is 0, position embeddings of another image size are interpolated.
    """
    size = image_size(spec)
    family, name = _family(spec.architecture)
    model = _outline(family, name, spec.outputs, spec.image_size)
    expected = _shapes(model.state_dict())
    state = completed(tensors, expected, family.card(name).extras, torch.zeros((), dtype=torch.int64))
    if isinstance(family, Resizing):
        state = family.resized(name, state, size)
    check(spec.architecture, expected, _shapes(state))
    model = model.to_empty(device="cpu") if _is_whole(model) else family.build(name, spec.outputs, spec.image_size)
    versioned = model.state_dict()  # with the versions that some modules (MNASNet) want to see
    versioned.update({key: t.float() if t.is_floating_point() else t for key, t in state.items()})
    model.load_state_dict(versioned)
    return model


def infer_outputs(architecture: str, shapes: Mapping[str, Sequence[int]]) -> int:
    """Width of the head in a state dict with these shapes. Raises ModelProblem where they do not fit `architecture`."""
    full = _resolve(architecture)
    family, name = _family(full)
    card = family.card(name)
    head = head_name(_outline(family, name, card.outputs, None)) + ".weight"
    outputs = (shapes.get(head) or [0])[0] or card.outputs
    expected = _shapes(_outline(family, name, outputs, infer_image_size(full, shapes)).state_dict())
    check(full, expected, completed(shapes, expected, card.extras, ()))
    return int(outputs)


def infer_image_size(architecture: str, shapes: Mapping[str, Sequence[int]]) -> int | None:
    """Side in pixels of the images that weights of these shapes were made for.

    None where it is the architecture's own, or the shapes do not tell.
    """
    family, name = _family(_resolve(architecture))
    found = family.size_of(name, shapes) if isinstance(family, Resizing) else None
    return None if found == family.card(name).image_size else found


def _takes(card: Card, size: int) -> bool:
    return size >= card.smallest and size % card.multiple == 0


def _check_size(name: str, card: Card, size: int) -> None:
    """Raise ModelProblem, with the nearest sizes, unless images of this side in pixels can be fed."""
    if _takes(card, size):
        return
    below = size - size % card.multiple
    near = [str(side) for side in (below, below + card.multiple) if _takes(card, side)] or [str(card.smallest)]
    want = f"of at least {card.smallest} px" if size < card.smallest else f"whose side is a multiple of {card.multiple}"
    raise ModelProblem(f"{name} takes images {want}, not {size} px", f"try --image-size {' or '.join(near)}")


def _resolve(architecture: str) -> str:
    """The full name, "family/name"."""
    known = names()
    for full in known:
        if architecture in (full, full.partition("/")[2]):
            return full
    bare = [full.partition("/")[2] for full in known]
    near = difflib.get_close_matches(architecture.rpartition("/")[2], bare, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "torchvision's names are known, such as mobilenet_v2"
    raise ModelProblem(f"unknown architecture {architecture!r}", hint)


def _family(architecture: str) -> tuple[Family, str]:
    """The family of a full name, and the name within it."""
    prefix, _, name = architecture.partition("/")
    if prefix in plugins.names(DOOR):
        family = _installed(prefix)
        if family is None:
            raise ModelProblem(f"{architecture} needs a package that is not installed", f"run `pip install {prefix}`")
        if name in family.names():
            return family, name
    return _family(_resolve(architecture))


def _installed(name: str) -> Family | None:
    """The family `name`, or None where a package that it imports is missing."""
    try:
        return cast(Family, plugins.load(DOOR, name))
    except ImportError:
        return None


def _outline(family: Family, name: str, outputs: int, size: int | None) -> nn.Module:
    """The model with names and shapes but no numbers: takes no time, no memory and no random draw."""
    try:
        with torch.device("meta"):
            return family.build(name, outputs, size)
    except NotImplementedError:  # a constructor that computes with tensors (RegNet)
        with torch.random.fork_rng(devices=[]), _Unfilled():
            return family.build(name, outputs, size)


class _Unfilled(TorchFunctionMode):
    """Layers get no memory for their weights, which they ask for with torch.empty; all else is as ever."""

    def __torch_function__(
        self, function: Callable[..., object], types: object, args: tuple[object, ...] = (), kwargs: object = None
    ) -> object:
        options = dict(cast("Mapping[str, object]", kwargs or {}))
        if function is torch.empty:
            options["device"] = "meta"
        return function(*args, **options)


def _is_whole(model: nn.Module) -> bool:
    """True if the state dict holds every number of the model, so that an empty one can be filled from it."""
    held = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return held == set(model.state_dict())


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
