"""Ensembles as a verb: which images, what is computed, what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wvc.errors import ModelProblem, UnknownRevision, UsageError
from wvc.learning import ensemble as answering
from wvc.repo import commits, names
from wvc.verbs import task
from wvc.verbs.ensemble import EnsembleEvaluation, Options, ensemble
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.eval import evaluate
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import create_random
from wvc.verbs.load import load

from .conftest import World

RUNS = ["run/0", "run/1", "run/2"]


def measured(world: World, *revisions: str, **options: object) -> EnsembleEvaluation:
    return ensemble(world.repository, revisions, Options(**{"device": "cpu", **options}))


def counts(found: EnsembleEvaluation) -> dict[str, dict[str, tuple[int, int]]]:
    return {score.circumstances.split: dict(score.domains) for score in found.scores}


def kept(world: World) -> list[Path]:
    return sorted((world.repository.folder / "cache" / "logits").glob("*"))


def said(world: World, revision: str) -> NDArray[np.float64]:
    """Logits of a model for the whole of domain 0, by the way that Python users take."""
    repository = world.repository
    manifest = repository.manifest(repository.commit(repository.refs[names.branch(revision)]))
    images = torch.tensor(task.load(repository, "digits").task.images(0, 16) / 255, dtype=torch.float32)
    assert manifest.spec is not None
    mean, std = (torch.tensor(values)[:, None, None] for values in (manifest.spec.mean, manifest.spec.std))
    with torch.no_grad():
        return load(repository.path, revision)((images - mean) / std).double().numpy()


@pytest.mark.parametrize("space", ["logit", "prob"])
def test_the_mean_of_the_answers_decides(world: World, space: str):
    answers = [said(world, run) for run in RUNS]
    if space == "prob":
        answers = [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in answers]
    labels = task.load(world.repository, "digits").task.labels[0]
    right = sum(int(row.argmax()) == label for row, label in zip(sum(answers) / 3, labels, strict=True))

    found = measured(world, *RUNS, domains=("0",), space=space)

    assert counts(found) == {"all": {"0": (right, 299)}}


def test_an_ensemble_of_one_or_of_copies_does_as_the_model_itself(world: World):
    alone = evaluate(world.repository, "run/1", EvalOptions(device="cpu", record=False))

    for space in ("logit", "prob"):
        found = measured(world, "run/1", "refs/heads/run/1", "run/1", space=space)
        assert [score.domains for score in found.scores] == [score.domains for score in alone.scores]
        assert [member.name for member in found.members] == ["run/1"]


def test_globs_and_any_order_name_the_same_ensemble(world: World):
    found = measured(world, "run/[012]")

    assert found == measured(world, *reversed(RUNS))
    assert {member.name for member in found.members} == set(RUNS)
    assert found.test == ("0",)
    with pytest.raises(UnknownRevision):
        measured(world, "nothing/*")


def test_what_was_computed_once_costs_no_forward_pass_and_leaves_no_record(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    number = world.repository.log.head().number
    first = measured(world, *RUNS)
    monkeypatch.setattr(answering, "logits", None)

    assert measured(world, *RUNS) == first
    assert measured(world, "run/2", "run/0", domains=("0",), space="prob").space == "prob"
    assert world.repository.log.head().number == number


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "other shape", "a folder"])
def test_damaged_answers_are_computed_again(world: World, damage: str):
    first = measured(world, "run/0", domains=("0",))
    wide = measured(world, "run/0", domains=("60",))
    files = kept(world)
    sound = {path: path.read_bytes() for path in files}
    for path, data in sound.items():
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        else:
            flipped = data[:200] + bytes([data[200] ^ 1]) + data[201:]
            other = max(sound.values(), key=lambda one: len(one) != len(data))
            path.write_bytes({"empty": b"", "short": data[:-9], "flipped": flipped, "other shape": other}[damage])

    assert measured(world, "run/0", domains=("0",)) == first
    assert measured(world, "run/0", domains=("60",)) == wide

    for path in kept(world):
        path.rmdir() if path.is_dir() else path.unlink()


def test_where_nothing_can_be_kept_answers_are_computed_every_time(world: World):
    first = measured(world, "run/0", domains=("0",))
    folder = world.repository.folder / "cache" / "logits"
    for path in kept(world):
        path.unlink()
    folder.rmdir()
    folder.write_text("in the way")

    assert measured(world, "run/0", domains=("0",)) == first

    folder.unlink()


def test_training_images_and_other_splits_are_refused_unless_they_are_named(world: World):
    with pytest.raises(UsageError, match="one of the models was trained on images of '30'"):
        measured(world, *RUNS, domains=("30",), split="all")
    with pytest.raises(UsageError, match="split 0"):
        measured(world, *RUNS, trial=1)

    assert counts(measured(world, *RUNS, domains=("0",), split="in"))["in"]["0"][1] == 240


def test_models_of_different_splits_are_measured_on_what_none_of_them_saw(world: World):
    world.train("split/1", "main", trial=1)

    assert {split: list(domains) for split, domains in counts(measured(world, "run/0", "split/1")).items()} == {
        "all": ["0"]
    }
    with pytest.raises(UsageError, match="several splits"):
        measured(world, "run/0", "split/1", domains=("30",))
    assert counts(measured(world, "run/0", "split/1", domains=("0",), split="in"))["in"]["0"][1] == 240


def test_models_of_different_splits_that_together_saw_everything_are_refused(world: World):
    world.train("upright", "main", trial=1, test_domains=("60",))

    with pytest.raises(UsageError, match="several splits") as caught:
        measured(world, "run/0", "upright")

    assert caught.value.hint == "measure the domains held out: there are none"


def test_a_domain_is_held_out_only_if_no_model_saw_it(world: World):
    world.train("turned", "main", test_domains=("60",))

    found = measured(world, "run/0", "turned")

    assert {split: list(domains) for split, domains in counts(found).items()} == {"val": ["0", "30", "60"]}
    assert found.test == ()


def test_models_of_different_classes_are_refused(world: World):
    repository = world.repository
    manifest = repository.manifest(repository.commit(repository.refs[names.branch("run/0")]))
    assert manifest.spec is not None
    manifest = replace(manifest, spec=replace(manifest.spec, classes=tuple("zyxwvutsrq")))
    with repository.batch([], 1 << 16) as batch:
        commit = commits.make(repository, manifest, [], "other classes", {"kind": "import"})
        commits.put(repository, batch, manifest, commit)
        commits.record(repository, batch, commit, ref=names.branch("letters"), old=None)

    with pytest.raises(ModelProblem, match=r"(run/1 and letters|letters and run/1) have different classes"):
        measured(world, "run/1", "letters")


def test_models_of_different_image_sizes_are_refused(world: World):
    small = Foundation(architecture="digits_cnn", random=1, image_size=8)
    create_random(world.repository, names.branch("small"), small)

    with pytest.raises(ModelProblem, match=r"run/1 takes images of 16 px|run/1 of 16 px"):
        measured(world, "run/1", "small", task="digits")


def test_an_unknown_space_is_refused(world: World):
    with pytest.raises(UsageError, match="unknown space"):
        measured(world, "run/0", space="rank")
