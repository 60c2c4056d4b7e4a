"""Selections and what surrounds a merge, on small networks that are trained in a moment."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wvc import architectures
from wvc.errors import MergeProblem, TrainingProblem, UsageError
from wvc.learning.hardest import Difficulty
from wvc.learning.network import Network
from wvc.repo import names, scores
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import scoring, task
from wvc.verbs.data import Data
from wvc.verbs.ensemble import Options as EnsembleOptions
from wvc.verbs.ensemble import ensemble
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.eval import evaluate
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import init
from wvc.verbs.merge import Merged, merge
from wvc.verbs.plan import Options as Training
from wvc.verbs.replay import replay
from wvc.verbs.sweep import grid, sweep
from wvc.verbs.terms import Learning, Options
from wvc.verbs.train import train
from wvc.weights import Weights

from .conftest import World

DIGITS = Options(task="digits", device="cpu", strategy="linear")
counter = iter(range(10**6))


def made(world: World, *models: str, start: str = "main", **options: Any) -> Merged:
    repository = world.branch(f"made/{next(counter)}", start)
    return merge(repository, list(models) or ["run/*"], replace(DIGITS, **options))


def tip(world: World, name: str) -> Commit:
    return world.repository.commit(world.repository.refs[names.branch(name)])


def weights(repository: Repository, commit: Commit) -> dict[str, np.ndarray]:
    held = Weights.of(repository, repository.manifest(commit))
    return {name: held[name].numpy().astype(np.float64) for name in held}


def measured(world: World, commit: Commit) -> Fraction:
    (score,) = evaluate(
        world.repository, commit.id, EvalOptions(domains=("30", "60"), device="cpu", record=False)
    ).scores
    return score.micro


@pytest.mark.parametrize("select", ["greedy", "greedy-replacement", "greedy-ensemble", "learned"])
def test_every_selection_can_be_made_again_bit_for_bit(world: World, select: str):
    commit = made(world, select=select).commit

    assert commit is not None and commit.how["select"] == select
    assert not replay(world.repository, commit.id).odd
    assert sum(p.coefficient for p in commit.parents) == 1


@pytest.mark.parametrize("select", ["greedy", "greedy-replacement", "learned"])
def test_the_score_of_the_result_is_attached_and_right(world: World, select: str):
    commit = made(world, select=select).commit

    attached = [s for s in scores.of_commit(world.repository, commit.id) if s.circumstances.split == "val"]
    assert attached[0].micro == measured(world, commit)


class TestOrder:
    """In which order greedy tries."""

    def test_as_given(self, world: World):
        rows = made(world, "run/2", "run/0", "run/1", select="greedy", order="given").rows

        assert [row.candidate.name for row in rows] == ["run/2", "run/0", "run/1"]
        assert rows[0].accepted

    def test_at_random_by_seed_and_not_by_naming(self, world: World):
        def order(seed: int, *models: str) -> list[str]:
            rows = made(world, *models, select="greedy", order="random", seed=seed).rows
            return [row.candidate.name for row in rows]

        assert order(1, "run/0", "run/1", "run/2") == order(1, "run/2", "run/1", "run/0")
        assert len({tuple(order(seed)) for seed in range(8)}) > 1

    def test_is_for_greedy_alone(self, world: World):
        with pytest.raises(UsageError, match="--order"):
            made(world, select="all", order="random")


def test_with_replacement_is_never_below_greedy_s_start_and_weighs_by_how_often(world: World):
    merged = made(world, select="greedy-replacement", rounds=4)

    best = max(row.own for row in merged.rows)
    kept = [row.candidate.key for row in merged.rows if row.accepted]
    assert measured(world, merged.commit) >= best
    shares = {p.commit: p.coefficient for p in merged.commit.parents if p.coefficient}
    assert shares == {
        row.candidate.commit.id: Fraction(kept.count(row.candidate.key), len(kept))
        for row in merged.rows
        if row.accepted
    }


def test_the_greedy_ensemble_decides_by_what_ensembles_score(world: World):
    merged = made(world, select="greedy-ensemble")

    kept: list[str] = []
    bar = Fraction(-1)
    for row in merged.rows:
        trial = [*kept, row.candidate.name]
        together = ensemble(
            world.repository, trial, EnsembleOptions(task="digits", domains=("30", "60"), device="cpu")
        ).scores[0]
        assert row.average in (together.micro, None) or not kept
        assert row.accepted == (together.micro >= bar)
        if row.accepted:
            kept, bar = trial, together.micro


class TestLearned:
    """Coefficients that minimise the validation loss."""

    def test_the_result_is_the_sum_that_was_learned(self, world: World):
        merged = made(world, select="learned", learning=Learning(epochs=2))

        expected: dict[str, np.ndarray] = {}
        for row in merged.rows:
            part = weights(world.repository, row.candidate.commit)
            expected = {n: expected.get(n, 0) + float(row.coefficient) * t for n, t in part.items()}
        for name, found in weights(world.repository, merged.commit).items():
            np.testing.assert_allclose(found, expected[name], rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("per", ["layer", "tensor"])
    def test_layers_have_coefficients_of_their_own(self, world: World, per: str):
        merged = made(world, select="learned", learning=Learning(per, 0.3, 3))

        layers = merged.commit.how["layers"]
        keys = [part["commit"] for part in merged.commit.how["ingredients"]]
        parts = [weights(world.repository, world.repository.commit(id)) for id in keys]
        assert len({tuple(shares) for shares in layers.values()}) > 1
        for name, found in weights(world.repository, merged.commit).items():
            if name in layers:
                expected = sum(float(Fraction(s)) * part[name] for s, part in zip(layers[name], parts, strict=True))
                np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)

    def test_it_goes_with_sums_only(self, world: World):
        with pytest.raises(UsageError, match="coefficients of a sum"):
            made(world, select="learned", strategy="ties")


class TestOtherStrategies:
    """Greedy over blends that are no averages."""

    @pytest.mark.parametrize("strategy", ["karcher", "task-arithmetic", "ties", "model-stock"])
    def test_greedy_is_never_below_the_best_single_model(self, world: World, strategy: str):
        given: Mapping[str, str] = {"normalize": "true"} if strategy == "task-arithmetic" else {}

        merged = made(world, select="greedy", strategy=strategy, given=given)

        best = max(merged.rows, key=lambda row: row.own)
        assert measured(world, merged.commit) >= best.own
        assert merged.commit.weights == best.candidate.key or sum(row.accepted for row in merged.rows) > 1
        assert not replay(world.repository, merged.commit.id).odd


def test_hardest_first_decides_as_in_order_and_sees_less(world: World, monkeypatch: pytest.MonkeyPatch):
    first = made(world, select="greedy")
    monkeypatch.setattr(Difficulty, "order", lambda self, domains, batch_size: None)
    plain = made(world, select="greedy")

    decisions = [[(row.candidate.key, row.accepted) for row in merged.rows] for merged in (first, plain)]
    assert decisions[0] == decisions[1]
    assert first.commit.weights == plain.commit.weights


def test_the_criteria_are_those_of_whole_passes(world: World):
    merged = made(world, select="greedy", explain=True)

    first, *others = merged.rows
    assert first.criteria is None
    kept = [first.candidate.commit]
    for row in others:
        soup = _mean(world, kept)
        ends = [_score(world, kept[0], soup), measured(world, row.candidate.commit)]
        own = weights(world.repository, row.candidate.commit)
        middle = _score(world, kept[0], {n: (soup[n] + own[n]) / 2 for n in own})
        assert row.criteria.barrier == middle - (ends[0] + ends[1]) / 2
        assert row.criteria.diversity >= 0
        kept += [row.candidate.commit] if row.accepted else []


def _mean(world: World, commits: list[Commit]) -> dict[str, np.ndarray]:
    parts = [weights(world.repository, commit) for commit in commits]
    return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}


def _score(world: World, like: Commit, tensors: Mapping[str, np.ndarray]) -> Fraction:
    """Accuracy on the validation images, by a network of its own."""
    manifest = world.repository.manifest(like)
    held = Weights.of(world.repository, manifest)
    state = {name: torch.from_numpy(t).to(held[name].dtype) for name, t in tensors.items()}
    network = Network.of(architectures.load(manifest.spec, state), manifest.spec)
    data = Data.cut(task.load(world.repository, "digits").task, like.how["image_size"], ("0",), 0, None)
    counts = scoring.count(network, data.validation(), torch.device("cpu"), "fp32")
    return Fraction(sum(c.right for c in counts.domains.values()), sum(c.total for c in counts.domains.values()))


class TestSweep:
    """From one model to another."""

    def test_the_curve_is_measured_and_the_best_point_committed(self, world: World):
        repository = world.branch("swept", "main")

        merged = sweep(repository, ["run/0", "run/1"], grid("0:1:0.25"), DIGITS)

        assert [point.alpha for point in merged.curve] == [Fraction(i, 4) for i in range(5)]
        assert merged.curve[0].score == measured(world, tip(world, "run/0"))
        assert merged.curve[-1].score == measured(world, tip(world, "run/1"))
        best = max(merged.curve, key=lambda point: (point.score, -point.alpha))
        assert [point.kept for point in merged.curve] == [point is best for point in merged.curve]
        shares = {p.commit: p.coefficient for p in merged.commit.parents}
        assert shares[tip(world, "run/1").id] == best.alpha
        assert measured(world, merged.commit) == best.score
        assert not replay(repository, merged.commit.id).odd

    def test_the_test_domain_is_shown_and_decides_nothing(self, world: World):
        options = replace(DIGITS, report_test=True, dry_run=True)

        merged = sweep(world.branch("shown", "main"), ["run/0", "run/1"], grid("0:1:0.5"), options)

        assert merged.commit is None and all(point.test is not None for point in merged.curve)

    @pytest.mark.parametrize("text", ["0:1", "0:1:0", "1:0:0.1", "0:2:0.1", "a:b:c", "0:1:0.0001", "0:1:-1"])
    def test_points_that_make_no_walk_are_refused(self, text: str):
        with pytest.raises(UsageError):
            grid(text)

    def test_it_takes_two_models(self, world: World):
        with pytest.raises(UsageError, match="3 are named"):
            sweep(world.branch("three", "main"), ["run/0", "run/1", "run/2"], grid("0:1:1"), DIGITS)


def test_the_test_domain_can_be_reported_and_never_decides(world: World):
    reported = made(world, select="greedy", report_test=True)
    quiet = made(world, select="greedy")

    assert reported.test is not None and reported.test.scores[0].domains.keys() == {"0"}
    assert [(r.candidate.key, r.average) for r in reported.rows] == [(r.candidate.key, r.average) for r in quiet.rows]


class TestRecalibration:
    """BatchNorm statistics from training images."""

    def test_they_are_those_of_the_blend_on_training_images(self, tmp_path: Path):
        repository = _normalised(tmp_path)

        commit = merge(repository, ["one", "two"], Options(strategy="linear", recalibrate=0, device="cpu")).commit

        name = "conv1.1.running_mean"  # of the first BatchNorm, whose input no other statistics decide
        found = weights(repository, commit)
        parts = [weights(repository, repository.commit(repository.refs[names.branch(n)])) for n in ("one", "two")]
        assert not np.allclose(found[name], (parts[0][name] + parts[1][name]) / 2, atol=1e-3)
        np.testing.assert_allclose(found[name], _first_means(repository, commit, found["conv1.0.weight"]), rtol=1e-3)
        assert commit.how["recalibrated"]["images"] == 0
        assert not replay(repository, commit.id, "cpu").odd

    def test_a_network_without_batchnorm_is_refused(self, world: World):
        with pytest.raises(TrainingProblem, match="BatchNorm"):
            made(world, select="all", recalibrate=0)

    def test_models_without_a_common_task_are_refused(self, world: World):
        with pytest.raises(MergeProblem):
            made(world, "main", "run/0", start="run/1", select="all", task=None, recalibrate=0, featurizer_only=True)


def _normalised(tmp_path: Path) -> Repository:
    """Two runs of a small network with BatchNorm on a folder of small images, from random weights."""
    folder = tmp_path / "pets"
    random = np.random.default_rng(0)
    for domain, name in itertools.product("ab", ("cat", "dog")):
        (folder / domain / name).mkdir(parents=True)
        for i in range(6):
            pixels = random.integers(0, 255, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / domain / name / f"{i}.png")
    repository = init(tmp_path / "zoo", Foundation("shufflenet_v2_x0_5", random=0))
    task.add(repository, "pets", folder)
    root = repository.head().id
    for seed, branch in enumerate(("one", "two", "made")):
        repository.record(None, [Move(names.branch(branch), None, root)], branch)
        if branch != "made":
            options = Training(task="pets", test_domains=("b",), steps=2, batch_size=4, seed=seed, device="cpu")
            train(repository.on(names.branch(branch)), options)
    return repository.on(names.branch("made"))


def _first_means(repository: Repository, commit: Commit, kernel: np.ndarray) -> np.ndarray:
    """Mean of what the first convolution makes of the training images of domain a: float64, without the network."""
    spec = repository.manifest(commit).spec
    data = Data.cut(task.load(repository, "pets").task, commit.how.get("image_size", 32), ("b",), 0, None)
    pixels = data.of("a", "in")
    images = torch.from_numpy(pixels.images[pixels.indices]).double() / 255
    mean, std = (torch.tensor(values).double()[:, None, None] for values in (spec.mean, spec.std))
    made = torch.nn.functional.conv2d((images - mean) / std, torch.from_numpy(kernel), stride=2, padding=1)
    return made.mean(dim=(0, 2, 3)).numpy()


@pytest.mark.parametrize(
    ("select", "options"),
    [
        ("greedy", {"rounds": 3}),
        ("greedy", {"learning": Learning("layer")}),
        ("greedy-replacement", {"tie": "reject"}),
        ("learned", {"explain": True}),
        ("all", {"order": "given"}),
        ("greedy", {"seed": 4}),
        *(("learned", {"learning": Learning(learning_rate=rate)}) for rate in (float("nan"), -1.0, 0.0, 1e30)),
    ],
)
def test_options_that_mean_nothing_are_refused_before_any_work(world: World, select: str, options: dict[str, Any]):
    with pytest.raises(UsageError):
        made(world, select=select, **options)


@pytest.mark.parametrize("select", ["greedy", "greedy-replacement", "learned"])
def test_what_is_tried_has_the_tensors_of_one_side(world: World, select: str):
    before = world.repository.manifest(tip(world, "main")).by_name
    name = next(name for name in before if name.startswith("head."))

    merged = made(world, "run/1", "run/2", select=select, ours=(name,))

    assert merged.commit is not None
    assert world.repository.manifest(merged.commit).by_name[name].id == before[name].id
    kept = [row.average for row in merged.rows if row.accepted and row.average is not None]
    assert select == "learned" or kept[-1] == measured(world, merged.commit)


def test_a_sweep_measures_what_it_commits(world: World):
    name = next(n for n in world.repository.manifest(tip(world, "main")).by_name if n.startswith("head."))
    repository = world.branch("swept/ours", "main")

    merged = sweep(repository, ["run/0", "run/1"], grid("0:1:0.5"), replace(DIGITS, ours=(name,)))

    assert merged.commit is not None
    (best,) = (point for point in merged.curve if point.kept)
    assert best.score == measured(world, merged.commit)


def test_a_side_that_saw_another_task_does_not_hide_the_one_that_decides(world: World):
    name = next(name for name in world.repository.manifest(tip(world, "main")).by_name if name.startswith("head."))

    merged = made(world, "run/0", "run/1", task=None, select="greedy", ours=(name,))

    assert merged.commit is not None and merged.commit.how["task"]["name"] == "digits"
