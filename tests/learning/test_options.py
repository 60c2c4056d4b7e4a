"""What the options of a training do to its loop, against loops written out here."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wvc.learning.augment import DRAWS, augment
from wvc.learning.pixels import Pixels
from wvc.learning.seeds import generator, positions
from wvc.learning.train import train
from wvc.learning.trajectory import Ema, Ma, Swa, Swad


def run(world, settings, network=None, **options):
    network = world.network() if network is None else network
    return train(network, world.training(), world.validation(), settings, device=world.device, **options)


def batches(world, settings):
    """The images and labels of every step, from their definition."""
    for step in range(settings.steps):
        chosen = [
            positions(settings.seed, step, d, len(p), settings.batch_size) for d, p in enumerate(world.training())
        ]
        images = [torch.from_numpy(p.images[c]).float() / 255 for p, c in zip(world.training(), chosen, strict=True)]
        labels = [torch.from_numpy(p.labels[c]) for p, c in zip(world.training(), chosen, strict=True)]
        yield torch.cat(images), torch.cat(labels)


class Adam:
    """Adam, or AdamW, written out in float64."""

    def __init__(self, parameters, *, decay=0.0, decoupled=False) -> None:
        self.values = [p.detach().double().clone() for p in parameters]
        self.first = [torch.zeros_like(v) for v in self.values]
        self.second = [torch.zeros_like(v) for v in self.values]
        self.decay, self.decoupled, self.t = decay, decoupled, 0

    def step(self, gradients, rate) -> None:
        self.t += 1
        for value, first, second, gradient in zip(self.values, self.first, self.second, gradients, strict=True):
            slope = gradient if self.decoupled else gradient + self.decay * value
            first.lerp_(slope, 0.1)
            second.lerp_(slope**2, 0.001)
            step = (first / (1 - 0.9**self.t)) / ((second / (1 - 0.999**self.t)).sqrt() + 1e-8)
            value.sub_(rate * (step + self.decay * value if self.decoupled else step))


def plain(world, settings, rate=lambda step: 1e-2, *, smoothing=0.0, clip=math.inf, decoupled=False):
    """The parameters after every update of a loop in float64."""
    network = world.network().double()
    optimizer = Adam(network.parameters(), decay=settings.weight_decay, decoupled=decoupled)
    found = []
    for step, (images, labels) in enumerate(batches(world, settings)):
        logs = F.log_softmax(network(images.double()), dim=1)
        target = (1 - smoothing) * F.one_hot(labels, 3) + smoothing / 3
        gradients = torch.autograd.grad(-(target * logs).sum(dim=1).mean(), list(network.parameters()))
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        optimizer.step([g * min(1.0, clip / norm) for g in gradients], rate(step))
        with torch.no_grad():
            for parameter, value in zip(network.parameters(), optimizer.values, strict=True):
                parameter.copy_(value)
        found.append({name: p.detach().clone() for name, p in network.named_parameters()})
    return found


def assert_same(tensors, expected) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(tensors[name], value.float(), rtol=1e-4, atol=1e-5)


CASES = {
    "adam with coupled decay": ({"weight_decay": 0.1}, {}),
    "adamw": ({"weight_decay": 0.1, "optimizer": "adamw"}, {"decoupled": True}),
    "label smoothing": ({"label_smoothing": 0.3}, {"smoothing": 0.3}),
    "a clip that bites": ({"clip": 0.05}, {"clip": 0.05}),
    "a clip that does not": ({"clip": 1e3}, {}),
    "linear": ({"schedule": "linear"}, {"rate": lambda step: 1e-2 * (1 - step / 9)}),
    "warm-up": ({"warmup_steps": 5}, {"rate": lambda step: 1e-2 * min(1, (step + 1) / 5)}),
    "cosine": ({"schedule": "cosine"}, {"rate": lambda step: 5e-3 * (1 + math.cos(math.pi * step / 9))}),
    "parts of batches": ({"accumulate": 3}, {}),
    "more parts than images": ({"accumulate": 100}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loop_is_the_one_written_out(world, case) -> None:
    changes, options = CASES[case]
    settings = replace(world.settings, **changes)
    network = world.network()

    run(world, settings, network)

    assert_same(network.state_dict(), plain(world, settings, **options)[-1])


def test_parts_of_a_batch_give_the_update_and_the_loss_of_the_whole(world) -> None:
    whole, parts = world.network(), world.network()

    results = [run(world, replace(world.settings, accumulate=n), network) for n, network in ((1, whole), (2, parts))]

    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=0, atol=1e-5)
    losses = [[float(entry["loss"]) for entry in result.history] for result in results]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_schedule_counts_the_steps_of_the_freeze_too(world) -> None:
    settings = replace(world.settings, freeze_steps=3, schedule="linear")

    _, states = world.states(settings)

    moved = states[9].network["head.bias"] - states[8].network["head.bias"]
    assert moved.abs().max() <= 1e-2 / 9 * 1.01 * 3  # Adam moves a weight by about its rate, here the last ninth


def averages(world, trajectory, iterates):
    """The average after every update, in NumPy."""
    values = [np.stack([i.numpy() for i in some]) for some in zip(*(s.values() for s in iterates), strict=True)]
    names, start = list(iterates[0]), dict(world.network().named_parameters())
    found = []
    for t in range(1, len(iterates) + 1):
        if isinstance(trajectory, Ema):
            means = [start[name].detach().numpy().astype(float) for name in names]
            for step in range(t):
                means = [
                    trajectory.decay * m + (1 - trajectory.decay) * v[step] for m, v in zip(means, values, strict=True)
                ]
        else:
            first = trajectory.start - 1 if t >= trajectory.start else t
            means = [v[first - 1 : t].mean(axis=0) for v in values]
        found.append({name: torch.from_numpy(np.asarray(mean)) for name, mean in zip(names, means, strict=True)})
    return found


@pytest.mark.parametrize("trajectory", [Ema(0.7), Ma(start=4)])
def test_the_average_is_evaluated_and_kept_while_the_live_weights_learn(world, trajectory) -> None:
    settings = replace(world.settings, trajectory=trajectory)
    network = world.network()

    result = run(world, settings, network)

    iterates = plain(world, settings)
    assert_same(network.state_dict(), iterates[-1])
    assert_same(result.tensors, averages(world, trajectory, iterates)[result.step])
    for entry in result.history:
        judge = world.network()
        judge.load_state_dict(averages(world, trajectory, iterates)[entry["step"]], strict=False)
        assert entry["domains"] == right(judge.eval(), world)


def right(network, world):
    found = {}
    for name, pixels in world.validation().items():
        decisions = network(torch.from_numpy(pixels.images) / 255).argmax(dim=1).numpy()
        found[name] = [int((decisions == pixels.labels).sum()), len(pixels)]
    return found


def test_swa_is_the_mean_of_its_snapshots_whatever_the_scores_say(world) -> None:
    settings = replace(world.settings, trajectory=Swa(every=2, share=0.3))

    result = run(world, settings)

    iterates = plain(world, settings)
    mean = {name: sum(iterates[t - 1][name] for t in (4, 6, 8)) / 3 for name in iterates[0]}
    assert_same(result.tensors, mean)
    assert result.step == 7
    judge = world.network()
    judge.load_state_dict(result.tensors)
    assert result.score == sum(Fraction(*count) for count in right(judge.eval(), world).values()) / 2


def contrary(world):
    """Validation images whose loss rises the more is learnt: their labels are wrong."""
    return {name: Pixels(pixels.images, (pixels.labels + 1) % 3) for name, pixels in world.validation().items()}


def cross_entropy(world, parameters) -> float:
    """Mean over the contrary domains of the mean cross-entropy, in float64."""
    network = world.network().double()
    network.load_state_dict(parameters, strict=False)
    network.eval()
    means = []
    for pixels in contrary(world).values():
        logs = F.log_softmax(network(torch.from_numpy(pixels.images).double() / 255), dim=1)
        means.append(-logs[torch.arange(len(pixels)), torch.from_numpy(pixels.labels)].mean().item())
    return float(np.mean(means))


@pytest.mark.parametrize("form", ["code", "paper"])
def test_swad_hears_the_loss_of_the_live_weights_and_stops_when_dead(world, form) -> None:
    trajectory = Swad(form, converge=1, tolerate=2, tolerance=0.0)  # converges at once, at step 0
    settings = replace(world.settings, steps=30, evaluate_every=2, trajectory=trajectory)

    result = train(world.network(), world.training(), contrary(world), settings, device=world.device)

    iterates = plain(world, replace(settings, steps=5))
    for entry in result.history:
        expected = cross_entropy(world, iterates[entry["step"]])
        assert float(entry["validation_loss"]) == pytest.approx(expected, rel=1e-3)
    assert [entry["step"] for entry in result.history] == [0, 2, 4]
    assert_same(result.tensors, iterates[0])
    assert result.step == 0


def test_without_swad_the_history_has_no_losses_of_validation(world) -> None:
    assert "validation_loss" not in run(world, world.settings).history[0]


def test_last_keeps_the_weights_of_the_last_step(world) -> None:
    network = world.network()

    result = run(world, replace(world.settings, keep="last", learning_rate=0.0), network)

    assert result.step == 8
    assert float(result.score) == float(result.history[-1]["score"])
    assert world.equal(result.tensors, network.state_dict())


def test_validation_images_are_varied_by_draws_of_their_own(world) -> None:
    settings = replace(world.settings, augmentation="domainbed", validate_augmented=True)
    network, seen = world.network(), []
    network.register_forward_pre_hook(lambda module, args: None if module.training else seen.append(args[0]))

    run(world, settings, network)

    expected = []
    for step in (0, 3, 6, 8):
        for domain, pixels in enumerate(world.validation().values()):
            draws = generator(settings.seed, step, domain, "validation").random((len(pixels), DRAWS))
            expected.append(augment(torch.from_numpy(pixels.images).float() / 255, draws, "domainbed"))
    assert [torch.equal(*pair) for pair in zip(seen, expected, strict=True)] == [True] * 8


def test_all_images_are_looked_at_beside_and_decide_nothing(world) -> None:
    others = {
        ("art", "in"): world.training()[0],
        ("sketch", "in"): world.pixels(7, 8),
        ("sketch", "val"): world.pixels(3, 9),
    }

    alone = run(world, world.settings)
    together = run(world, replace(world.settings, evaluate_all=True), others=others)

    assert (together.step, together.score) == (alone.step, alone.score)
    for entry, plain_entry in zip(together.history, alone.history, strict=True):
        every = entry.pop("every")
        assert entry == plain_entry
        assert {d: {p: total for p, (_, total) in parts.items()} for d, parts in every.items()} == {
            "art": {"in": 20, "val": 12},
            "photo": {"val": 9},
            "sketch": {"in": 7, "val": 3},
        }
        assert every["art"]["val"] == entry["domains"]["art"]


def test_others_are_left_alone_unless_they_are_wanted(world) -> None:
    result = run(world, world.settings, others={("sketch", "in"): world.pixels(7, 8)})

    assert "every" not in result.history[0]
