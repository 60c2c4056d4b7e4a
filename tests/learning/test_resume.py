"""A training that was stopped goes on as if it had not been, bit for bit."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

from wvc.errors import TrainingProblem
from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.learning.state import State
from wvc.learning.train import train
from wvc.learning.trajectory import Ema, Ma, Swa, Swad
from wvc.progress import Silent
from wvc.store.canonical import dumps


def through_bytes(state: State) -> State:
    """The state after a stay on disk, as one safetensors file and one canonical JSON text."""
    tensors = safetensors.torch.load(safetensors.torch.save(state.tensors()))
    return State.read(tensors, json.loads(dumps(state.facts())))


def same(some: State, other: State, world) -> bool:
    return some.facts() == other.facts() and world.equal(some.tensors(), other.tensors())


HARD = {"freeze_steps": 3, "dropout": 0.5, "weight_decay": 1e-2, "augmentation": "domainbed"}
SOUPS = {"optimizer": "adamw", "schedule": "cosine", "warmup_steps": 3, "clip": 0.1, "label_smoothing": 0.1}
AVERAGES = (
    *(Ema(0.7), Swa(every=2, share=0.3), Ma(start=3), Ma(start=3, form="paper"), Ma(start=3, form="diwa")),
    *(Swad(form, 2, 3, tolerance) for form in ("code", "paper") for tolerance in (0.3, 0.0)),
)
CHANGES = (
    *(HARD, {"freeze_statistics": False}, {"only_head": True}, {"precision": "bf16"}),
    *(SOUPS, {"accumulate": 2, "dropout": 0.5}, {"keep": "last"}),
    {"validate_augmented": True, "augmentation": "minimal", "evaluate_all": True},
    *({"trajectory": average, "freeze_steps": 2, "evaluate_every": 1} for average in AVERAGES),
    *({"trajectory": average, "freeze_statistics": False} for average in AVERAGES),
)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_resumed_after_any_step_is_as_never_stopped(world, changes) -> None:
    settings = replace(world.settings, **changes)
    whole, states = world.states(settings)

    assert sorted(states) == list(range(max(states) + 1))
    for state in states.values():
        last: list[State] = []
        torch.manual_seed(state.step)  # what the program drew meanwhile does not matter
        result = train(
            world.network(),
            world.training(),
            world.validation(),
            settings,
            device=world.device,
            state=through_bytes(state),
            save=last.append,
        )
        assert (result.score, result.step, result.history) == (whole.score, whole.step, whole.history)
        assert world.equal(result.tensors, whole.tensors)
        assert not last or same(last[-1], states[max(states)], world)


class Presses(Silent):
    """Presses Ctrl-C, once or twice, or sends another signal, when so many steps are done."""

    def __init__(self, step: int, times: int = 1, number: signal.Signals = signal.SIGINT) -> None:
        self.left, self.times, self.number = step, times, number

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.left -= amount
        if self.left == 0 and amount:
            for _ in range(self.times):
                signal.raise_signal(self.number)


def resumed(world, state: State):
    return train(
        world.network(),
        world.training(),
        world.validation(),
        world.settings,
        device=world.device,
        state=through_bytes(state),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_step_saves_and_then_interrupts(world, number: signal.Signals) -> None:
    whole, states = world.states(world.settings)
    saved: list[State] = []
    handler = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(
            world.network(),
            world.training(),
            world.validation(),
            world.settings,
            device=world.device,
            save=saved.append,
            progress=Presses(6, number=number),
        )

    assert saved[-1].step == 6
    assert same(saved[-1], states[6], world)
    assert resumed(world, saved[-1]).history == whole.history
    assert signal.getsignal(signal.SIGINT) is handler


class Pressing(Pixels):
    """Presses Ctrl-C when it is asked for its images the third time, or another."""

    asked, due = 0, 3

    def batch(self, positions, device):
        self.asked += 1
        if self.asked == self.due:
            signal.raise_signal(signal.SIGINT)
        return super().batch(positions, device)


def test_ctrl_c_during_an_evaluation_leaves_it_for_later(world) -> None:
    whole, _ = world.states(world.settings)
    art = world.validation()["art"]
    saved: list[State] = []

    with pytest.raises(KeyboardInterrupt):
        train(
            world.network(),
            world.training(),
            {**world.validation(), "art": Pressing(art.images, art.labels)},
            world.settings,
            device=world.device,
            save=saved.append,
        )

    assert saved[-1].step == 7
    assert [entry["step"] for entry in saved[-1].history] == [0, 3]
    assert resumed(world, saved[-1]).history == whole.history


def test_ctrl_c_while_an_average_is_scored_at_the_end_leaves_that_for_later(world) -> None:
    settings = replace(world.settings, trajectory=Swa(every=2, share=0.3))
    whole, states = world.states(settings)
    art, saved = Pressing(world.validation()["art"].images, world.validation()["art"].labels), []
    art.due = 5

    with pytest.raises(KeyboardInterrupt):
        domains = {**world.validation(), "art": art}
        train(world.network(), world.training(), domains, settings, device=world.device, save=saved.append)

    state = through_bytes(saved[-1])
    assert same(state, states[9], world)
    result = train(world.network(), world.training(), world.validation(), settings, device=world.device, state=state)
    assert (result.score, result.step) == (whole.score, whole.step)
    assert world.equal(result.tensors, whole.tensors)


def test_a_second_ctrl_c_interrupts_at_once(world) -> None:
    saved: list[State] = []

    with pytest.raises(KeyboardInterrupt):
        train(
            world.network(),
            world.training(),
            world.validation(),
            world.settings,
            device=world.device,
            save=saved.append,
            progress=Presses(6, times=2),
        )

    assert saved[-1].step == 4


def test_a_state_is_saved_after_each_evaluation_and_each_minute(world) -> None:
    saved: list[int] = []

    train(
        world.network(),
        world.training(),
        world.validation(),
        world.settings,
        device=world.device,
        save=lambda state: saved.append(state.step),
        clock=lambda: 0.0,
    )
    _, every_minute = world.states(world.settings)

    assert saved == [1, 4, 7, 9]
    assert sorted(every_minute) == list(range(10))


def test_a_state_shares_no_memory_with_the_run(world) -> None:
    network = world.network()

    _, states = world.states(world.settings, network)

    assert world.equal(states[9].network, network.state_dict())
    places = {t.data_ptr() for t in network.state_dict().values()}
    assert not places & {t.data_ptr() for state in states.values() for t in state.tensors().values()}
    assert all(tensor.is_contiguous() for tensor in states[9].tensors().values())


def test_a_state_of_another_network_is_an_error(world) -> None:
    _, states = world.states(world.settings)
    other = Network(nn.Flatten(), nn.Linear(192, 3))

    with pytest.raises(TrainingProblem, match="does not fit"):
        train(other, world.training(), world.validation(), world.settings, device=world.device, state=states[4])
