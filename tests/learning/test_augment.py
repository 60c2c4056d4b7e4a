"""The batched augmentation against torchvision, image by image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from wvc.errors import TrainingProblem
from wvc.learning import augment as module
from wvc.learning.augment import DRAWS, Varied, augment, crop_and_flip, crop_boxes, grey, jitter
from wvc.learning.colour import blend, luminance, turn_hue
from wvc.learning.pixels import Pixels
from wvc.learning.seeds import generator

ADJUST = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)


def images(n: int = 24, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    """Noise, with black, white, grey and coarse patches, where hues are undefined or tied."""
    noise = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))
    noise[::4, :, :3] = 0
    noise[::4, :, 3:5] = 1
    noise[1::4, :, :4] = noise[1::4, :1, :4]
    noise[2::4] = (noise[2::4] * 3).round() / 3
    return noise


def draws(n: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, DRAWS))


def test_hue_is_torchvisions() -> None:
    turns = torch.linspace(-0.3, 0.3, 24)

    expected = torch.stack([reference.adjust_hue(i, float(t)) for i, t in zip(images(), turns, strict=True)])

    torch.testing.assert_close(turn_hue(images(), turns), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("operation", [0, 1, 2])
def test_blends_are_torchvisions(operation: int) -> None:
    factors = torch.linspace(0.7, 1.3, 24)
    rest = (1 - factors) * (operation == 1), (1 - factors) * (operation == 2)

    expected = torch.stack([ADJUST[operation](i, float(f)) for i, f in zip(images(), factors, strict=True)])

    torch.testing.assert_close(blend(images(), factors, *rest), expected, rtol=0, atol=1e-5)


def test_luminance_is_torchvisions() -> None:
    torch.testing.assert_close(luminance(images()), reference.rgb_to_grayscale(images()), rtol=0, atol=1e-6)


def test_jitter_applies_four_operations_in_an_order_of_each_image() -> None:
    numbers = draws()
    expected = images()
    for row, image in zip(numbers, expected, strict=True):
        factors = 0.7 + 0.6 * row[24:28]
        for operation in np.argsort(row[28:32]):
            amount = factors[operation] - 1 if operation == 3 else factors[operation]
            image.copy_(ADJUST[operation](image, float(amount)))

    torch.testing.assert_close(jitter(images(), numbers), expected, rtol=0, atol=2e-4)


def test_crops_are_torchvisions_without_antialiasing() -> None:
    numbers = draws()
    boxes = crop_boxes(numbers, 20, 16).astype(int)

    cropped = crop_and_flip(images(height=20), numbers)

    for row, box, image, result in zip(numbers, boxes, images(height=20), cropped, strict=True):
        expected = reference.resized_crop(image, *box.tolist(), size=[20, 16], antialias=False)
        expected = reference.horizontal_flip(expected) if row[22] < 0.5 else expected
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)


def test_boxes_obey_scale_ratio_and_bounds() -> None:
    boxes = crop_boxes(draws(4000), 64, 64)

    top, left, height, width = boxes.T
    assert (boxes == boxes.round()).all()
    assert (top.min(), left.min()) == (0, 0)
    assert ((top + height).max(), (left + width).max()) == (64, 64)
    assert (height * width / 64**2).min() > 0.68
    assert (width / height).min() > 0.73
    assert (width / height).max() < 1.37
    assert abs(np.log(width / height).mean()) < 0.01


def test_a_box_that_never_fits_is_the_largest_central_one() -> None:
    assert crop_boxes(draws(3), 10, 100).tolist() == [[0, 43, 10, 13]] * 3
    assert crop_boxes(draws(3), 100, 10).tolist() == [[43, 0, 13, 10]] * 3


def test_minimal_cuts_at_most_a_tenth_and_leaves_colours_alone() -> None:
    boxes = crop_boxes(draws(4000), 200, 200, module.MINIMAL_SCALE)

    shares = boxes[:, 2] * boxes[:, 3] / 200**2
    assert shares.min() > 0.89
    assert shares.max() <= 1
    assert (np.histogram(shares[shares < 1], bins=2, range=(0.9, 1))[0] > 1000).all()
    flat = torch.full((24, 3, 16, 16), 0.3)
    torch.testing.assert_close(augment(flat, draws(), "minimal"), flat)


def test_minimal_is_a_crop_and_a_flip() -> None:
    numbers = draws()
    boxes = crop_boxes(numbers, 16, 16, (0.9, 1.0)).astype(int)

    expected = []
    for image, (top, left, height, width), flip in zip(images(), boxes, numbers[:, module.FLIP] < 0.5, strict=True):
        cut = reference.resized_crop(image, top, left, height, width, [16, 16], antialias=False)
        expected.append(cut.flip(-1) if flip else cut)

    torch.testing.assert_close(augment(images(), numbers, "minimal"), torch.stack(expected), rtol=0, atol=1e-4)


def test_varied_images_keep_their_draws_in_batches_of_any_size() -> None:
    pixels = Pixels((images() * 255).numpy().astype(np.uint8), np.arange(24), np.arange(20, 0, -1))
    device = torch.device("cpu")

    whole, labels = Varied(pixels, "domainbed", (7, 3, 1, "validation")).batch(np.arange(20), device)
    parts = [
        Varied(pixels, "domainbed", (7, 3, 1, "validation")).batch(np.arange(i, i + 5), device)[0]
        for i in range(0, 20, 5)
    ]

    numbers = generator(7, 3, 1, "validation").random((20, DRAWS))
    assert torch.equal(whole, augment(pixels.batch(np.arange(20), device)[0], numbers, "domainbed"))
    assert torch.equal(torch.cat(parts), whole)
    assert labels.tolist() == list(range(20, 0, -1))


def test_a_tenth_turns_grey() -> None:
    numbers = draws(2000)
    colourful = images(8).repeat(250, 1, 1, 1)

    result = grey(colourful.clone(), numbers)

    is_grey = numbers[:, 23] < 0.1
    assert math.isclose(is_grey.mean(), 0.1, abs_tol=0.02)
    assert torch.equal(result[~is_grey], colourful[~is_grey])
    torch.testing.assert_close(result[is_grey], luminance(colourful[is_grey]).expand(-1, 3, -1, -1))


def test_every_image_depends_on_its_own_row_only() -> None:
    together = augment(images(), draws(), "domainbed")

    alone = torch.cat([augment(images()[i : i + 1], draws()[i : i + 1], "domainbed") for i in range(24)])

    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(module.KINDS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_keeps_shape_range_and_its_input(kind: str, channels: int) -> None:
    before = images(channels=channels)

    result = augment(given := before.clone(), draws(), kind)

    assert result.shape == before.shape
    assert 0 <= result.min() <= result.max() <= 1
    assert torch.equal(given, before)
    assert torch.equal(result, before) is (kind == "none")


def test_grey_images_get_brightness_and_contrast_in_their_order() -> None:
    numbers = draws()
    expected = images(channels=1)
    for row, image in zip(numbers, expected, strict=True):
        factors = 0.7 + 0.6 * row[24:28]
        for operation in [o for o in np.argsort(row[28:32]) if o < 2]:
            image.copy_(ADJUST[operation](image, float(factors[operation])))

    torch.testing.assert_close(jitter(images(channels=1), numbers), expected, rtol=0, atol=1e-5)


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(TrainingProblem, match="wild"):
        augment(images(), draws(), "wild")
