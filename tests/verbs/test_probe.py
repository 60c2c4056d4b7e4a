"""The linear probe: one for every run of a target, made once whoever asks."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.tasks import Benchmark
from wvc.verbs import probe, task
from wvc.verbs.data import Data
from wvc.verbs.options import Options
from wvc.verbs.probe import PAPERS, Form
from wvc.verbs.train import Trained, train

from .conftest import QUICK, World


def made(world: World, trained: Trained) -> Commit:
    return world.repository.commit(trained.commit.how["start"]["probe"])


def cut(repository: Repository) -> Data:
    return Data.cut(task.load(repository, "digits").task, 16, ("0",), 0, None)


def ensure(world: World, form: Form) -> Commit:
    """The probe as a process of its own would have it."""
    repository = Repository(world.repository.path)
    how = {"task": {"name": "digits"}, "test_domains": ["0"], "trial": 0, "limit": None}
    return probe.ensure(repository, repository.head(), cut(repository), form, how, torch.device("cpu"))


def test_the_papers_probe_keeps_its_best_checkpoint_or_its_last(world: World):
    form = Form("sgd", steps=12, learning_rate=0.3)
    best, last = (ensure(world, replace(form, keep=keep)) for keep in ("best", "last"))

    assert best.how["history"] == last.how["history"]
    scores = [float(entry["score"]) for entry in best.how["history"]]
    assert best.how["best"]["step"] == best.how["history"][scores.index(max(scores))]["step"]
    assert last.how["best"]["step"] == 11
    assert last.how["probe"]["keep"] == "last"
    assert last.weights != best.weights


@pytest.mark.parametrize(("benchmark", "steps"), [(None, 5001), (Benchmark("DomainNet", 15001, 500), 15001)])
def test_the_papers_probe_has_the_steps_of_the_benchmark(world: World, benchmark, steps):
    known = replace(cut(world.repository).task, benchmark=benchmark)

    form = PAPERS.settled(known.benchmark)

    assert (form.steps, form.settled(known.benchmark)) == (steps, form)
    assert probe.evaluate_every(form, known) == (500 if benchmark else 100)
    assert Form(steps=20).settled(known.benchmark) == Form(steps=20)


def test_each_trial_has_a_probe_of_its_own_unless_they_share_that_of_the_first(world: World):
    first = world.train("first", "main")
    own, shared = (world.train(f"second/{flag}", "main", trial=1, probe_shared=flag) for flag in (False, True))

    assert [t.commit.how["start"]["probe_trial"] for t in (first, own, shared)] == [0, 1, 0]
    assert made(world, shared).id == made(world, first).id
    assert made(world, own).how["trial"] == 1
    assert shared.commit.how["trial"] == 1


def test_a_shared_probe_is_announced(world: World):
    said: list[str] = []
    options = Options(task="digits", test_domains=("0",), trial=2, steps=2, probe=QUICK, probe_shared=True)

    train(world.branch("announced", "main"), options, say=said.append)

    assert "the linear probe of split 0 is shared: it has seen validation images of split 2" in said


def test_a_start_without_a_probe_says_so(world: World):
    how = world.train("random", "main", head="random").commit.how

    assert how["start"] == {**how["start"], "head": "random", "probe": None, "probe_trial": None, "recycled": False}
    assert how["settings"]["freeze_statistics"] is True


def together(world: World, form: Form, monkeypatch: pytest.MonkeyPatch, fit: object) -> list[Commit | Exception]:
    """What two come to that want the same probe at the same time."""
    found: list[Commit | Exception] = []

    def ask() -> None:
        try:
            found.append(ensure(world, form))
        except RuntimeError as error:
            found.append(error)

    with monkeypatch.context() as patch:
        patch.setattr(probe, "_fit", fit)
        both = [threading.Thread(target=ask) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    return found


def test_two_that_want_the_same_probe_make_it_once(world: World, monkeypatch: pytest.MonkeyPatch):
    fits: list[Form] = []

    def fit(network, data, form, *rest, real=probe._fit):
        fits.append(form)
        return real(network, data, form, *rest)

    one, other = together(world, Form(steps=33), monkeypatch, fit)

    assert isinstance(one, Commit)
    assert one == other
    assert len(fits) == 1
    assert not list((world.repository.folder / "runs").glob("probe-*"))


def test_where_one_fails_the_other_makes_the_probe(world: World, monkeypatch: pytest.MonkeyPatch):
    fits: list[Form] = []

    def fit(network, data, form, *rest, real=probe._fit):
        fits.append(form)
        if len(fits) == 1:
            raise RuntimeError("no")
        return real(network, data, form, *rest)

    found = together(world, Form(steps=34), monkeypatch, fit)

    assert len(fits) == 2
    assert sorted(type(item).__name__ for item in found) == ["Commit", "RuntimeError"]
