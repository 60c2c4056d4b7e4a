"""Counting what is right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wvc.errors import TrainingProblem
from wvc.learning.counts import Count, Counts, macro, micro
from wvc.learning.evaluate import measure


def test_counts_are_those_of_one_forward_pass(world) -> None:
    network = world.network()

    counts = measure(network, world.validation(), device=world.device, batch_size=5)

    network.eval()
    for name, pixels in world.validation().items():
        scores = network(torch.from_numpy(pixels.images) / 255)
        right = int((scores.argmax(dim=1).numpy() == pixels.labels).sum())
        assert counts.domains[name] == Count(right, len(pixels), len(pixels))
    assert counts.complete


def test_a_pass_that_nobody_wants_ends_after_the_batch(world) -> None:
    heard: list[Counts] = []

    counts = measure(
        world.network(),
        world.validation(),
        device=world.device,
        batch_size=5,
        keep_going=lambda so_far: heard.append(so_far()) is None and len(heard) < 2,
    )

    assert [c.domains["art"].seen for c in heard] == [5, 10]
    assert (counts.domains["art"].seen, counts.domains["photo"]) == (10, Count(0, 0, 9))
    assert not counts.complete
    assert counts.unseen_right.domains["photo"] == Count(9, 9, 9)


def test_a_single_output_decides_by_its_sign(world) -> None:
    network = world.network(outputs=1)
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, 0.1)

    counts = measure(network, world.validation(), device=world.device)

    ones = {name: int((pixels.labels == 1).sum()) for name, pixels in world.validation().items()}
    assert {name: count.right for name, count in counts.domains.items()} == ones


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_is_restored_and_statistics_stay_frozen(world, mode) -> None:
    network = world.network().train(mode)

    measure(network, world.validation(), device=world.device)

    assert network.training is mode
    assert not network.featurizer[1].training


def test_domains_without_images_do_not_count_in_the_mean() -> None:
    counts = Counts({"empty": Count(0, 0, 0), "full": Count(1, 2, 2)})

    assert macro(counts) == micro(counts) == 1 / 2


@pytest.mark.parametrize("metric", [micro, macro])
def test_no_images_have_no_accuracy(metric) -> None:
    with pytest.raises(TrainingProblem, match="no images"):
        metric(Counts({"empty": Count(0, 0, 0)}))
