"""Versions of everything that computes, for the record."""

from __future__ import annotations

import platform
from importlib.metadata import version

import wvc


def versions() -> dict[str, str]:
    """By package."""
    packages = ("torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), "wvc": wvc.__version__, **{name: version(name) for name in packages}}
