"""Learned soups: the golden case of golden.md 6.6, gradients against autograd, and what they find."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from wvc.errors import Diverged, ModelProblem, TrainingProblem
from wvc.learning.evaluate import measure
from wvc.learning.learned import Learned, Settings, fractions, learn, pulled_back
from wvc.learning.mixture import GRANULARITIES, Mixture
from wvc.learning.network import Network, Normalise
from wvc.learning.pixels import Pixels

from .conftest import World

CPU = torch.device("cpu")
State = Mapping[str, Tensor]


def identity_network(outputs: int = 2) -> Network:
    """x -> W x for x = (2, 1), which a white pixel becomes."""
    head = nn.Linear(2, outputs, bias=False)
    return Network(nn.Identity(), head, normalise=Normalise((0.0, 0.0), (0.5, 1.0)))


GOLDEN_MODELS = ({"head.weight": torch.eye(2)}, {"head.weight": torch.eye(2).flip(0)})
GOLDEN_IMAGE = {"one": Pixels(np.full((1, 2, 1, 1), 255, dtype=np.uint8), np.zeros(1, dtype=np.int64))}


def golden(**changes: object) -> Learned:
    return learn(identity_network(), GOLDEN_MODELS, GOLDEN_IMAGE, replace(Settings(), **changes), device=CPU)


def shares(a: float, b: float) -> tuple[float, float]:
    """softmax(a, b)."""
    return 1 / (1 + math.exp(b - a)), 1 / (1 + math.exp(a - b))


@pytest.mark.parametrize(
    ("changes", "alpha", "beta"),
    [
        ({"epochs": 1}, (0.5498339953, 0.4501660047), 1),
        ({"epochs": 2}, shares(0.6997944, 0.3002056), 1.0744137),
        ({"epochs": 3}, shares(0.7994611, 0.2005389), 1.1579025),
        ({"epochs": 1, "learning_rate": 0.05}, (0.5249791865, 0.4750208135), 1),
    ],
)
def test_steps_are_those_of_the_golden_case(changes: dict[str, object], alpha: tuple[float, float], beta: float):
    learned = golden(**changes)

    assert [float(c) for c in learned.coefficients["model"]] == pytest.approx(alpha, abs=2**-20)
    assert learned.temperature == pytest.approx(beta, abs=1e-6)
    assert learned.groups == {"head.weight": "model"}
    assert learned.losses[:2] == pytest.approx((0.6931471806, 0.6445543842)[: len(learned.losses)], abs=1e-7)


def test_without_a_temperature_beta_is_one():
    assert golden(temperature=False).temperature == 1.0


def of(network: Network, seed: int) -> dict[str, Tensor]:
    """A model like `network`, near to it, with other BatchNorm statistics."""
    random = torch.Generator().manual_seed(seed)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape, generator=random, dtype=tensor.dtype), alpha=0.5)
    return state


def normalised(scores: Tensor, state: State, layer: str) -> Tensor:
    """BatchNorm written out, so that autograd sees its statistics too."""
    mean, variance, weight, bias = (
        state[f"featurizer.{layer}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (scores - mean) / (variance + 1e-5).sqrt() * weight + bias


def by_hand(state: State, images: Tensor) -> Tensor:
    """The world's network, from a dictionary."""
    x = F.conv2d(images, state["featurizer.0.weight"], state["featurizer.0.bias"], padding=1)
    x = normalised(x, state, "1").relu().mean(dim=(2, 3))
    return F.linear(x, state["head.weight"], state["head.bias"])


def expected_gradient(
    models: list[State], groups: Mapping[str, str], free: Mapping[str, Tensor], batch
) -> list[Tensor]:
    """dL/da of every group, by autograd through the whole sum in float64."""
    images, labels = batch
    leaves = {group: a.clone().requires_grad_() for group, a in free.items()}
    mixed = {
        name: sum(leaves[group].softmax(0)[i] * model[name] for i, model in enumerate(models))
        for name, group in groups.items()
    }
    F.cross_entropy(1.3 * by_hand(mixed, images), labels).backward()
    return [leaf.grad for leaf in leaves.values()]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_gradients_are_autograds(world: World, granularity):
    network = world.network().double()
    models = [of(network, seed) for seed in range(3)]
    images, labels = world.pixels(6, 1).batch(np.arange(6), CPU)
    mixture = Mixture(network, models, granularity, CPU)
    free = torch.randn(mixture.start().shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))

    mixture.mix(free.softmax(1))
    F.cross_entropy(1.3 * network.eval()(images.double()), labels).backward()
    found = pulled_back(free.softmax(1), mixture.gradient())

    rows = dict(zip(mixture.names, free, strict=True))
    expected = expected_gradient(models, mixture.groups, rows, (images.double(), labels))
    assert torch.allclose(found, torch.stack(expected), rtol=1e-9, atol=1e-12)
    assert found.abs().min() > 1e-6


def test_groups_are_models_layers_or_tensors(world: World):
    network = world.network()
    floating = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]

    groups = {g: Mixture(network, [network.state_dict()], g, CPU).groups for g in GRANULARITIES}

    assert groups["model"] == dict.fromkeys(floating, "model")
    assert groups["tensor"] == {name: name for name in floating}
    assert set(groups["layer"].values()) == {"featurizer.0", "featurizer.1", "head"}
    assert groups["layer"]["featurizer.1.running_var"] == "featurizer.1"
    assert "featurizer.1.num_batches_tracked" not in groups["tensor"]


def test_the_network_holds_the_weighted_average(world: World):
    network = world.network()
    models = [of(network, seed) for seed in range(3)]
    models[0]["featurizer.1.num_batches_tracked"] += 7
    mixture = Mixture(network, models, "model", CPU)

    mixture.mix(torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64))

    for name, tensor in network.state_dict().items():
        wide = [model[name].numpy().astype(np.float64) for model in models]
        mean = 0.5 * wide[0] + 0.2 * wide[1] + 0.3 * wide[2]
        assert tensor.numpy() == pytest.approx(mean if tensor.is_floating_point() else 7, rel=1e-6)


def test_tensors_that_share_memory_are_mixed_and_differentiated_once(world: World):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3, bias=False)
            self.other = nn.Linear(3, 3, bias=False)
            self.other.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.other(self.one(x.mean(dim=(2, 3))))

    network = Network(Tied(), nn.Linear(3, 3, bias=False)).double()
    models = [of(network, 0), of(network, 1)]
    for model in models:
        model["featurizer.other.weight"] = model["featurizer.one.weight"]
    images, labels = world.pixels(5, 1).batch(np.arange(5), CPU)
    mixture = Mixture(network, models, "tensor", CPU)
    mixture.mix(torch.full(mixture.start().shape, 0.5, dtype=torch.float64))

    F.cross_entropy(network(images.double()), labels).backward()

    a = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    mixed = {n: sum(a.softmax(0)[i] * m[n] for i, m in enumerate(models)) for n in models[0] if "other" not in n}
    F.cross_entropy(functional_call(network, mixed, (images.double(),)), labels).backward()
    found = pulled_back(mixture.start() + 0.5, mixture.gradient())
    assert mixture.groups["featurizer.other.weight"] == "featurizer.one.weight"
    assert torch.allclose(found.sum(0), a.grad, rtol=1e-9)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("better", [0, 1])
def test_it_finds_the_better_of_two_models(granularity, better: int):
    network = identity_network()
    right, wrong = torch.eye(2), -torch.eye(2)
    models = [{"head.weight": right if i == better else wrong} for i in range(2)]
    images = np.zeros((60, 2, 1, 1), dtype=np.uint8)
    labels = np.arange(60) % 2
    images[np.arange(60), labels] = 200
    settings = Settings(granularity, epochs=6, batch_size=8, seed=3)

    learned = learn(network, models, {"art": Pixels(images, labels)}, settings, device=CPU)

    (coefficients,) = learned.coefficients.values()
    assert coefficients[better] > Fraction(9, 10)
    assert list(learned.losses) == sorted(learned.losses, reverse=True)
    assert measure(network, {"art": Pixels(images, labels)}, device=CPU).domains["art"].right == 60


def test_a_single_output_learns_from_its_log_odds():
    models = [{"head.weight": torch.tensor([[0.0, 0.0]])}, {"head.weight": torch.tensor([[-1.0, 0.0]])}]

    learned = learn(identity_network(1), models, GOLDEN_IMAGE, Settings(epochs=2), device=CPU)

    # z = -2 alpha_2 and y = 0: the loss is ln(1 + e^z); the second model is the surer one
    alpha = math.exp(0.1) / (math.exp(0.1) + math.exp(-0.1))
    assert learned.losses == pytest.approx((math.log1p(math.exp(-1)), math.log1p(math.exp(-2 * alpha * 1.1))), abs=1e-6)


def test_the_same_seed_learns_the_same_and_another_does_not(world: World):
    models = [of(world.network(), seed) for seed in range(3)]

    def found(seed: int) -> Learned:
        settings = Settings("layer", epochs=2, batch_size=4, seed=seed)
        return learn(world.network(), models, world.validation(), settings, device=CPU)

    assert found(1) == found(1)
    assert found(1) != found(2)


def test_the_network_keeps_its_mode_and_what_may_learn(world: World):
    network = world.network().train()
    network.head.bias.requires_grad_(False)

    learn(network, [of(network, 1), of(network, 2)], world.validation(), Settings(epochs=1), device=CPU)

    assert network.training
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["head.bias"]
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("k", [1, 2, 3, 7, 1000])
def test_fractions_sum_to_one_and_are_near(k: int):
    random = np.random.default_rng(k)
    for scale in (0, 1, 30):
        drawn = np.exp(scale * random.standard_normal(k))
        drawn /= drawn.sum()

        found = fractions(drawn.tolist())

        assert sum(found) == 1
        assert min(found) >= 0
        assert all((f * 2**20).denominator == 1 for f in found)
        assert np.abs(np.array([float(f) for f in found]) - drawn).max() < 2**-20


def test_what_cannot_be_learned_from_is_refused(world: World):
    network, state = world.network(), of(world.network(), 1)
    short = {name: tensor for name, tensor in state.items() if name != "head.bias"}
    other = state | {"head.bias": torch.zeros(7)}

    def attempt(models: list[State], images: Mapping[str, Pixels] | None = None) -> Callable[[], Learned]:
        return learn(network, models, images or world.validation(), Settings(), device=CPU)

    with pytest.raises(TrainingProblem, match="no models"):
        attempt([])
    with pytest.raises(TrainingProblem, match="no images"):
        attempt([state], {"none": world.pixels(0, 1)})
    with pytest.raises(ModelProblem, match=r"head\.bias"):
        attempt([state, short])
    with pytest.raises(ModelProblem, match=r"\(7,\)"):
        attempt([state, other])


def test_a_loss_that_is_no_number_ends_it(world: World):
    state = of(world.network(), 1)
    state["head.bias"][0] = math.nan

    with pytest.raises(Diverged):
        learn(world.network(), [state, state], world.validation(), Settings(), device=CPU)


def test_it_stops_when_asked(world: World):
    asked = iter([False, False, True])
    models = [of(world.network(), 1), of(world.network(), 2)]

    with pytest.raises(KeyboardInterrupt):
        learn(
            world.network(), models, world.validation(), Settings(batch_size=4), device=CPU, stopped=lambda: next(asked)
        )

    assert next(asked, None) is None
