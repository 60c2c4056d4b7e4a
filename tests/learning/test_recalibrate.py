"""BatchNorm's statistics from one pass, against means written in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wvc.errors import TrainingProblem
from wvc.learning.network import Network, Normalise
from wvc.learning.pixels import Pixels
from wvc.learning.recalibrate import recalibrate

from .conftest import World

CPU = torch.device("cpu")


def numbers(*values: int) -> Pixels:
    """Images of one pixel."""
    return Pixels(np.array(values, dtype=np.uint8)[:, None, None, None], np.zeros(len(values), dtype=np.int64))


def flat(*layers: nn.Module) -> Network:
    """Layers over images of one channel, whose pixels are their bytes."""
    return Network(nn.Sequential(nn.Flatten(), *layers), nn.Linear(1, 1), normalise=Normalise((0.0,), (1 / 255,)))


class Heard:
    """The images of every batch that a network sees, in float64."""

    def __init__(self, network: Network) -> None:
        self.batches: list[np.ndarray] = []
        network.normalise.register_forward_hook(lambda module, inputs, output: self.note(output))

    def note(self, images: Tensor) -> None:
        self.batches.append(images.double().numpy().copy())


def test_the_mean_weighs_every_image_alike_and_the_variance_is_that_within_batches():
    network = flat(nn.BatchNorm1d(1))
    heard = Heard(network)

    found = recalibrate(network, {"a": numbers(1, 2), "b": numbers(3, 4, 5)}, batch_size=2, device=CPU)

    assert [len(batch) for batch in heard.batches] == [2, 3]
    within = sum(len(batch) * batch.var(ddof=1) for batch in heard.batches) / 5
    assert found["featurizer.1.running_mean"].item() == pytest.approx(3.0, rel=1e-6)
    assert found["featurizer.1.running_var"].item() == pytest.approx(within, rel=1e-6)
    assert found["featurizer.1.num_batches_tracked"].item() == 2


def by_hand(state: Mapping[str, Tensor], batches: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Linear - BatchNorm - ReLU - Linear - BatchNorm, each batch under its own statistics."""
    s = {name: tensor.double().numpy() for name, tensor in state.items()}
    total = sum(map(len, batches))
    expected = {f"featurizer.{i}.{name}": np.zeros(4) for i in (2, 5) for name in ("running_mean", "running_var")}
    for images in batches:
        x = images.reshape(len(images), -1)
        for linear, norm in ((1, 2), (4, 5)):
            x = x @ s[f"featurizer.{linear}.weight"].T + s[f"featurizer.{linear}.bias"]
            expected[f"featurizer.{norm}.running_mean"] += len(x) / total * x.mean(axis=0)
            expected[f"featurizer.{norm}.running_var"] += len(x) / total * x.var(axis=0, ddof=1)
            x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
            x = np.maximum(x * s[f"featurizer.{norm}.weight"] + s[f"featurizer.{norm}.bias"], 0)
    return expected


def test_deeper_layers_see_what_the_batch_statistics_of_those_before_make_of_the_images(world: World):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        layers = nn.Linear(192, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4)
    network = Network(nn.Sequential(nn.Flatten(), *layers), nn.Linear(4, 3), dropout=0.5)
    heard = Heard(network)

    found = recalibrate(network, world.validation(), batch_size=6, device=CPU)

    expected = by_hand(network.state_dict(), heard.batches)
    assert [len(batch) for batch in heard.batches] == [6, 6, 6, 3]
    assert found.keys() == expected.keys() | {f"featurizer.{i}.num_batches_tracked" for i in (2, 5)}
    for name, value in expected.items():
        assert found[name].numpy() == pytest.approx(value, rel=1e-4)
        assert found[name].dtype == torch.float32


def test_dropout_is_off():
    network = flat(nn.Dropout(0.5), nn.BatchNorm1d(1))

    found = recalibrate(network, {"a": numbers(*[8] * 20)}, batch_size=10, device=CPU)

    assert found["featurizer.2.running_mean"].item() == 8
    assert found["featurizer.2.running_var"].item() == 0


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("mode", [True, False])
def test_the_network_is_left_as_it_was(world: World, mode: bool, freeze: bool):
    network = world.network()
    network.freeze_statistics = freeze
    network.train(mode)
    network.featurizer[1].running_mean += 3
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]

    recalibrate(network, world.validation(), device=CPU)

    assert World.equal(network.state_dict(), state)
    assert [module.training for module in network.modules()] == modes
    assert network.featurizer[1].momentum == 0.1
    assert not network.featurizer[1]._forward_hooks


def test_what_it_finds_can_be_loaded(world: World):
    network = world.network()

    found = recalibrate(network, world.validation(), device=CPU)

    missing, unexpected = network.load_state_dict(found, strict=False)
    assert not unexpected
    assert not [name for name in missing if "running" in name or "tracked" in name]


def seen(world: World, **changes) -> list[bytes]:
    """The images that a pass looks at, sorted."""
    network = world.network()
    heard = Heard(network)
    recalibrate(network, world.validation(), device=CPU, **changes)
    return sorted(image.tobytes() for image in np.concatenate(heard.batches))


def test_images_are_drawn_without_replacement_by_the_seed(world: World):
    everything = seen(world)
    some = seen(world, count=8, seed=1)

    assert len(everything) == 21
    assert len(set(some)) == 8
    assert set(some) < set(everything)
    assert some == seen(world, count=8, seed=1) != seen(world, count=8, seed=2)
    assert seen(world, count=100) == everything


def test_a_layer_that_runs_twice_counts_both_times():
    norm = nn.BatchNorm1d(1, affine=False)
    twice = nn.Sequential(norm, nn.ReLU(), norm)
    network = flat(twice)

    found = recalibrate(network, {"a": numbers(0, 2)}, device=CPU)

    # (0, 2): mean 1, variance 2; then (0, 1): mean 1/2, variance 1/2
    for name in ("featurizer.1.0", "featurizer.1.2"):
        assert found[f"{name}.running_mean"].item() == pytest.approx(0.75, rel=1e-4)
        assert found[f"{name}.running_var"].item() == pytest.approx(1.25, rel=1e-4)


def test_a_layer_that_no_image_passes_keeps_its_statistics():
    network = flat(nn.BatchNorm1d(1))
    network.featurizer.unused = nn.Identity()
    network.featurizer.unused.norm = nn.BatchNorm1d(1)
    network.featurizer.unused.norm.running_mean += 5

    found = recalibrate(network, {"a": numbers(0, 2)}, device=CPU)

    assert found["featurizer.unused.norm.running_mean"].item() == 5


@pytest.mark.parametrize("images", [{}, {"a": numbers()}, {"a": numbers(1)}])
def test_it_takes_two_images(images: dict[str, Pixels]):
    with pytest.raises(TrainingProblem, match="two images"):
        recalibrate(flat(nn.BatchNorm1d(1)), images, device=CPU)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.BatchNorm1d(1, track_running_stats=False)])
def test_a_network_without_statistics_is_refused(layer: nn.Module):
    with pytest.raises(TrainingProblem, match="no BatchNorm"):
        recalibrate(flat(layer), {"a": numbers(1, 2)}, device=CPU)
