"""Vary training images at random, a whole batch at a time, on the device where they are.

All random numbers come in as one array, drawn on the CPU, so that a step means the same on every device.
One row holds DRAWS numbers in [0, 1) for one image; the constants below say which column decides what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wvc.errors import TrainingProblem
from wvc.learning.colour import blend, luminance, turn_hue
from wvc.learning.pixels import Indices, Pixels, on_device
from wvc.learning.seeds import generator

SCALE = (0.7, 1.0)  # area of the crop, as a share of the image's
MINIMAL_SCALE = (0.9, 1.0)
RATIO = (3 / 4, 4 / 3)  # width / height of the crop
JITTER = 0.3
GREY = 0.1

AREAS, RATIOS = slice(0, 10), slice(10, 20)  # ten tries
TOP, LEFT, FLIP, GREYED = 20, 21, 22, 23
FACTORS, ORDER = slice(24, 28), slice(28, 32)  # of brightness, contrast, saturation, hue
DRAWS = 32
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

Floats = NDArray[np.float64]


def augment(images: Tensor, draws: Floats, kind: str) -> Tensor:
    """Return varied copies of `images`, floats in [0, 1], (B, C, H, W), on their device; C = 1 or 3 for domainbed.

    draws: (B, DRAWS) numbers in [0, 1).
    kind: a key of KINDS. Raises TrainingProblem where there is none such.
    """
    if kind not in KINDS:
        raise TrainingProblem(f"unknown augmentation {kind!r}", "choose one of " + ", ".join(sorted(KINDS)))
    return KINDS[kind](images, draws)


def domainbed(images: Tensor, draws: Floats) -> Tensor:
    """Random resized crop, flip, colour jitter, random grayscale (Gulrajani & Lopez-Paz 2021; design, Trainings).

    Images of one channel have no colour: crop, flip, brightness and contrast only.
    """
    return grey(jitter(crop_and_flip(images, draws), draws), draws)


def minimal(images: Tensor, draws: Floats) -> Tensor:
    """Random crop of 90 to 100 % of the area, stretched back, and flip, without colour (Wortsman et al. 2022)."""
    return crop_and_flip(images, draws, MINIMAL_SCALE)


KINDS: Mapping[str, Callable[[Tensor, Floats], Tensor]] = {
    "domainbed": domainbed,
    "minimal": minimal,
    "none": lambda images, draws: images,
}


def crop_boxes(draws: Floats, height: int, width: int, scale: tuple[float, float] = SCALE) -> Floats:
    """(B, 4) of top, left, height, width in pixels, by the law of torchvision's RandomResizedCrop.

    Of ten tries the first that fits; where none does, the largest central box with a ratio in range.
    scale: bounds of the area, as shares of the image's.
    """
    areas = height * width * _between(draws[:, AREAS], *scale)
    ratios = np.exp(_between(draws[:, RATIOS], *np.log(RATIO)))
    heights, widths = np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))
    fits: NDArray[np.bool_] = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    rows, first = np.arange(len(draws)), fits.argmax(axis=1)
    h, w = heights[rows, first], widths[rows, first]
    top, left = np.floor(draws[:, TOP] * (height - h + 1)), np.floor(draws[:, LEFT] * (width - w + 1))
    boxes = np.stack((top, left, h, w), axis=1)
    return np.where(fits.any(axis=1, keepdims=True), boxes, _central_box(height, width))


def crop_and_flip(images: Tensor, draws: Floats, scale: tuple[float, float] = SCALE) -> Tensor:
    """Cut a random box, stretch it to the size of the image (bilinear), mirror half of the images.

    Sampling points are held inside the box, as if it had been cut out first.
    """
    height, width = images.shape[-2:]
    signs = np.where(draws[:, FLIP] < 0.5, -1.0, 1.0)
    boxes = np.column_stack((crop_boxes(draws, height, width, scale), signs))
    top, left, h, w, sign = on_device(boxes.astype(np.float32), images.device).unbind(dim=1)  # (B,) each
    ys = _centres(top, h, torch.ones_like(sign), height)[:, :, None].expand(-1, -1, width)
    xs = _centres(left, w, sign, width)[:, None, :].expand(-1, height, -1)
    grid = torch.stack((xs, ys), dim=-1)  # (B, H, W, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def jitter(images: Tensor, draws: Floats) -> Tensor:
    """Brightness, contrast, saturation and hue by random factors, in a random order for each image. In place.

    The first three are one formula (colour.blend), so each of the four places in the order costs one pass over
    the batch, which leaves alone the images whose hue is due there, and one over those for the hue.
    """
    order = np.argsort(draws[:, ORDER], axis=1, kind="stable")  # (B, 4): the operation at each place
    colours = images.shape[1] == 3
    shares = on_device(_shares(order, draws, colours=colours).astype(np.float32), images.device)  # (4, 3, B)
    turns = on_device(_between(draws[:, FACTORS][:, HUE], -JITTER, JITTER).astype(np.float32), images.device)
    places = np.argmax(order == HUE, axis=1)
    by_place = on_device(np.argsort(places, kind="stable"), images.device)
    groups = torch.split(by_place, np.bincount(places, minlength=4).tolist())
    for place in range(4):
        blend(images, *shares[place])
        if colours and len(groups[place]):
            turned = turn_hue(images.index_select(0, groups[place]), turns.index_select(0, groups[place]))
            images.index_copy_(0, groups[place], turned)
    return images


def grey(images: Tensor, draws: Floats) -> Tensor:
    """Take the colour out of a tenth of the images. In place."""
    chosen = np.flatnonzero(draws[:, GREYED] < GREY)
    if images.shape[1] == 3 and len(chosen):
        index = on_device(chosen, images.device)
        images.index_copy_(0, index, luminance(images.index_select(0, index)).expand(-1, 3, -1, -1))
    return images


class Varied(Pixels):
    """The images of `pixels`, each varied by draws of its own.

    kind: a key of KINDS. purpose: run seed, step, domain and what for, as seeds.generator takes them; image i of
    `pixels` is varied by row i of the draws.
    """

    def __init__(self, pixels: Pixels, kind: str, purpose: tuple[int, int, int, str]) -> None:
        super().__init__(pixels.images, pixels.labels, pixels.indices)
        self._pixels, self._kind = pixels, kind
        self._draws = generator(*purpose).random((len(pixels), DRAWS))

    def batch(self, positions: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
        images, labels = self._pixels.batch(positions, device)
        return augment(images, self._draws[positions], self._kind), labels

    def hold(self, device: torch.device) -> None:
        self._pixels.hold(device)

    def is_held(self, device: torch.device) -> bool:
        return self._pixels.is_held(device)


def _shares(order: NDArray[np.intp], draws: Floats, *, colours: bool) -> Floats:
    """(4 places, 3, B): the shares of the image, of its mean grey and of its grey image, for colour.blend."""
    factors = _between(draws[:, FACTORS], 1 - JITTER, 1 + JITTER)
    factors[:, HUE] = 1
    if not colours:
        factors[:, SATURATION] = 1
    own = np.take_along_axis(factors, order, axis=1)  # (B, 4 places)
    shares = np.stack((own, (1 - own) * (order == CONTRAST), (1 - own) * (order == SATURATION)))
    return shares.transpose(2, 0, 1)


def _centres(start: Tensor, size: Tensor, sign: Tensor, length: int) -> Tensor:
    """(B, length) places in [-1, 1] where the pixels of the result lie in the source; sign -1 mirrors."""
    offsets = torch.arange(length, device=start.device) + (0.5 - length / 2)
    inside = (sign[:, None] * offsets / length + 0.5) * size[:, None]
    held = torch.minimum(inside.clamp_(min=0.5), size[:, None] - 0.5)
    return (start[:, None] + held) * (2 / length) - 1


def _central_box(height: int, width: int) -> Floats:
    w, h = width, height
    if width < height * RATIO[0]:
        h = round(width / RATIO[0])
    elif width > height * RATIO[1]:
        w = round(height * RATIO[1])
    return np.array([(height - h) // 2, (width - w) // 2, h, w], dtype=np.float64)


def _between(draws: Floats, low: float, high: float) -> Floats:
    return low + (high - low) * draws
