"""Counting what is right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from wvc.errors import TrainingProblem
from wvc.learning import evaluate
from wvc.learning.counts import Count, Counts, macro, micro
from wvc.learning.evaluate import Record, measure, pooled


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


def truth(world) -> dict[str, np.ndarray]:
    """Which images the world's network gets right, one by one."""
    network, found = world.network().eval(), {}
    with torch.no_grad():
        for name, pixels in world.validation().items():
            scores = [network(torch.from_numpy(image[None]) / 255).numpy() for image in pixels.images]
            found[name] = np.concatenate(scores).argmax(axis=1) == pixels.labels
    return found


ORDER = [("photo", np.array([8, 1, 3])), ("art", np.array([11, 0, 4, 5])), ("photo", np.array([0]))]


def test_a_pass_follows_an_order_of_batches(world) -> None:
    heard: list[Counts] = []

    counts = measure(
        world.network(),
        world.validation(),
        device=world.device,
        order=ORDER,
        keep_going=lambda so_far: heard.append(so_far()) is None,
    )

    right = truth(world)
    art, photo = int(right["art"][[11, 0, 4, 5]].sum()), int(right["photo"][[8, 1, 3, 0]].sum())
    assert counts == heard[-1] == Counts({"art": Count(art, 4, 12), "photo": Count(photo, 4, 9)})
    assert heard[0] == Counts({"art": Count(0, 0, 12), "photo": Count(int(right["photo"][[8, 1, 3]].sum()), 3, 9)})


def test_every_image_is_recorded_and_what_was_not_seen_too(world) -> None:
    whole, some, none = Record(), Record(), Record()

    measure(world.network(), world.validation(), device=world.device, batch_size=5, record=whole)
    measure(world.network(), world.validation(), device=world.device, order=ORDER, record=some)
    measure(world.network(), world.validation(), device=world.device, order=[], record=none)

    for name, right in truth(world).items():
        seen = np.concatenate([positions for domain, positions in ORDER if domain == name])
        assert whole[name].tolist() == right.tolist()
        assert some[name][seen].tolist() == right[seen].tolist()
        assert (np.delete(some[name], seen) == -1).all()
        assert (none[name] == -1).all()
        assert whole[name].dtype == np.int8


def test_a_record_and_the_counts_agree_where_a_pass_ends_early(world) -> None:
    record = Record()

    counts = measure(
        world.network(),
        world.validation(),
        device=world.device,
        batch_size=5,
        keep_going=lambda so_far: so_far().domains["art"].seen < 10,
        record=record,
    )

    for name, count in counts.domains.items():
        assert ((record[name] == 1).sum(), (record[name] >= 0).sum()) == (count.right, count.seen)
    assert counts.domains["art"].seen == 10


def test_a_device_may_be_a_batch_ahead_of_the_counts(world, monkeypatch) -> None:
    monkeypatch.setitem(evaluate.AHEAD, "cpu", 1)
    heard: list[int] = []

    def keep_going(so_far) -> bool:
        heard.append(sum(count.seen for count in so_far().domains.values()))
        return heard[-1] < 10

    counts = measure(world.network(), world.validation(), device=world.device, batch_size=5, keep_going=keep_going)

    right = truth(world)["art"]
    assert heard == [5, 10]
    assert counts.domains["art"] == Count(int(right.sum()), 12, 12)
    assert counts.domains["photo"].seen == 0


def test_a_batch_can_be_of_several_domains(world) -> None:
    art, photo = world.validation().values()

    images, labels = pooled([art, world.pixels(0, 1), photo], np.array([12, 3, 20, 11]), world.device)

    assert (images.numpy() * 255).round().astype(int).tolist() == [
        *art.images[[3, 11]].tolist(),
        *photo.images[[0, 8]].tolist(),
    ]
    assert labels.tolist() == [*art.labels[[3, 11]], *photo.labels[[0, 8]]]
