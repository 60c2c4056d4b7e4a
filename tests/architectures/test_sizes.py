"""Images of another size than the weights were made for: interpolated, taken as they are, or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wvc import architectures
from wvc.architectures.torchvision import POSITIONS
from wvc.errors import ModelProblem
from wvc.repo.objects import ModelSpec

WIDTH = 768


def spec_of(name: str, side: int | None) -> ModelSpec:
    return replace(architectures.describe(name, 2), image_size=side)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A vision transformer for 224 px, with 7 x 7 patches, and position embeddings like nothing else."""
    torch.manual_seed(0)
    state = architectures.build(spec_of("vit_b_32", None)).state_dict()
    return {**state, POSITIONS: torch.randn(1, 1 + 7 * 7, WIDTH)}


def test_position_embeddings_keep_their_corners_and_what_lies_on_both_grids(published: dict[str, Tensor]):
    loaded = architectures.load(spec_of("vit_b_32", 96), published)

    found = loaded.state_dict()
    token, patches = found[POSITIONS][:, :1], found[POSITIONS][:, 1:]
    grid = published[POSITIONS][:, 1:].view(7, 7, WIDTH)
    assert torch.equal(token, published[POSITIONS][:, :1])
    assert torch.allclose(patches.view(3, 3, WIDTH), grid[::3, ::3], atol=1e-6)  # rows 0, 3 and 6 are on both
    assert all(torch.equal(found[name], published[name]) for name in published if name != POSITIONS)


def test_what_lies_between_two_embeddings_is_their_cubic_mean(published: dict[str, Tensor]):
    columns = torch.zeros(7, 7, WIDTH, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(1))
    state = {**published, POSITIONS: torch.cat([torch.zeros(1, WIDTH), columns.float().view(49, WIDTH)])[None]}

    # 7 points to 4: positions 0, 2, 4, 6. 7 to 13: halves, so in the middle the weights are those of a = -0.75.
    loaded = architectures.load(spec_of("vit_b_32", 13 * 32), state)

    grid = loaded.state_dict()[POSITIONS][0, 1:].view(13, 13, WIDTH).double()
    between = (-0.09375, 0.59375, 0.59375, -0.09375)  # Keys' kernel at 1.5, 0.5, 0.5 and 1.5
    wanted = sum(weight * columns[2, 1 + i] for i, weight in enumerate(between))
    assert torch.allclose(grid[4, 5], wanted, atol=1e-5)  # row 2, between columns 2 and 3
    assert torch.allclose(grid[::2, ::2], columns, atol=1e-5)


def test_once_resized_it_stays_bit_for_bit(published: dict[str, Tensor]):
    spec = spec_of("vit_b_32", 64)
    resized = architectures.load(spec, published).state_dict()

    again = architectures.load(spec, resized).state_dict()

    assert all(torch.equal(again[name], tensor) for name, tensor in resized.items())
    assert published[POSITIONS].shape == (1, 50, WIDTH)


@pytest.mark.parametrize(("patches", "size"), [(50, None), (5, 64), (1 + 12 * 12, 384), (7, None)])
def test_the_size_is_seen_in_the_shapes(published: dict[str, Tensor], patches: int, size: int | None):
    shapes = {name: tuple(tensor.shape) for name, tensor in published.items()} | {POSITIONS: (1, patches, WIDTH)}

    assert architectures.infer_image_size("vit_b_32", shapes) == size


@pytest.mark.parametrize(
    ("name", "size", "message", "hint"),
    [
        ("vit_b_16", 100, "vit_b_16 takes images whose side is a multiple of 16, not 100 px", "96 or 112"),
        ("vit_b_32", 10, "vit_b_32 takes images of at least 32 px, not 10 px", "32"),
        ("maxvit_t", 64, "maxvit_t takes images of at least 224 px, not 64 px", "224"),
        ("maxvit_t", 300, "maxvit_t takes images whose side is a multiple of 224, not 300 px", "224 or 448"),
        ("inception_v3", 64, "inception_v3 takes images of at least 75 px, not 64 px", "75"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_the_nearest(name: str, size: int, message: str, hint: str):
    with pytest.raises(ModelProblem) as caught:
        architectures.build(spec_of(name, size))

    assert str(caught.value) == message
    assert caught.value.hint == f"try --image-size {hint}"
