"""Say what to do when memory runs out, on a GPU or on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wvc.errors import TrainingProblem


@contextmanager
def advice(when: str, hint: str) -> Iterator[None]:
    """Turn "out of memory" inside the block into a TrainingProblem."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # torch has a class for a GPU's memory; a CPU's shows in the text only.
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
        if not known:
            raise
        raise TrainingProblem(f"out of memory {when}", hint) from None
