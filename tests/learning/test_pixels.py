"""Images by position."""

from __future__ import annotations

import numpy as np
import torch

from wvc.learning.pixels import Pixels

CPU = torch.device("cpu")


def test_positions_count_within_the_selection() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * 51

    chosen = Pixels(images, np.arange(6) * 10, np.array([5, 0, 3]))
    values, labels = chosen.batch(np.array([0, 2, 0]), CPU)

    assert len(chosen) == 3
    assert values.flatten().tolist() == [1.0, np.float32(3 / 5), 1.0]
    assert labels.tolist() == [50, 30, 50]


def test_a_read_only_memory_map_will_do(tmp_path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.full((4, 3, 2, 2), 255, np.uint8))

    pixels = Pixels(np.load(path, mmap_mode="r"), np.zeros(4, np.int64))

    assert torch.equal(pixels.batch(np.array([1, 2]), CPU)[0], torch.ones(2, 3, 2, 2))
    assert (pixels.shape, pixels.size) == ((3, 2, 2), 48)


def test_images_that_are_held_are_the_same_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    read, held = (Pixels(images, np.arange(9), np.array([8, 1, 4, 2])) for _ in range(2))
    held.hold(CPU)

    positions = np.array([3, 0, 0, 1])

    assert held.is_held(CPU)
    for one, other in zip(read.batch(positions, CPU), held.batch(positions, CPU), strict=True):
        assert torch.equal(one, other)
