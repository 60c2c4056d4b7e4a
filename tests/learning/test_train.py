"""The loop: what a step draws, what the freeze leaves alone, which checkpoint wins, what goes wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wvc.errors import TrainingProblem
from wvc.learning.augment import DRAWS, augment
from wvc.learning.evaluate import measure
from wvc.learning.pixels import Pixels
from wvc.learning.seeds import generator, positions
from wvc.learning.train import train


def run(world, settings, network=None, **options):
    network = world.network() if network is None else network
    return train(network, world.training(), world.validation(), settings, device=world.device, **options)


def drawn(world, settings, step):
    """The batch of a step, from its definition."""
    images, labels, draws = [], [], []
    for domain, pixels in enumerate(world.training()):
        chosen = positions(settings.seed, step, domain, len(pixels), settings.batch_size)
        images.append(torch.from_numpy(pixels.images[chosen]).float() / 255)
        labels.append(torch.from_numpy(pixels.labels[chosen]))
        draws.append(generator(settings.seed, step, domain, "augmentation").random((settings.batch_size, DRAWS)))
    return augment(torch.cat(images), np.concatenate(draws), settings.augmentation), torch.cat(labels)


def test_each_step_sees_what_its_seeds_say(world) -> None:
    settings = replace(world.settings, augmentation="domainbed", steps=4, evaluate_every=100)
    network, seen = world.network(), []
    network.register_forward_pre_hook(lambda module, args: seen.append(args[0]) if module.training else None)

    run(world, settings, network)

    assert len(seen) == 4
    assert all(torch.equal(images, drawn(world, settings, step)[0]) for step, images in enumerate(seen))


@pytest.mark.parametrize("freeze_steps", [0, 3])
def test_the_loop_is_plain_adam_with_a_freeze(world, freeze_steps) -> None:
    settings = replace(world.settings, freeze_steps=freeze_steps, weight_decay=1e-2)
    trained, plain = world.network(), world.network()

    run(world, settings, trained)

    adam = torch.optim.Adam(plain.head.parameters() if freeze_steps else plain.parameters(), lr=1e-2, weight_decay=1e-2)
    for step in range(settings.steps):
        images, labels = drawn(world, settings, step)
        plain.zero_grad()
        F.cross_entropy(plain(images), labels).backward()
        adam.step()
        if step == freeze_steps > 0:
            adam = torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=1e-2)
    expected = plain.state_dict()
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_the_freeze_spares_the_featurizer_for_one_update_more_than_its_steps(world) -> None:
    start = world.network().state_dict()

    _, states = world.states(replace(world.settings, freeze_steps=3))

    weight = "featurizer.0.weight"
    untouched = [torch.equal(states[step].network[weight], start[weight]) for step in range(1, 10)]
    assert untouched == [True] * 4 + [False] * 5
    assert not torch.equal(states[1].network["head.weight"], start["head.weight"])


def test_the_freeze_ends_with_a_new_adam_over_all_parameters(world) -> None:
    _, states = world.states(replace(world.settings, freeze_steps=3))

    assert [states[step].updates for step in range(1, 8)] == [1, 2, 3, 0, 1, 2, 3]
    assert set(states[3].first) == {"head.weight", "head.bias"}
    assert set(states[5].first) == set(dict(world.network().named_parameters()))


def test_only_head_leaves_the_featurizer_alone_to_the_end(world) -> None:
    network = world.network()

    run(world, replace(world.settings, only_head=True), network)

    assert world.equal(network.featurizer.state_dict(), world.network().featurizer.state_dict())
    assert not torch.equal(network.head.weight, world.network().head.weight)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_stand_still_while_scale_and_shift_learn(world, frozen) -> None:
    network, before = world.network(), world.network().featurizer[1]

    run(world, replace(world.settings, freeze_statistics=frozen), network)

    after = network.featurizer[1]
    assert torch.equal(after.running_mean, before.running_mean) is frozen
    assert torch.equal(after.running_var, before.running_var) is frozen
    assert not torch.equal(after.weight, before.weight)
    assert not torch.equal(after.bias, before.bias)


def test_evaluations_come_after_the_first_update_every_so_often_and_at_the_end(world) -> None:
    result = run(world, replace(world.settings, steps=8))

    assert [entry["step"] for entry in result.history] == [0, 3, 6, 7]


@pytest.mark.parametrize(("steps", "every", "count"), [(5001, 100, 51), (5001, 50, 101), (15001, 500, 31)])
def test_the_papers_count_of_evaluations(world, steps, every, count) -> None:
    settings = replace(world.settings, steps=steps, evaluate_every=every)

    assert sum(map(settings.evaluated_at, range(steps))) == count


def test_among_equal_scores_the_earliest_checkpoint_wins(world) -> None:
    result, states = world.states(replace(world.settings, learning_rate=0.0))

    assert len({entry["score"] for entry in result.history}) == 1
    assert result.step == 0
    assert world.equal(result.tensors, states[1].network)


def test_the_best_checkpoint_is_the_one_that_its_score_says(world) -> None:
    result, states = world.states(replace(world.settings, steps=40, learning_rate=3e-2))

    scores = [float(entry["score"]) for entry in result.history]
    assert result.step == result.history[scores.index(max(scores))]["step"]
    assert float(result.score) == max(scores)
    assert max(scores) > scores[0]
    assert world.equal(result.tensors, states[result.step + 1].network)


def test_the_score_is_the_mean_of_the_domains_without_augmentation(world) -> None:
    settings = replace(world.settings, augmentation="domainbed", dropout=0.5)
    network = world.network()

    result = run(world, settings, network)

    counts = measure(network, world.validation(), device=world.device).domains
    assert result.history[-1]["domains"] == {name: [c.right, c.total] for name, c in counts.items()}
    mean = (counts["art"].right / 12 + counts["photo"].right / 9) / 2
    assert float(result.history[-1]["score"]) == pytest.approx(mean)


def test_metrics_hear_of_every_evaluation(world) -> None:
    heard: list[dict] = []

    result = run(world, world.settings, metrics=heard.append)

    assert [entry.pop("seconds") >= 0 for entry in heard] == [True] * 4
    assert tuple(heard) == result.history


def test_training_leaves_torchs_random_numbers_alone(world) -> None:
    before = torch.get_rng_state()

    run(world, replace(world.settings, dropout=0.5))

    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_trains_weights_that_stay_float32(world) -> None:
    network = world.network()

    run(world, replace(world.settings, precision="bf16"), network)

    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_loss_that_is_no_number_ends_the_training(world) -> None:
    with pytest.raises(TrainingProblem, match=r"not a number at step [1-9]") as caught:
        run(world, replace(world.settings, learning_rate=1e38))

    assert "--lr" in str(caught.value.hint)


class Greedy(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_names_a_batch_size_to_try(world, error) -> None:
    network = world.network()
    network.featurizer = Greedy(error)

    with pytest.raises(TrainingProblem) as caught:
        run(world, replace(world.settings, batch_size=32), network)

    assert caught.value.hint == "try --batch-size 16"


def test_other_errors_are_not_taken_for_a_lack_of_memory(world) -> None:
    network = world.network()
    network.featurizer = Greedy(RuntimeError("shapes differ"))

    with pytest.raises(RuntimeError, match="shapes differ"):
        run(world, world.settings, network)


def test_a_domain_without_images_is_an_error(world) -> None:
    empty = Pixels(np.zeros((0, 3, 8, 8), np.uint8), np.zeros(0, np.int64))

    with pytest.raises(TrainingProblem, match="no images"):
        train(world.network(), [empty], world.validation(), world.settings, device=world.device)
    with pytest.raises(TrainingProblem, match="no images"):
        train(world.network(), world.training(), {"art": empty}, world.settings, device=world.device)
