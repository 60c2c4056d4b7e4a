"""TIES, against the paper's three steps on whole vectors in float64."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc.errors import UsageError
from wvc.strategies._models import Models
from wvc.strategies.ties import merge
from wvc.weights import Weights

from .tensors import FLOATS, flat, worst

SHAPES = {"scalar": (), "empty": (0, 3), "one": (1,), "bias": (7,), "conv": (4, 3, 2, 2), "large": (600_001,)}
WEIGHTS = [Fraction(1), Fraction(1, 2), Fraction(2)]
VECTORS = [(0.5, -0.1, 0.3, 0.05, -0.8), (-0.4, 0.2, 0.35, -0.06, -0.1), (0.2, -0.3, -0.02, 0.9, 0.3)]


def world(dtype, seed=0):
    """A base and three models; tensors have been changed to different extents, and one of two not at all."""
    generator = np.random.default_rng(seed)

    def tensors(width):
        return {n: torch.from_numpy(np.asarray(generator.normal(0, width, s))).to(dtype) for n, s in SHAPES.items()}

    base = {**tensors(1.0), "steps": torch.tensor(0)}
    changes = [{n: t * (i + 1) for i, (n, t) in enumerate(tensors(0.1).items())} for _ in WEIGHTS]
    models = [{n: base[n] + change[n] for n in SHAPES} | {"steps": torch.tensor(0)} for change in changes]
    models[1]["bias"] = base["bias"]
    return models, base


def ties(models, base, weights=None, **options):
    return merge(Models.of(models, weights), Weights.holding(base), **options)


def trimmed(change, kept):
    """Paper, step 1: all but so many of the largest become 0; equal ones stay together."""
    magnitudes = np.abs(change).astype(np.float32)
    return change if not len(change) else np.where(magnitudes >= np.sort(magnitudes)[-kept], change, 0)


def merged(changes, divisor="count", weights=None, elect="sum", undecided=0):
    """Paper, steps 2 and 3, for changes (k, n) that are trimmed and weighted."""
    signs = np.sign((np.sign(changes) if elect == "count" else changes).sum(0))
    signs = np.where(signs == 0, undecided, signs)
    agrees = (np.sign(changes) == signs) & (signs != 0)
    shares = np.ones(len(changes)) if weights is None else np.abs(weights)
    count = (agrees * shares[:, None]).sum(0) if divisor != "none" else 1
    return (changes * agrees).sum(0) / np.where(count == 0, 1, count)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("trim", ["model", "tensor"])
def test_it_is_trim_elect_and_merge(dtype, trim):
    models, base = world(dtype)

    found = ties(models, base, WEIGHTS, trim=trim, scale=Fraction(3, 2), density=0.3)

    changes = {n: np.stack([flat(m[n]) - flat(base[n]) for m in models]) for n in SHAPES}
    if trim == "model":
        whole = np.concatenate(list(changes.values()), axis=1)
        kept = np.stack([trimmed(row, int(0.3 * len(row))) for row in whole])
        places = np.cumsum([changes[n].shape[1] for n in SHAPES])[:-1]
        changes = dict(zip(SHAPES, np.split(kept, places, axis=1), strict=True))
    else:
        changes = {n: np.stack([trimmed(d, max(1, int(0.3 * len(d)))) for d in rows]) for n, rows in changes.items()}
    for n, shape in SHAPES.items():
        exact = flat(base[n]) + 1.5 * merged(changes[n] * np.array([[1.0], [0.5], [2.0]]))
        assert found[n].dtype == dtype and tuple(found[n].shape) == shape
        assert worst(found[n], exact, 8e-7 if dtype.itemsize < 4 else 8e-16) <= (
            4 if dtype == torch.float64 else 0.5001
        )


@pytest.mark.parametrize("trim", ["model", "tensor"])
@pytest.mark.parametrize(("one_more", "expected"), [
    (False, [0.5, -0.3, 0.35, 0.9, -0.8]),
    (True, [0.5, -0.3, 0.325, 0.9, -0.8]),
])  # fmt: skip
def test_the_golden_case(trim, one_more, expected):
    models = [{"w": torch.tensor(vector, dtype=torch.float64)} for vector in VECTORS]
    base = {"w": torch.zeros(5, dtype=torch.float64)}

    found = ties(models, base, density=0.4, trim=trim, one_more=one_more)

    assert found["w"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("options", "expected"), [
    ({}, [2.0, -6.0, 2.0]),
    ({"divisor": "none"}, [4.0, -6.0, 4.0]),
    ({"divisor": "weight"}, [4 / 3, -3.0, 4 / 3]),
    ({"elect": "count"}, [2.0, 2.0, 2.0]),
    ({"elect": "count", "divisor": "weight"}, [4 / 3, 4 / 3, 4 / 3]),
])  # fmt: skip
def test_weights_count_in_votes_sums_and_divisors(options, expected):
    weights = [Fraction(1), Fraction(2), Fraction(2)]
    changes = [[1.0, 1.0, 1.0], [1.5, 1.5, 1.5], [-0.5, -3.0, 0.0]]

    found = ties([{"w": torch.tensor(c)} for c in changes], {"w": torch.zeros(3)}, weights, density=1.0, **options)

    assert found["w"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("trim", ["model", "tensor"])
@pytest.mark.parametrize(("undecided", "expected"), [
    ("drop", [0.0, -2.0, -3.0, -2.0]),
    ("majority", [-1.0, -2.0, -3.0, -2.0]),
    ("positive", [1.0, -2.0, -3.0, -2.0]),
])  # fmt: skip
def test_where_votes_cancel_the_option_decides(trim, undecided, expected):
    models = [{"a": torch.tensor([1.0, -1.0]), "b": torch.tensor([-3.0, -1.0])},
              {"a": torch.tensor([-1.0, -3.0]), "b": torch.tensor([-3.0, -3.0])}]  # fmt: skip
    base = {"a": torch.zeros(2), "b": torch.zeros(2)}

    found = ties(models, base, density=1.0, undecided=undecided, trim=trim)

    assert [*found["a"].tolist(), *found["b"].tolist()] == expected


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("trim", ["model", "tensor"])
def test_the_majority_is_that_of_all_trimmed_elements(dtype, trim):
    """Everywhere but in `odd`, where votes cancel: more negative ones, of which more are small, so trimmed."""
    n = 300_000
    change = torch.cat([torch.full((n,), 2.0), torch.full((n // 2,), -3.0), torch.full((n,), -0.5)]).to(dtype)
    models = [{"w": change, "odd": torch.tensor([s * 4.0, 0.0], dtype=dtype)} for s in (1, -1)]
    base = {"w": torch.zeros_like(change), "odd": torch.zeros(2, dtype=dtype)}

    found = ties(models, base, density=0.5, undecided="majority", trim=trim)

    assert found["odd"].tolist() == [4.0, 0.0]


def test_equal_magnitudes_are_kept_together():
    models = [{"w": torch.tensor([1.0, -1.0, 1.0, 0.5])}]

    assert ties(models, {"w": torch.zeros(4)}, density=0.25)["w"].tolist() == [1.0, -1.0, 1.0, 0.0]


def test_at_least_one_change_is_kept():
    models = [{"w": torch.tensor([1.0, 3.0, -2.0])}]

    assert ties(models, {"w": torch.zeros(3)}, density=0.01)["w"].tolist() == [0.0, 3.0, 0.0]


def test_tensors_that_nobody_changed_count_as_zeros():
    frozen = torch.arange(10.0)
    models = [{"w": torch.tensor([1.0, 3.0, -2.0, 0.5]), "frozen": frozen, "steps": torch.arange(100)}]

    found = ties(models, {"w": torch.zeros(4), "frozen": frozen, "steps": torch.arange(100)}, density=2 / 14)

    assert found["w"].tolist() == [0.0, 3.0, -2.0, 0.0]


def test_tied_tensors_count_once():
    tied = torch.tensor([1.0, 3.0, -2.0, 0.5])
    models = [{"w": tied, "v": tied, "u": torch.tensor([0.1, 0.2, 0.3, 0.4])}]

    found = ties(models, {name: torch.zeros(4) for name in "wvu"}, density=3 / 8)

    assert found["w"].tolist() == found["v"].tolist() == [1.0, 3.0, -2.0, 0.0]
    assert found["u"].tolist() == [0.0] * 4


@pytest.mark.parametrize("option", [
    {"density": 0.0}, {"density": 1.1}, {"density": -1.0}, {"density": float("nan")}, {"trim": "layer"},
    {"elect": "max"}, {"divisor": "sum"}, {"undecided": "minority"},
])  # fmt: skip
def test_options_out_of_range_are_refused_before_anything_is_read(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        merge(Models.of([{"w": torch.ones(2)}]), Weights({}), **option)
