"""The contract of every strategy: whatever lies behind the door is held to it, without being named here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pytest
import torch

from wvc import plugins

DOOR = "wvc.strategies"
Model = Mapping[str, torch.Tensor]


def model(seed: int) -> dict[str, torch.Tensor]:
    """A tensor of each kind: wide, narrow, scalar, empty, integers, booleans, minus zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            "conv.weight": torch.randn(4, 3, 2, 2),
            "double": torch.randn(5, dtype=torch.float64),
            "bf16": torch.randn(7).to(torch.bfloat16),
            "fp16": torch.randn(7).to(torch.float16),
            "scalar": torch.randn(()),
            "empty": torch.randn(0, 3),
            "steps": torch.tensor(seed),
            "mask": torch.rand(6) > 0.5,
            "zeros": torch.tensor([0.0, -0.0]),
        }


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def bits(some: Model) -> dict[str, tuple[torch.dtype, torch.Size, bytes]]:
    return {name: (some[name].dtype, some[name].shape, raw(some[name])) for name in some}


@pytest.fixture(params=plugins.names(DOOR))
def merge(request):
    return plugins.load(DOOR, request.param).merge


def test_there_is_something_behind_the_door():
    assert "linear" in plugins.names(DOOR)


@pytest.mark.parametrize("name", plugins.names(DOOR))
def test_every_strategy_says_in_one_line_what_it_does(name):
    line = plugins.first_line(DOOR, name)

    assert line.endswith(".") and len(line) < 100


def test_options_are_keywords_with_defaults(merge):
    first, *options = inspect.signature(merge).parameters.values()

    assert first.name == "models"
    assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_names_shapes_and_dtypes_stay(merge, count):
    merged = merge([model(seed) for seed in range(count)])

    assert {n: (d, s) for n, (d, s, _) in bits(merged).items()} == {n: (t.dtype, t.shape) for n, t in model(0).items()}


def test_inputs_are_left_alone(merge):
    models = [model(1), model(2)]
    before = [bits(some) for some in models]

    merged = merge(models)
    for name in merged:
        merged[name].zero_()

    assert [bits(some) for some in models] == before


def test_the_same_models_give_the_same_bits(merge):
    assert bits(merge([model(1), model(2), model(3)])) == bits(merge([model(1), model(2), model(3)]))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_model_merged_with_itself_comes_back_bit_for_bit(merge, count):
    assert bits(merge([model(5)] * count)) == bits(model(5))
    assert bits(merge([model(5) for _ in range(count)])) == bits(model(5))


def test_eight_bit_floats_can_be_merged(merge):
    one, two = ({"w": torch.tensor(values).to(torch.float8_e4m3fn)} for values in ([1.0, 2.0, 0.5], [3.0, 2.0, 1.5]))

    assert merge([one, two])["w"].to(torch.float32).tolist() == [2.0, 2.0, 1.0]
    assert bits(merge([one, one])) == bits(one)
