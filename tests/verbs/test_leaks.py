"""No training image validates or tests a model, whatever it was made from, and no branch that moved is overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wvc.errors import MergeProblem, RefMoved, TaskProblem, UsageError, WvcWarning
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import choose, task
from wvc.verbs.averages import MixOf
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.eval import evaluate
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import init
from wvc.verbs.judge import Judge
from wvc.verbs.merge import merge
from wvc.verbs.plan import Options as Training
from wvc.verbs.probe import Form
from wvc.verbs.terms import Options, Outcome
from wvc.verbs.train import train

from .conftest import World

GREEDY = Options(task="digits", select="greedy", device="cpu")


def test_naming_another_test_domain_does_not_make_training_images_unseen(world: World):
    with pytest.raises(UsageError, match="trained on images"):
        evaluate(world.repository, "run/0", EvalOptions(test_domains=("30",), split="all", device="cpu"))

    found = evaluate(world.repository, "run/0", EvalOptions(test_domains=("30",), domains=("30",), device="cpu"))
    assert found.scores[0].circumstances.split == "val"


def test_the_same_data_under_another_name_are_known_again(world: World):
    task.add(world.repository, "numerals", None, "digits", {"rotations": [0, 30, 60]})

    found = evaluate(world.repository, "run/0", EvalOptions(task="numerals", device="cpu"))

    assert {s.circumstances.split for s in found.scores} == {"val", "all"}


def test_what_an_ancestor_saw_is_not_held_out(world: World):
    with pytest.raises(UsageError, match="trained on images of '30'"):
        world.train("swap", "run/0", test_domains=("30",))
    with pytest.raises(UsageError, match="split 0"):
        world.train("resplit", "run/0", test_domains=None, trial=1)
    with pytest.raises(UsageError, match="split 0"):
        world.train("smoke", "run/0", test_domains=None, limit=20)


def test_a_model_of_several_splits_can_only_be_measured_on_what_it_never_saw(world: World):
    world.train("split/1", "main", trial=1)
    dagger = merge(world.branch("dagger", "main"), ["run/0", "split/1"], Options(select="all")).commit

    assert dagger.how["trial"] is None
    found = evaluate(world.repository, dagger.id, EvalOptions(device="cpu"))
    assert [s.circumstances.split for s in found.scores] == ["all"]
    with pytest.raises(UsageError, match="several splits"):
        evaluate(world.repository, dagger.id, EvalOptions(domains=("30",), device="cpu"))
    with pytest.raises(UsageError, match="several splits"):
        world.train("after", "dagger", test_domains=None)


def test_an_ancestor_on_another_split_disqualifies_a_candidate(world: World):
    world.train("detour/1", "main", trial=1)
    world.train("detour", "detour/1", task="source", test_domains=("none",), head="keep", steps=2)

    with pytest.raises(MergeProblem, match="different splits"):
        merge(world.branch("judged", "main"), ["run/0", "detour"], GREEDY)


@pytest.fixture
def pets(tmp_path: Path) -> tuple[Repository, Path]:
    """A repository with one run on a folder of small grey images, of which `b` was held out."""
    folder = tmp_path / "pets"
    random = np.random.default_rng(0)
    for domain in "ab":
        for name in ("cat", "dog"):
            (folder / domain / name).mkdir(parents=True)
            for i in range(6):
                pixels = random.integers(0, 255, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / domain / name / f"{i}.png")
    repository = init(tmp_path / "zoo", Foundation("squeezenet1_1", random=0))
    task.add(repository, "pets", folder)
    train(repository, Training(task="pets", test_domains=("b",), steps=1, batch_size=2, device="cpu"))
    return repository, folder


def test_when_the_data_changed_nobody_can_tell_what_was_trained_on(pets: tuple[Repository, Path]):
    repository, folder = pets
    repository.record(None, [Move("refs/heads/x", None, repository.head().id)], "branch")
    train(repository.on("refs/heads/x"), Training(steps=1, batch_size=2, device="cpu", seed=3))
    (folder / "a" / "cat" / "0.png").unlink()

    with pytest.warns(WvcWarning), pytest.raises(TaskProblem, match="other data"):
        evaluate(repository, "HEAD", EvalOptions(device="cpu"))
    with pytest.warns(WvcWarning), pytest.raises(MergeProblem, match="other data"):
        merge(repository, ["x"], Options(task="pets", select="greedy", device="cpu", fast_forward=False))


def test_a_domain_too_small_to_validate_on_is_refused_before_the_training(pets: tuple[Repository, Path]):
    repository, folder = pets
    for path in (folder / "a").glob("*/[2-9].png"):
        path.unlink()
    with pytest.warns(WvcWarning), pytest.raises(TaskProblem, match="too few"):
        form = Form(steps=1)
        train(repository, Training(task="pets", test_domains=("b",), steps=1, head="fresh", device="cpu", probe=form))


def test_a_branch_that_moved_during_a_merge_is_not_overwritten(world: World, monkeypatch: pytest.MonkeyPatch):
    repository = world.branch("moving", "main")
    other = world.repository.refs[names.branch("run/2")]
    real = choose.greedy

    def slowly(judge: Judge, mix_of: MixOf) -> Outcome:
        outcome = real(judge, mix_of)
        world.repository.record(None, [Move("refs/heads/moving", repository.head().id, other)], "somebody else")
        return outcome

    monkeypatch.setitem(choose.CHOICES, "greedy", slowly)

    with pytest.raises(RefMoved):
        merge(repository, ["run/0", "run/1"], GREEDY)
    assert world.repository.refs["refs/heads/moving"] == other


def test_a_tag_of_the_same_name_does_not_take_the_place_of_a_branch(world: World):
    root = world.repository.refs[names.branch("main")]
    world.repository.record(None, [Move("refs/tags/run/0", None, root)], "tag")

    merged = merge(world.branch("tagged", "main"), ["run/*"], Options(select="all"))

    assert world.repository.refs["refs/heads/run/0"] in {row.candidate.commit.id for row in merged.rows}
    world.repository.record(None, [Move("refs/tags/run/0", root, None)], "tag -d")


def test_a_glob_that_also_matches_head_does_not_make_it_a_candidate(world: World):
    repository = world.branch("here/0", "main")

    merged = merge(repository, ["run/[01]", "here/*"], Options(select="all"))

    assert len(merged.rows) == 2
