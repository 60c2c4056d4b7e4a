"""What every family of architectures keeps to, found by looking through the door."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wvc import architectures, plugins
from wvc.architectures import Card
from wvc.repo.objects import ModelSpec

SAMPLES = {"torchvision": ["googlenet", "mnasnet0_5", "mobilenet_v2", "regnet_y_400mf", "resnet18", "squeezenet1_1"]}
FAMILIES = plugins.names("wvc.architectures")


def samples() -> list[str]:
    """A few architectures of each family that is installed."""
    every = architectures.names()
    first = {full.partition("/")[0]: [full.partition("/")[2]] for full in reversed(every)} | SAMPLES
    return [f"{family}/{name}" for family, names in first.items() for name in names]


@pytest.fixture(params=samples())
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    torch.manual_seed(0)
    return architectures.describe(request.param, 3)


def images(spec: ModelSpec, n: int = 2) -> torch.Tensor:
    side = architectures.image_size(spec, 64)
    return torch.randn(n, spec.channels, side, side, generator=torch.Generator().manual_seed(1))


def test_every_family_has_a_line_of_help_and_a_sample():
    assert {name.partition("/")[0] for name in samples()} <= set(FAMILIES)
    assert all(plugins.first_line("wvc.architectures", family).endswith((".", ",")) for family in FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_architecture_has_a_card(family: str):
    door = plugins.load("wvc.architectures", family)

    cards = [door.card(name) for name in door.names()]

    assert all(isinstance(card, Card) for card in cards)
    assert all(len(card.mean) == len(card.std) in (1, 2, 3) for card in cards)
    assert all(0 < card.smallest <= card.image_size for card in cards)


def test_a_short_name_means_the_same(spec: ModelSpec):
    assert architectures.describe(spec.architecture.partition("/")[2], 3) == spec


def test_describing_draws_no_random_number(spec: ModelSpec):
    before = torch.get_rng_state()

    architectures.describe(spec.architecture)

    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_builds_the_same_model(spec: ModelSpec):
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(architectures.build(spec).state_dict())

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_featurizer_and_head_make_the_whole(spec: ModelSpec):
    model = architectures.build(spec).eval()
    batch = images(spec)

    featurizer, head = architectures.split(model, spec)
    featurizer.eval()
    with torch.no_grad():
        features = featurizer(batch)
        assert features.ndim == 2
        assert torch.allclose(head(features), model(batch), atol=1e-5)
        assert model(batch).shape == (2, 3)


def test_split_parts_share_the_models_parameters_and_join_again(spec: ModelSpec):
    model = architectures.build(spec)

    featurizer, head = architectures.split(model, spec)
    joined = architectures.join_state(featurizer, head, spec)

    assert list(joined) == list(model.state_dict())
    assert {id(p) for p in (*featurizer.parameters(), *head.parameters())} == {id(p) for p in model.parameters()}
    assert all(joined[name].data_ptr() == tensor.data_ptr() for name, tensor in model.state_dict().items())
    assert {name for name in joined if spec.is_head(name)} == {f"{spec.head}.{name}" for name in head.state_dict()}


def test_no_dropout_is_left_right_before_the_head(spec: ModelSpec):
    model = architectures.build(spec)

    featurizer, _ = architectures.split(model, spec)

    probabilities = [module.p for module in featurizer.modules() if isinstance(module, nn.Dropout)]
    assert probabilities[-1:] in ([], [0.0])


def test_what_was_saved_is_loaded(spec: ModelSpec):
    state = architectures.build(spec).state_dict()

    loaded = architectures.load(spec, state)

    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert loaded.training
    assert not {p.data_ptr() for p in loaded.parameters()} & {tensor.data_ptr() for tensor in state.values()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert architectures.infer_outputs(spec.architecture, shapes) == 3


def test_gradients_reach_every_parameter_through_the_split(spec: ModelSpec):
    model = architectures.build(spec)
    featurizer, head = architectures.split(model, spec)

    head(featurizer(images(spec))).square().sum().backward()

    assert [name for name, p in model.named_parameters() if p.grad is None] == []
