"""Inner products against whole numbers and exact sums, and sums with float coefficients."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc.errors import MergeProblem
from wvc.strategies._blended import blended
from wvc.strategies._gram import combination, cosines, gram, lengths, normalized
from wvc.strategies._models import Models
from wvc.weights import Weights

from .tensors import FLOATS, flat

SHAPES = [(), (0,), (1,), (7,), (4, 3, 2, 2), (65_537,), (600_001,)]  # the last is more than 1 MiB, even in 16 bits


def stack_of(tensors, base=None):
    """The stack of one tensor, in the order of the ids of the models."""
    models = Models.of([{"w": tensor} for tensor in tensors])
    return models.stacks(None if base is None else Weights.holding({"w": base}))["w"]


def whole(shape, dtype, seed):
    """Small whole numbers, which every dtype holds and fp64 adds up exactly."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-100, 101, size=shape)).to(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_inner_products_of_whole_numbers_are_exact(shape, dtype, count):
    stack = stack_of([whole(shape, dtype, seed) for seed in range(count)])

    found = gram(stack)

    vectors = [flat(tensor.load()).astype(np.int64) for tensor in stack.tensors]
    assert found == [[int(np.sum(one * other)) for other in vectors] for one in vectors]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_inner_products_of_changes_are_exact(shape, dtype):
    base = whole(shape, dtype, 9)
    stack = stack_of([whole(shape, dtype, seed) for seed in range(3)], base)

    found = gram(stack, "deltas")

    changes = [(flat(tensor.load()) - flat(base)).astype(np.int64) for tensor in stack.tensors]
    assert found == [[int(np.sum(one * other)) for other in changes] for one in changes]


def test_narrow_changes_are_not_rounded():
    base = torch.tensor([2.0**-30, 0.0], dtype=torch.bfloat16)
    stack = stack_of([torch.tensor([1.0, 0.0], dtype=torch.bfloat16)], base)

    found = gram(stack, "deltas")

    assert found == [[(1 - 2.0**-30) ** 2]]


def test_equal_tensors_stand_in_the_matrix_as_often_as_they_are_there():
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    stack = stack_of([one, other, one.clone(), one.clone()])

    found = gram(stack)

    numbers = [5.0 if torch.equal(tensor.load(), one) else 10.0 for tensor in stack.tensors]
    assert found == [[a if a == b else 1.0 for b in numbers] for a in numbers]
    assert sorted(numbers) == [5.0, 5.0, 5.0, 10.0]


def test_the_sum_is_exact_to_a_few_units_in_the_last_place():
    rng = np.random.default_rng(0)
    tensors = [torch.from_numpy(rng.normal(size=300_000).astype(np.float32)) for _ in range(2)]
    stack = stack_of(tensors)

    found = gram(stack)

    one, other = (flat(tensor.load()) for tensor in stack.tensors)
    assert found[0][0] == pytest.approx(math.fsum(one * one), rel=1e-15)
    assert found[0][1] == pytest.approx(math.fsum(one * other), abs=1e-15 * 300_000)


def test_the_bits_are_the_same_on_every_machine():
    """What this test holds was written down once: a processor that adds in another order would not find it."""
    numbers = (np.arange(200_003, dtype=np.uint64) * 2654435761 + 12345) % 2**32
    tensors = [torch.from_numpy((numbers / 2.0**31 - 1) ** power).to(torch.float32) for power in (1, 2)]

    found = gram(stack_of(tensors))

    bits = {value.hex() for row in found for value in row}
    assert bits == {"-0x1.3c90499657e20p+0", "0x1.046c453405e40p+16", "0x1.388298aaf1995p+15"}


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(threads):
    stack = stack_of([torch.from_numpy(np.random.default_rng(seed).normal(size=200_000)) for seed in range(2)])
    before, usual = gram(stack), torch.get_num_threads()

    torch.set_num_threads(threads)
    try:
        found = gram(stack)
    finally:
        torch.set_num_threads(usual)

    assert found == before


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("of", ["values", "deltas"])
def test_what_is_not_finite_is_refused_by_name(dtype, bad, of):
    stack = stack_of([torch.tensor([value, 1.0], dtype=dtype) for value in (0.0, bad)], torch.zeros(2, dtype=dtype))

    with pytest.raises(MergeProblem, match=r"'w'.*NaN or infinity"):
        gram(stack, of)


def test_squares_that_overflow_are_refused_by_name():
    stack = stack_of([torch.tensor([value], dtype=torch.float64) for value in (1.0, 1e200)])

    with pytest.raises(MergeProblem, match=r"'w'.*overflow"):
        gram(stack)


@pytest.mark.parametrize("value", [3e38, 1e-45])
def test_the_largest_and_smallest_of_fp32_are_measured(value):
    stack = stack_of([torch.tensor([value, value]), torch.tensor([value, 0.0])])

    found = gram(stack)

    assert sorted(lengths(found)) == pytest.approx(
        [torch.tensor(value).item() * x for x in (1, math.sqrt(2))], rel=1e-14
    )
    assert cosines(found)[0][1] == pytest.approx(math.sqrt(0.5))


def test_angles_of_known_vectors():
    found = cosines([[4.0, 0.0, 2.0, 0.0], [0.0, 9.0, 3.0, 0.0], [2.0, 3.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])

    assert found[0] == [1.0, 0.0, pytest.approx(math.sqrt(0.5)), 0.0]
    assert found[1] == [0.0, 1.0, pytest.approx(math.sqrt(0.5)), 0.0]
    assert found[3] == [0.0, 0.0, 0.0, 0.0]  # what has no length has no angle


def test_cosines_stay_in_their_range():
    below_one = 1 - 2.0**-53

    found = cosines([[1.0, -1.0], [-1.0, below_one]])

    assert found[0][1] == -1.0


def test_directions_that_cancel_out_have_no_mean():
    cancelling = [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]]

    assert normalized(cancelling, [1 / 3] * 3) is None
    assert normalized([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]) == pytest.approx([math.sqrt(0.5)] * 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_combination_is_rounded_once(dtype):
    rng = np.random.default_rng(3)
    tensors = [torch.from_numpy(rng.normal(size=2_000)).to(dtype) for _ in range(3)]
    parts = [0.7310585786300049, -1.2689414213699951, 0.1]

    merged = blended(Models.of([{"w": t} for t in tensors]), None, lambda stack: combination(parts, stack))["w"]

    stack = stack_of(tensors)
    numbers = [tensor.load().tolist() for tensor in stack.tensors]
    exact = [
        sum(Fraction(p) * Fraction(x) for p, x in zip(parts, column, strict=True))
        for column in zip(*numbers, strict=True)
    ]
    rounded = torch.tensor([float(value) for value in exact], dtype=torch.float64).to(dtype)
    assert merged.tolist() == rounded.tolist()


def test_coefficients_of_equal_tensors_are_added_first():
    tensor, other = torch.tensor([0.1, 3.0], dtype=torch.float64), torch.tensor([5.0, 5.0], dtype=torch.float64)
    models = Models.of([{"w": tensor}] * 3 + [{"w": other}])
    parts = [0.0 if torch.equal(member["w"], other) else 1 / 3 for member in models.members]

    merged = blended(models, None, lambda stack: combination([Fraction(1, 3) if p else p for p in parts], stack))["w"]

    assert merged.tolist() == [0.1, 3.0]


def test_one_and_nothing_give_a_tensor_back_even_its_minus_zeros():
    tensor, other = torch.tensor([-0.0, 0.0, 1e-45]), torch.tensor([1.0, 2.0, 3.0])
    models = Models.of([{"w": tensor}, {"w": other}])
    parts = [float(torch.equal(member["w"], tensor)) for member in models.members]

    merged = blended(models, None, lambda stack: combination(parts, stack))["w"]

    assert merged.numpy().tobytes() == tensor.numpy().tobytes()


def test_nothing_of_anything_is_zero():
    models = Models.of([{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}])

    merged = blended(models, None, lambda stack: combination([0.0, 0.0], stack))["w"]

    assert merged.tolist() == [0.0]
