"""From the bytes of an image file to its size and to its pixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

# The protocol reads truncated files as far as they go. Pillow knows this switch only for the whole process.
ImageFile.LOAD_TRUNCATED_IMAGES = True


def size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the header alone. Raises ValueError where it is no image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception as error:  # Pillow's readers raise nearly anything on damaged bytes
        raise ValueError(_reason(error)) from None


def pixels(data: bytes, side: int) -> NDArray[np.uint8]:
    """RGB as (3, side, side), resized bilinearly, aspect ratio not kept. Raises ValueError where it is no image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_clear = image.mode == "P" and "transparency" in image.info
            # Pillow warns about the direct way from a palette with transparency; the result is the same.
            rgb = (image.convert("RGBA") if is_clear else image).convert("RGB")
        if rgb.size != (side, side):
            rgb = rgb.resize((side, side), Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))
    except Exception as error:  # as above
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error).split("\n")[0] or type(error).__name__
