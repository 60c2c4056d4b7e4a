"""Images of one domain as a training sees them: picked by position, as floats, on the device that computes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]


class Pixels:
    """Some images of a domain, with their labels.

    images: uint8 (n, C, H, W) in [0, 255], possibly a memory map; read only.
    labels: int64 (n,), indices of classes.
    indices: which of the n belong here, in this order; None for all.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], indices: Indices | None = None) -> None:
        self.images = images
        self.labels = labels
        self.indices = np.arange(len(images)) if indices is None else np.asarray(indices, dtype=np.int64)
        self._held: tuple[Tensor, Tensor] | None = None
        self._held_on: torch.device | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.images.shape[1:]

    @property
    def size(self) -> int:
        """Bytes of the images as uint8."""
        return len(self) * int(np.prod(self.shape))

    def batch(self, positions: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) as floats in [0, 1] and labels (B,) at `positions` within this selection."""
        if self._held is not None and self.is_held(device):
            index = on_device(positions, device)
            images, labels = (tensor.index_select(0, index) for tensor in self._held)
        else:
            chosen = self.indices[positions]
            images, labels = on_device(self.images[chosen], device), on_device(self.labels[chosen], device)
        return images.float().div_(255), labels

    def hold(self, device: torch.device) -> None:
        """Keep all images on `device` from now on."""
        self._held = on_device(self.images[self.indices], device), on_device(self.labels[self.indices], device)
        self._held_on = device

    def is_held(self, device: torch.device) -> bool:
        """True if all images are kept on `device`."""
        return self._held_on == device


def hold(sets: Iterable[Pixels], device: torch.device) -> None:
    """Keep the images of all `sets` on a GPU, if together they take no more than a third of its free memory.

    On a CPU they stay where they are.
    """
    wanted = [pixels for pixels in sets if not pixels.is_held(device)]
    if device.type == "cuda" and 3 * sum(pixels.size for pixels in wanted) <= torch.cuda.mem_get_info(device)[0]:
        for pixels in wanted:
            pixels.hold(device)


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """`array` as a tensor on `device`, through pinned memory, so that the CPU need not wait for a GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
