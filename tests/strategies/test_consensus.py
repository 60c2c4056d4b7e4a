"""One change out of several, against arithmetic in fractions, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MergeProblem
from wvc.strategies._consensus import agreed, fused, moved, normalized, votes
from wvc.strategies._models import Models

HALVES = st.integers(-3, 3).map(lambda n: Fraction(n, 2))


def arrays(rows: Sequence[Sequence[Fraction]]) -> list[np.ndarray]:
    return [np.array([float(value) for value in row]) for row in rows]


def sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def elected(column: Sequence[Fraction], elect: str) -> int:
    return sign(sum(column if elect == "sum" else [Fraction(sign(value)) for value in column]))


def agreement(
    column: Sequence[Fraction], weights: Sequence[Fraction], elect: str, divisor: str, undecided: int
) -> float:
    """Of one element: the changes of all models to it, their weights."""
    weighted = [weight * value for weight, value in zip(weights, column, strict=True)]
    wanted = elected(weighted, elect) or undecided
    agreeing = [i for i, value in enumerate(weighted) if wanted and sign(value) == wanted]
    total = sum((weighted[i] for i in agreeing), Fraction(0))
    divided = {"count": Fraction(len(agreeing)), "weight": sum(abs(weights[i]) for i in agreeing), "none": Fraction(1)}
    return float(total / (divided[divisor] or 1))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[Fraction]], list[Fraction]]:
    """For a few elements what each model changed, and the weights of the models."""
    row = st.lists(HALVES, min_size=(k := draw(st.integers(1, 4))), max_size=k)
    return draw(st.lists(row, min_size=1, max_size=9)), draw(row.filter(any))


@given(
    worlds(),
    st.sampled_from(["sum", "count"]),
    st.sampled_from(["count", "weight", "none"]),
    st.sampled_from([-1, 0, 1]),
)
def test_what_agrees_is_added_up_and_divided(world, elect, divisor, undecided):
    columns, weights = world
    fuse = agreed(weights, elect=elect, divisor=divisor, undecided=undecided)

    found = fuse(arrays(list(zip(*columns, strict=True))))

    expected = [agreement(column, weights, elect, divisor, undecided) for column in columns]
    assert found.tolist() == pytest.approx(expected, rel=1e-15)


@given(st.lists(st.lists(HALVES, min_size=3, max_size=3), min_size=1, max_size=9), st.sampled_from(["sum", "count"]))
def test_votes_are_the_signs_of_the_weighted_changes(columns, elect):
    weights = [Fraction(1), Fraction(-2), Fraction(1, 2)]

    found = votes(weights, elect)(arrays(list(zip(*columns, strict=True))))

    weighted = [[w * value for w, value in zip(weights, column, strict=True)] for column in columns]
    assert found.tolist() == [elected(column, elect) for column in weighted]


@pytest.mark.parametrize(("consensus", "normalize", "expected"), [
    ("none", False, [0.0, 7.0]), ("none", True, [0.0, 7 / 5]), ("ties", False, [0.0, 9.0]), ("ties", True, [0.0, 3.0]),
])  # fmt: skip
def test_consensus_by_name(consensus, normalize, expected):
    models = Models.of([{"w": torch.tensor([float(i)])} for i in range(2)], [Fraction(2), Fraction(3)])
    weights = models.coefficients
    changes = [np.array([1.0, 3.0]) if w == 3 else np.array([-1.5, -1.0]) for w in weights]

    found = fused(models, consensus, normalize=normalize)(changes)

    assert found.tolist() == pytest.approx(expected)


def test_weights_that_cancel_cannot_be_divided_by():
    with pytest.raises(MergeProblem, match="sum to 0"):
        normalized([Fraction(1), Fraction(-1)])


def test_what_does_not_change_keeps_its_bits():
    base = np.array([-0.0, 0.0, 1.0], np.float32)

    found = moved(base, np.array([-0.0, -0.0, 0.0], np.float32), Fraction(1))

    assert found.tobytes() == base.tobytes()


@pytest.mark.parametrize("scale", [Fraction(2), Fraction(-1, 2), Fraction(0)])
def test_what_changes_is_scaled(scale):
    found = moved(np.array([1.0, 2.0]), np.array([4.0, -8.0]), scale)

    assert found.tolist() == [1 + 4 * scale, 2 - 8 * scale]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("divisor", ["count", "weight"])
@pytest.mark.parametrize("elect", ["sum", "count"])
def test_hundreds_of_models_are_counted(dtype, divisor, elect):
    fuse = agreed([Fraction(1)] * 300, divisor=divisor, elect=elect)

    found = fuse([np.full(3, 2.0 if i < 290 else -1.0, dtype) for i in range(300)])

    assert found.tolist() == [2.0] * 3
