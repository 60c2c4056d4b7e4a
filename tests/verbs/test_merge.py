"""Merging as a verb: who takes part, what is averaged, what the commit says."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from wvc.errors import MergeProblem
from wvc.repo import names, scores
from wvc.repo.objects import Commit, Tensor
from wvc.repo.repository import Repository
from wvc.verbs import scoring
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.eval import evaluate
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import create_random
from wvc.verbs.merge import merge
from wvc.verbs.mix import is_kept
from wvc.verbs.terms import Options
from wvc.weights import Weights

from .conftest import World

GREEDY = Options(task="digits", select="greedy", device="cpu")


def tip(repository: Repository, branch: str) -> Commit:
    return repository.commit(repository.refs[names.branch(branch)])


def tensors(repository: Repository, commit: Commit) -> dict[str, np.ndarray]:
    held = Weights.of(repository, repository.manifest(commit))
    return {name: held[name].numpy() for name in held}


def test_the_uniform_merge_is_the_float64_mean(world: World):
    repository = world.branch("uniform", "main")

    made = merge(repository, ["run/*"], Options(select="all")).commit

    parts = [tensors(repository, tip(repository, f"run/{i}")) for i in range(3)]
    for name, found in tensors(repository, made).items():
        expected = np.mean([part[name].astype(np.float64) for part in parts], axis=0).astype(np.float32)
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_head_is_the_first_parent_and_has_no_share_where_all_descend_from_it(world: World):
    repository = world.branch("shares", "main")

    made = merge(repository, ["run/0", "run/1"], Options()).commit

    assert made.parents[0].commit == tip(repository, "main").id
    assert [p.coefficient for p in made.parents] == [0, Fraction(1, 2), Fraction(1, 2)]


def test_head_takes_part_where_it_is_no_common_ancestor(world: World):
    repository = world.branch("member", "run/0")

    made = merge(repository, ["run/1"], Options()).commit

    assert {p.coefficient for p in made.parents} == {Fraction(1, 2)}
    without = merge(world.branch("without", "run/0"), ["run/1", "run/2"], Options(with_head=False)).commit
    assert without.parents[0].coefficient == 0


def test_the_order_of_the_candidates_changes_nothing(world: World):
    found = {
        merge(
            world.branch("order/" + "".join(order), "main"), [f"run/{i}" for i in order], Options(select="all")
        ).commit.weights
        for order in itertools.permutations("012")
    }

    assert len(found) == 1


def test_a_merge_of_merges_is_the_merge_of_the_ingredients(world: World):
    pair = world.branch("pair", "main")
    merge(pair, ["run/0", "run/1"], Options())

    nested = merge(world.branch("nested", "main"), ["pair", "run/2"], Options()).commit

    flat = merge(world.branch("flat", "main"), ["run/*"], Options(select="all")).commit
    assert nested.weights == flat.weights
    assert sum(p.coefficient for p in nested.parents) == 1
    assert Fraction(1, 3) in {p.coefficient for p in nested.parents}


def test_greedy_is_never_below_the_best_single_candidate(world: World):
    repository = world.branch("greedy", "main")

    merged = merge(repository, ["run/*"], GREEDY)

    best = max(row.own for row in merged.rows)
    score = next(s for s in scores.of_commit(repository, merged.commit.id) if s.circumstances.split == "val")
    assert score.micro >= best
    assert score.micro == [row.average for row in merged.rows if row.accepted][-1]


def test_greedy_decides_as_full_evaluations_would(world: World):
    repository = world.branch("decisions", "main")
    merged = merge(repository, ["run/*"], GREEDY)

    kept: list[Commit] = []
    bar = Fraction(-1)
    for row in merged.rows:
        trial = [*kept, row.candidate.commit]
        score = _accuracy_of_mean(world, repository, trial)
        assert row.accepted == (score >= bar)
        if row.accepted:
            kept, bar = trial, score


def _accuracy_of_mean(world: World, repository: Repository, commits: list[Commit]) -> Fraction:
    """By `--select all` and a fresh evaluation, which share nothing with the running sums."""
    branch = "check/" + "-".join(c.id[:6] for c in commits)
    if names.branch(branch) not in repository.refs:
        if len(commits) == 1:
            commit = commits[0]
        else:
            commit = merge(world.branch(branch, "main"), [c.id for c in commits], Options(select="all")).commit
    else:
        commit = tip(repository, branch)
    found = evaluate(repository, commit.id, EvalOptions(task="digits", test_domains=("0",), device="cpu"))
    return next(s.micro for s in found.scores if s.circumstances.split == "val")


def test_a_candidate_costs_at_most_one_pass_and_the_best_none(world: World, monkeypatch: pytest.MonkeyPatch):
    passes = []
    real = scoring.count

    def counted(*args: object, **options: object) -> object:
        passes.append(1)
        return real(*args, **options)

    monkeypatch.setattr(scoring, "count", counted)
    merge(world.branch("passes", "main"), ["run/*"], GREEDY)

    assert len(passes) == 2


def test_the_commit_holds_every_candidate_and_its_verdict(world: World):
    how = merge(world.branch("verdicts", "main"), ["run/*"], GREEDY).commit.how

    assert sorted(row["name"] for row in how["candidates"]) == ["run/0", "run/1", "run/2"]
    assert how["tie"] == "accept" and how["metric"] == "micro" and how["select"] == "greedy"
    assert all(Fraction(row["own"]) <= 1 for row in how["candidates"])


def test_a_dry_run_changes_nothing(world: World):
    repository = world.branch("dry", "main")
    before = repository.log.head().number

    merged = merge(repository, ["run/*"], Options(task="digits", dry_run=True, device="cpu"))

    assert merged.commit is None and len(merged.rows) == 3
    assert repository.log.head().number == before


def test_a_single_descendant_is_a_fast_forward(world: World):
    repository = world.branch("forward", "main")

    merged = merge(repository, ["run/0"], Options())

    assert merged.forward
    assert repository.head().id == tip(repository, "run/0").id


def test_models_without_a_common_ancestor_are_refused_unless_allowed(world: World):
    repository = world.branch("related", "run/0")
    create_random(repository, names.branch("stranger"), Foundation("digits_cnn", random=3))

    with pytest.raises(MergeProblem, match="no common ancestor"):
        merge(repository, ["stranger"], Options())
    assert merge(repository, ["stranger"], Options(allow_unrelated=True)).commit is not None


def test_candidates_of_different_splits_are_not_judged_together(world: World):
    world.train("trial/1", "main", trial=1)

    with pytest.raises(MergeProblem, match="different splits"):
        merge(world.branch("splits", "main"), ["run/0", "trial/1"], GREEDY)


def test_nothing_to_merge_and_greedy_without_a_task_are_refused(world: World):
    repository = world.branch("refused", "main")

    with pytest.raises(MergeProblem, match="nothing to merge"):
        merge(repository, ["HEAD"], Options())


def test_integers_are_never_averaged_and_statistics_only_where_the_policy_says_so():
    mean = Tensor("bn1.running_mean", "F32", (2,), "0" * 64)
    count = Tensor("bn1.num_batches_tracked", "I64", (), "0" * 64)
    scale = Tensor("bn1.weight", "BF16", (2,), "0" * 64)

    assert [is_kept(t, "average") for t in (mean, count, scale)] == [False, True, False]
    assert [is_kept(t, "first") for t in (mean, count, scale)] == [True, True, False]
