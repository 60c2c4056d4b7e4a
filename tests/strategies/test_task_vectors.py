"""What all strategies that work on changes of a base have in common."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

from wvc.errors import MergeProblem
from wvc.strategies import breadcrumbs, dare, della, task_arithmetic, ties
from wvc.strategies._models import Models
from wvc.weights import Weights

from .tensors import FLOATS, bits

SHAPES = {"scalar": (), "empty": (0, 3), "one": (1,), "bias": (7,), "conv": (40, 3, 5, 5), "matrix": (30, 101)}
STRATEGIES = [
    (task_arithmetic.merge, {}),
    (task_arithmetic.merge, {"normalize": True}),
    (ties.merge, {}),
    (ties.merge, {"trim": "tensor", "undecided": "majority", "elect": "count", "divisor": "weight"}),
    (breadcrumbs.merge, {"density": 0.5}),
    (breadcrumbs.merge, {"density": 0.5, "consensus": "ties", "normalize": True}),
    (dare.merge, {}),
    (dare.merge, {"rescale": "norm", "consensus": "ties"}),
    (della.merge, {}),
    (della.merge, {"rescale": "norm", "consensus": "none", "normalize": False}),
]


def model(dtype, seed):
    generator = np.random.default_rng(seed)
    floats = {n: torch.from_numpy(np.asarray(generator.normal(size=s))).to(dtype) for n, s in SHAPES.items()}
    return {**floats, "tied": floats["bias"], "steps": torch.tensor(seed), "mask": torch.tensor([seed > 1, True])}


@pytest.fixture(
    params=STRATEGIES, ids=lambda p: p[0].__module__.rpartition(".")[2] + "".join(f" {v}" for v in p[1].values())
)
def merge(request):
    function, options = request.param
    return lambda models, base, coefficients=None, **more: function(
        Models.of(models, coefficients), Weights.holding(base), **{**options, **more}
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_names_shapes_dtypes_and_inputs_stay(merge, dtype):
    models, base = [model(dtype, 1), model(dtype, 2)], model(dtype, 0)
    before = [bits(some) for some in (*models, base)]

    merged = merge(models, base)

    assert {n: (merged[n].dtype, merged[n].shape) for n in merged} == {n: (t.dtype, t.shape) for n, t in base.items()}
    assert [bits(some) for some in (*models, base)] == before


@pytest.mark.parametrize("equal", [False, True])
def test_the_order_of_the_models_changes_no_bit(merge, equal):
    models = [model(torch.float32, seed) for seed in ((1, 1, 2) if equal else (1, 2, 3))]
    coefficients = [Fraction(1, 3), Fraction(2, 7), Fraction(-1)]
    base = model(torch.float32, 0)

    orders = permutations(zip(models, coefficients, strict=True))
    found = [bits(merge([m for m, _ in order], base, [c for _, c in order])) for order in orders]

    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_pieces_give_the_same_bits(merge, dtype):
    generator = np.random.default_rng(0)
    *models, base = ({"large": torch.from_numpy(generator.normal(size=(600, 1001))).to(dtype)} for _ in range(3))
    whole = merge(models, base)["large"].reshape(-1)

    lazy = merge(models, base).lazy["large"]
    cuts = [0, 1, 77_777, 77_778, 300_000, 600_600]
    pieces = [lazy.read(start, stop) for start, stop in pairwise(cuts)]

    assert np.array_equal(np.concatenate(pieces).view(np.uint8), whole.view(torch.uint8).numpy())


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_models_give_the_same_bits(merge, threads):
    models, base = [model(torch.float32, 1), model(torch.float32, 2)], model(torch.float32, 0)
    once = bits(merge(models, base))

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = bits(merge(models, base))
    finally:
        torch.set_num_threads(before)

    assert again == once


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_scale_of_nothing_gives_the_base(merge, dtype):
    models, base = [model(dtype, 1), model(dtype, 2)], model(dtype, 0)

    merged = merge(models, base, scale=Fraction(0))

    assert all(torch.equal(merged[name], base[name]) for name in [*SHAPES, "tied"])


def test_models_that_changed_nothing_give_the_base_bit_for_bit(merge):
    odd = {"w": torch.tensor([-0.0, math.nan, 1e-45])}

    merged = merge([odd, odd], odd)

    assert bits(merged) == bits(odd)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["model", "base"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_refused_by_name(merge, bad, place, dtype):
    numbers = torch.ones(1000, dtype=dtype)
    broken = torch.tensor([0.0, bad] * 500, dtype=dtype)
    models = [{"layer.bad": numbers + 1}, {"layer.bad": broken if place == "model" else numbers - 1}]

    with pytest.raises(MergeProblem, match=r"layer\.bad.*NaN or infinity"):
        merge(models, {"layer.bad": broken if place == "base" else numbers})["layer.bad"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", [task_arithmetic.merge, ties.merge, breadcrumbs.merge, dare.merge, della.merge])
def test_all_of_one_models_changes_give_that_model(function, dtype):
    one, base = model(dtype, 1), model(dtype, 0)
    options = {} if function is task_arithmetic.merge else {"density": 1.0}
    if function is breadcrumbs.merge:
        options["gamma"] = 0.0

    merged = function(Models.of([one]), Weights.holding(base), **options)

    # A unit in the last place, and what fp32 loses where a number and its base are of different sizes.
    info, wide = torch.finfo(dtype), 1e-15 if dtype.itemsize >= 4 else 2e-7
    for name in SHAPES:
        torch.testing.assert_close(merged[name], one[name], rtol=info.eps, atol=wide)


def test_a_result_too_large_for_the_dtype_is_refused_by_name(merge):
    models = [{"w": torch.tensor([60_000.0, 60_000.0], dtype=torch.float16)}]

    with pytest.raises(MergeProblem, match="'w' becomes too large"):
        merge(models, {"w": torch.zeros(2, dtype=torch.float16)}, scale=Fraction(100))["w"]


@pytest.mark.parametrize("function", [ties.merge, breadcrumbs.merge, della.merge])
def test_eight_bit_floats_can_be_merged(function):
    one, base = (torch.tensor(v).to(torch.float8_e4m3fn) for v in ([1.0, 2.0, 0.5], [3.0, 2.0, 1.5]))

    options = {"density": 1.0, **({"gamma": 0.0} if function is breadcrumbs.merge else {})}
    merged = function(Models.of([{"w": one}]), Weights.holding({"w": base}), **options)

    assert merged["w"].float().tolist() == [1.0, 2.0, 0.5]
