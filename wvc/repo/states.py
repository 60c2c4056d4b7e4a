"""Compare a state dict with what the architecture expects, and say in one line where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from wvc.errors import ModelProblem

SHOWN = 5
COUNTER = ".num_batches_tracked"

T = TypeVar("T")


def completed(given: Mapping[str, T], expected: Iterable[str], extras: tuple[str, ...], zero: T) -> dict[str, T]:
    """`given` without names that begin like `extras`, and with `zero` for BatchNorm counters that old files lack."""
    state = {name: value for name, value in given.items() if not name.startswith(extras)}
    return state | {name: zero for name in expected if name.endswith(COUNTER) and name not in state}


def check(architecture: str, expected: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]) -> None:
    """Raise ModelProblem unless names and shapes agree."""
    complaints = [f"no {name}" for name in expected if name not in found]
    complaints += [f"unexpected {name}" for name in found if name not in expected]
    complaints += [
        f"{name} is {_text(found[name])} instead of {_text(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    if not complaints:
        return
    more = f" and {len(complaints) - SHOWN} more" if len(complaints) > SHOWN else ""
    raise ModelProblem(
        f"the weights do not fit {architecture}: {', '.join(complaints[:SHOWN])}{more}",
        "name the architecture that they belong to with --arch",
    )


def _text(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "a scalar"
