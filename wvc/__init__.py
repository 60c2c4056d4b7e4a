"""Version control for fine-tuned weights."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wvc.repo.repository import Repository as Repository
    from wvc.verbs.load import load as load

__version__ = "0.1.0"

__all__ = ["Repository", "__version__", "load"]

# What needs a database or torch is imported when somebody asks for it.
_PLACES = {"Repository": "wvc.repo.repository", "load": "wvc.verbs.load"}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'wvc' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
