"""Training as a verb: starts, what the commit says, resuming, branches that move."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from wvc.errors import Interrupted, TaskProblem, TrainingProblem, UsageError
from wvc.learning.seeds import run_seed
from wvc.repo import names, scores
from wvc.repo.fsck import fsck
from wvc.repo.objects import Commit
from wvc.store.records import Move
from wvc.verbs import runs
from wvc.verbs.load import load
from wvc.verbs.plan import Options
from wvc.verbs.probe import Form
from wvc.verbs.train import resume, train
from wvc.weights import Weights

from .conftest import QUICK, World

SHORT = {"task": "digits", "test_domains": ("0",), "batch_size": 8, "learning_rate": 2e-3, "device": "cpu"}


def tip(world: World, branch: str) -> Commit:
    return world.repository.commit(world.repository.refs[names.branch(branch)])


def test_a_commit_says_everything_that_made_it(world: World):
    commit = tip(world, "run/0")

    how = commit.how
    assert how["kind"] == "train"
    assert how["task"]["name"] == "digits"
    assert how["test_domains"] == ["0"]
    assert how["settings"]["learning_rate"] == "0.002"
    assert how["settings"]["steps"] == 6
    assert [entry["step"] for entry in how["history"]] == [0, 1, 2, 3, 4, 5]
    assert set(how["history"][0]["domains"]) == {"30", "60"}
    assert Fraction(how["best"]["score"]) == max(
        sum(Fraction(*count) for count in entry["domains"].values()) / 2 for entry in how["history"]
    )


def test_nothing_of_this_machine_is_in_a_commit(world: World):
    text = tip(world, "run/0").data.decode()

    assert str(world.repository.path) not in text
    assert os.uname().nodename not in text


def test_all_runs_of_one_target_share_one_probe(world: World):
    probes = {tip(world, f"run/{i}").how["start"]["probe"] for i in range(3)}

    assert len(probes) == 1
    assert probes <= {id for ref, id in world.repository.refs.items() if ref.startswith(names.PROBES)}


def test_a_recycled_start_takes_the_foundations_probe_and_is_frozen_first(world: World):
    world.train("aux/a", "main", task="source", test_domains=None, steps=5, head="fresh", seed=7)
    recycled = world.train("recycled/a", "aux/a", steps=50, evaluate_every=25).commit

    start = recycled.how["start"]
    assert start["recycled"] is True
    assert start["probe"] == tip(world, "run/0").how["start"]["probe"]
    assert recycled.how["settings"]["freeze_steps"] == 2  # 4 % of 50
    assert tip(world, "run/0").how["settings"]["freeze_steps"] == 0


def test_training_goes_on_with_its_own_head_on_the_same_task(world: World):
    more = world.train("more", "run/0", test_domains=None).commit
    fresh = world.train("fresh", "run/0", head="fresh").commit

    assert more.how["start"]["head"] == "keep"
    assert more.how["test_domains"] == ["0"], "the test domain defaults to HEAD's"
    assert fresh.how["start"]["head"] == "probe"


def test_the_first_training_after_random_weights_is_the_foundation(world: World):
    start = tip(world, "main")

    assert start.how["start"]["head"] == "random"
    assert start.how["start"]["probe"] is None
    assert tip(world, "run/0").how["start"]["foundation"] == start.id


def test_explicit_options_beat_drawn_ones_and_the_seed_is_the_papers(world: World):
    options = {**SHORT, "steps": 2, "hparams_seed": 1, "learning_rate": None, "dropout": 0.25, "probe": QUICK}
    how = train(world.branch("drawn", "main"), Options(**options)).commit.how

    settings = how["settings"]
    assert settings["learning_rate"] == "3e-05"  # golden 6.2, trial 0, seed 1: 3e-5 : 1e-4 : 0.5
    assert settings["weight_decay"] == "0.0001"
    assert settings["dropout"] == "0.25"
    assert settings["seed"] == run_seed("digits", [0], 1, 0)


def test_the_chosen_checkpoint_is_scored_once_on_validation_and_test_domains(world: World):
    commit = tip(world, "run/1")

    found = {score.circumstances.split: score for score in scores.of_commit(world.repository, commit.id)}
    assert set(found["val"].domains) == {"30", "60"}
    assert set(found["all"].domains) == {"0"}
    assert found["all"].domains["0"][1] == 299


def test_a_limited_run_is_never_taken_for_a_whole_one(world: World):
    limited = world.train("limited", "main", limit=20).commit

    found = scores.of_commit(world.repository, limited.id)
    score = next(score for score in found if score.circumstances.split == "val")
    assert score.circumstances.limit == 20
    assert sum(total for _, total in score.domains.values()) == 2 * 4


def test_a_run_is_the_same_bit_for_bit_whenever_it_is_made(world: World):
    again = world.train("again", "main", seed=0).commit

    assert again.weights == tip(world, "run/0").weights


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_resumes_to_the_same_weights(world: World, monkeypatch: pytest.MonkeyPatch, after: int):
    repository = world.branch(f"cut/{after}", "main")
    options = Options(**SHORT, steps=8, seed=5, evaluate_every=2, freeze_steps=3, probe=QUICK)
    whole = train(world.branch(f"whole/{after}", "main"), options).commit
    saved = []

    def save_then_die(run: runs.Run, state: object, real=runs.Run.save) -> None:
        real(run, state)
        saved.append(state)
        if len(saved) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save", save_then_die)
        with pytest.raises(Interrupted, match="saved"):
            train(repository, options)
    assert len(runs.unfinished(repository)) == 1

    resumed = resume(repository, None)

    assert resumed.commit.weights == whole.weights
    assert resumed.commit.how["history"] == whole.how["history"]
    assert resumed.branch == names.branch(f"cut/{after}")
    assert runs.unfinished(repository) == []


def test_resume_names_the_runs_where_there_are_several(world: World):
    plan = {"branch": "refs/heads/x", "how": {"task": {"name": "digits"}, "settings": {"steps": 3}}}
    made = [runs.begin(world.repository, {**plan, "n": n}) for n in range(2)]

    with pytest.raises(TrainingProblem, match="2 runs are unfinished") as caught:
        resume(world.repository, None)

    assert all(run.id in str(caught.value.hint) for run in made)
    for run in made:
        run.remove()


def test_a_finished_run_that_died_before_tidying_up_is_not_made_twice(world: World, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "remove", lambda run: None)
        made = world.train("twice", "main", seed=11)
    repository = world.repository.on(made.branch)

    again = resume(repository, None)

    assert again.commit.id == made.commit.id
    assert runs.unfinished(repository) == []


def test_a_branch_that_moved_meanwhile_does_not_lose_the_result(world: World, monkeypatch: pytest.MonkeyPatch):
    repository = world.branch("busy", "main")
    other = tip(world, "run/0").id
    real = Weights.of.__func__
    moved = []

    def move_once(cls: type[Weights], *rest: object) -> Weights:
        if not moved:
            moved.append(repository.record(None, [Move(repository.branch, repository.head().id, other)], "elsewhere"))
        return real(cls, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Weights, "of", classmethod(move_once))
        trained = train(repository, Options(**SHORT, steps=2, probe=QUICK))

    assert trained.moved
    assert trained.branch == f"refs/heads/busy-{trained.commit.id[:8]}"
    assert repository.refs[trained.branch] == trained.commit.id
    assert repository.refs[repository.branch] == other


def test_metrics_are_lines_of_json(world: World, tmp_path: Path):
    train(world.branch("metrics", "main"), Options(**SHORT, steps=2, probe=QUICK), metrics=tmp_path / "m.jsonl")

    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 2


def test_the_papers_probe_trains_the_head_alone(world: World):
    form = Form("sgd", steps=10, learning_rate=1e-2)
    commit = world.train("sgd", "main", probe=form).commit

    probe = world.repository.commit(commit.how["start"]["probe"])
    foundation = world.repository.manifest(tip(world, "main"))
    changed = [t.name for t in world.repository.manifest(probe).tensors if foundation.by_name[t.name].id != t.id]
    assert changed == ["head.bias", "head.weight"]


def test_the_loaded_model_computes_what_was_scored(world: World):
    model = load(world.repository.path, "run/1")

    assert not model.training
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"task": "nothing"}, TaskProblem, "unknown task"),
        ({"test_domains": ("7",)}, TaskProblem, "no domain"),
        ({"test_domains": ("0", "30", "60")}, TaskProblem, "every domain"),
        ({"device": "cuda:7"}, TrainingProblem, "no GPU"),
        ({"device": "quantum"}, TrainingProblem, "unknown device"),
        ({"task": None}, UsageError, "which task"),
        ({"learning_rate": 1e30, "steps": 30}, TrainingProblem, "not a number"),
    ],
)
def test_what_cannot_be_trained_is_refused(world: World, options: dict, error: type[Exception], text: str):
    repository = world.repository.on(names.branch("main"))
    if options.get("task", "") is None:
        repository = world.branch("taskless", "main")
        repository.record(None, [Move(repository.branch, repository.head().id, _root(repository))], "back")

    with pytest.raises(error, match=text):
        train(repository, Options(**{**SHORT, "steps": 2, "probe": QUICK, **options}))

    for run in runs.unfinished(repository):
        run.remove()


def _root(repository: object) -> str:
    return repository.commit(repository.head().parents[0].commit).id


def test_after_all_of_this_the_repository_is_whole(world: World):
    assert fsck(world.repository).problems == []
