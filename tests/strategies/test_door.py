"""The contract of every strategy: whatever lies behind the door is held to it, without being named here."""

from __future__ import annotations

import inspect
import itertools
import typing
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc import plugins
from wvc.errors import MergeProblem
from wvc.strategies import Models
from wvc.weights import Weights

from .tensors import bits, raw

DOOR = "wvc.strategies"
NAMES = plugins.names(DOOR)
Model = Mapping[str, torch.Tensor]
Merge = Callable[..., Weights]

# How many models a strategy takes where that is not any number, and the options with which it is a kind of average.
EXACTLY = {"slerp": 2}
AT_LEAST = {"model-stock": 2}
AVERAGE = {
    "ties": {"density": 1.0},
    "dare": {"density": 1.0, "normalize": True},
    "della": {"density": 1.0, "epsilon": 0.0},
    "breadcrumbs": {"density": 1.0, "gamma": 0.0, "normalize": True},
    "task-arithmetic": {"normalize": True},
}


def model(seed: int) -> dict[str, torch.Tensor]:
    """A tensor of each kind: wide, narrow, scalar, empty, integers, booleans, minus zero, two names for the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tied = torch.randn(5, 2)
        return {
            "conv.weight": torch.randn(4, 3, 2, 2),
            "double": torch.randn(5, dtype=torch.float64),
            "bf16": torch.randn(7).to(torch.bfloat16),
            "fp16": torch.randn(7).to(torch.float16),
            "scalar": torch.randn(()),
            "empty": torch.randn(0, 3),
            "steps": torch.tensor(7),
            "mask": torch.ones(6, dtype=torch.bool),
            "zeros": torch.tensor([0.0, -0.0]),
            "tied.one": tied,
            "tied.two": tied.clone(),
        }


def floating(seed: int) -> dict[str, torch.Tensor]:
    """The same, but other integers."""
    return {**model(seed), "steps": torch.tensor(seed), "mask": torch.arange(6) > seed}


def merged(name: str, models: list[Model], base: Model | None = None, **options: object) -> Weights:
    function: Merge = plugins.load(DOOR, name).merge
    if "base" not in inspect.signature(function).parameters:
        return function(Models.of(models), **options)
    return function(Models.of(models), Weights.holding(model(99) if base is None else base), **options)


def many(name: str, wanted: int) -> int:
    return EXACTLY.get(name, max(wanted, AT_LEAST.get(name, 1)))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[n for n in NAMES if n != "three-way"])
def blender(request: pytest.FixtureRequest) -> str:
    """All but the one that never changes a number."""
    return str(request.param)


def test_every_strategy_says_in_one_line_what_it_does(name: str):
    line = plugins.first_line(DOOR, name)

    assert line.endswith(".") and len(line) < 100


def test_options_are_keywords_of_five_types_with_defaults_and_help(name: str):
    function = plugins.load(DOOR, name).merge
    hints, text = typing.get_type_hints(function), inspect.getdoc(function) or ""

    first, *others = inspect.signature(function).parameters.values()
    options = [o for o in others if o.name != "base"]

    assert first.name == "models"
    assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)
    for option in options:
        kind = hints[option.name]
        assert kind in (int, float, bool, Fraction) or typing.get_origin(kind) is typing.Literal
        assert f"\n{option.name}: " in text


@pytest.mark.parametrize("count", [1, 2, 3])
def test_names_shapes_and_dtypes_stay(blender: str, count: int):
    made = merged(blender, [model(seed) for seed in range(many(blender, count))])

    assert {n: (d, s) for n, (d, s, _) in bits(made).items()} == {n: (t.dtype, t.shape) for n, t in model(0).items()}


def test_inputs_are_left_alone(blender: str):
    models, base = [floating(seed) for seed in range(many(blender, 3))], model(9)
    before = [bits(some) for some in [*models, base]]

    dict(merged(blender, models, base))

    assert [bits(some) for some in [*models, base]] == before


def test_no_order_of_the_models_changes_a_bit(blender: str):
    models = [floating(seed) for seed in range(many(blender, 3))]

    found = [bits(merged(blender, list(order))) for order in itertools.permutations(models)]

    floats = [{n: facts for n, facts in made.items() if facts[0].is_floating_point} for made in found]
    assert all(made == floats[0] for made in floats)


def test_no_number_of_threads_changes_a_bit(blender: str):
    models = [model(seed) for seed in range(many(blender, 2))]
    before = torch.get_num_threads()

    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(bits(merged(blender, models)))
    torch.set_num_threads(before)

    assert found[0] == found[1]


def test_pieces_are_parts_of_the_whole(blender: str):
    models = [model(seed) for seed in range(many(blender, 3))]
    whole = merged(blender, models)["conv.weight"].reshape(-1)

    lazy = merged(blender, models).lazy["conv.weight"]
    pieces = [lazy.read(start, start + 5) for start in range(0, 45, 5)] + [lazy.read(45, 48)]

    assert np.concatenate(pieces).tobytes() == raw(whole)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_model_merged_with_itself_comes_back_bit_for_bit(blender: str, count: int):
    same = [model(5) for _ in range(many(blender, count))]

    made = merged(blender, same, model(5), **AVERAGE.get(blender, {}))
    away = merged(blender, same, model(6), **AVERAGE.get(blender, {}))

    assert bits(made) == bits(model(5))
    for key, tensor in model(5).items():
        torch.testing.assert_close(away[key], tensor)


def test_tied_tensors_stay_tied(blender: str):
    made = merged(blender, [model(seed) for seed in range(many(blender, 3))])

    assert raw(made["tied.one"]) == raw(made["tied.two"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, -1])
def test_nan_and_infinity_are_refused_by_name(blender: str, bad: float, where: int):
    models = [model(seed) for seed in range(many(blender, 3))]
    models[where]["fp16"][3] = bad

    with pytest.raises(MergeProblem, match="'fp16'"):
        dict(merged(blender, models))


def test_eight_bit_floats_can_be_merged(blender: str):
    values = ([1.0, 2.0, 0.5], [3.0, 2.0, 1.5])
    one, two = ({"w": torch.tensor(v).to(torch.float8_e4m3fn)} for v in values)
    base = {"w": torch.zeros(3).to(torch.float8_e4m3fn)}

    made = merged(blender, [one, two], base)["w"]

    assert made.dtype == torch.float8_e4m3fn
    assert torch.isfinite(made.to(torch.float32)).all()
