"""The colour operations of the augmentation, on batches of images: as torchvision's, with factors per image."""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision


def luminance(images: Tensor) -> Tensor:
    """(B, 1, H, W) grey values of (B, C, H, W); of one channel, the image itself."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(1)


def blend(images: Tensor, own: Tensor, mean: Tensor, grey: Tensor) -> Tensor:
    """x <- clamp(own x + mean m + grey g, 0, 1) in place, with g the grey image of x and m its mean.

    images: (B, C, H, W) floats in [0, 1].
    own, mean, grey: (B,). With a factor f these are (f, 0, 0) for brightness, (f, 1 - f, 0) for contrast,
    (f, 0, 1 - f) for saturation; (1, 0, 0) leaves the image alone.
    """
    greys = luminance(images)
    means = greys.mean(dim=(1, 2, 3), keepdim=True)
    pedestal = torch.addcmul(means * _column(mean), greys, _column(grey))  # (B, 1, H, W)
    return torch.addcmul(pedestal, images, _column(own), out=images).clamp_(0, 1)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of (B, 3, H, W) images by `turns` (B,), in whole turns of the colour circle.

    With v the largest channel, c the range of the channels and h the hue in turns, channel n of the result is
    v - c clamp(2 - |6 frac(h + n/6) - 2|, 0, 1) for n = 5 (red), 3 (green), 1 (blue): HSV there and back, with
    neither sextants nor saturation written out.
    """
    red, green, blue = images.unbind(dim=1)
    largest = torch.maximum(torch.maximum(red, green), blue)
    chroma = largest - torch.minimum(torch.minimum(red, green), blue)
    channels = torch.arange(5, 0, -2, device=images.device)[None, :, None, None] / 6
    shift = channels + 1 + _column(turns)  # one turn more, so that frac never sees a negative number
    ramp = _hue(images, largest, chroma).unsqueeze(1) + shift
    ramp.frac_().sub_(1 / 3).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return torch.addcmul(largest.unsqueeze(1), chroma.unsqueeze(1), ramp, value=-1)


def _hue(images: Tensor, largest: Tensor, chroma: Tensor) -> Tensor:
    """(B, H, W) hue in turns, in [-1/6, 5/6]; anything where there is no colour.

    Masks are multiplied: torch.where on a CPU takes longer than all the rest.
    """
    red, green, blue = images.unbind(dim=1)
    is_red = (largest == red).to(images.dtype)
    is_green = (largest == green).to(images.dtype).mul_(1 - is_red)
    is_blue = 1 - is_red - is_green
    hue = (green - blue).mul_(is_red)
    hue.addcmul_(blue - red, is_green).addcmul_(red - green, is_blue)
    hue.div_(chroma.clamp(min=torch.finfo(images.dtype).tiny))
    return hue.add_(is_green, alpha=2).add_(is_blue, alpha=4).div_(6)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]
