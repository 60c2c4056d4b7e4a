"""The fast linear probe, and what belongs to heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wvc.errors import TrainingProblem
from wvc.learning.network import Network, Normalise, logits, reset_head
from wvc.learning.probe import Features, ProbeSettings, features, fit_head


def test_features_are_those_of_the_network_in_eval_mode(world) -> None:
    network = world.network()
    network.dropout.p = 0.9
    pixels = world.pixels(300, 1)

    found = features(network, pixels, device=world.device)

    images = torch.from_numpy(pixels.images) / 255
    torch.testing.assert_close(found.values, network.features(images), rtol=1e-4, atol=1e-5)
    assert found.labels.tolist() == pixels.labels.tolist()


def blobs(n: int, seed: int) -> Features:
    """Three well separated classes in the plane."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=random)
    centres = torch.tensor([[0.0, 4.0], [4.0, -4.0], [-4.0, -4.0]])
    return Features(centres[labels] + torch.randn(n, 2, generator=random), labels)


def fitted(seed: int = 0, **changes):
    head = nn.Linear(2, 3)
    reset_head(head, seed)
    settings = ProbeSettings(steps=150, learning_rate=3e-2, batch_size=8, seed=seed, **changes)
    return fit_head(head, [blobs(30, 1), blobs(20, 2)], {"a": blobs(40, 3), "b": blobs(10, 4)}, settings)


def test_a_head_learns_what_can_be_told_apart() -> None:
    result = fitted()

    assert [entry["step"] for entry in result.history] == [0, 100, 149]
    assert result.score > 0.95
    assert result.tensors["weight"].shape == (3, 2)


def test_a_probe_is_a_function_of_its_seed(world) -> None:
    first, again, other = fitted(), fitted(), fitted(seed=1)

    assert world.equal(first.tensors, again.tensors)
    assert first.history == again.history
    assert not world.equal(first.tensors, other.tensors)


def test_a_probe_without_images_is_an_error() -> None:
    none = Features(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))

    with pytest.raises(TrainingProblem, match="no images"):
        fit_head(nn.Linear(2, 3), [none], {"a": blobs(4, 0)}, ProbeSettings())


@pytest.mark.parametrize("head", [nn.Linear(100, 7), nn.Conv2d(100, 7, 1)])
def test_a_fresh_head_depends_on_the_seed_and_not_on_torchs_state(world, head) -> None:
    state = torch.get_rng_state()
    reset_head(head, 3)
    first = {name: tensor.clone() for name, tensor in head.state_dict().items()}

    torch.rand(5)
    reset_head(head, 3)

    assert world.equal(first, head.state_dict())
    assert 0.09 < head.weight.abs().max() <= 0.1
    reset_head(head, 4)
    assert not world.equal(first, head.state_dict())
    torch.set_rng_state(state)


def test_a_convolutional_head_is_a_linear_one(world) -> None:
    linear, convolution = nn.Linear(4, 3), nn.Conv2d(4, 3, 1)
    reset_head(linear, 0)
    reset_head(convolution, 0)
    values = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(logits(convolution, values), logits(linear, values))


def test_normalisation_is_no_part_of_the_state(world) -> None:
    network = Network(nn.Flatten(), nn.Linear(12, 3), normalise=Normalise((0.5, 0.4, 0.3), (0.1, 0.2, 0.5)))
    images = torch.full((1, 3, 2, 2), 0.6)

    assert list(network.state_dict()) == ["head.weight", "head.bias"]
    torch.testing.assert_close(network.features(images)[0, ::4], torch.tensor([1.0, 1.0, 0.6]))
    assert images.unique().tolist() == pytest.approx([0.6])
