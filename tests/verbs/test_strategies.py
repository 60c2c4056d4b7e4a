"""Strategies as a user reaches them: whose changes, from which base, what the commit says, and doing it again."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wvc import plugins
from wvc.errors import Damage, MergeProblem, UnknownRevision, UsageError
from wvc.repo.objects import Commit, Parent
from wvc.repo.repository import Repository
from wvc.verbs import blend, merge, replay
from wvc.verbs.strategy import assignments, named, options_of
from wvc.verbs.terms import Options
from wvc.weights import Weights

from .conftest import Shelf

ALL = plugins.names("wvc.strategies")
TWO = ("slerp",)


def numbers(seed: int, n: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """main, and three models that were fine-tuned from it in every floating tensor."""
    shelf = Shelf(tmp_path / "shelf")
    base = {"conv.weight": numbers(0), "head.bias": numbers(1, 7), "steps": torch.tensor(3)}
    shelf.put("main", base)
    for i, branch in enumerate("abc"):
        changed = {name: t + numbers(10 + i, len(t)) / 100 for name, t in base.items() if name != "steps"}
        shelf.put(branch, {**base, **changed})
    return shelf


def tensors(repository: Repository, commit: Commit) -> dict[str, np.ndarray]:
    held = Weights.of(repository, repository.manifest(commit))
    return {name: held[name].numpy() for name in held}


def made(shelf: Shelf, *models: str, **options: Any) -> Commit:
    commit = merge.merge(shelf.fresh(), list(models), Options(**options)).commit
    assert commit is not None
    return commit


@pytest.mark.parametrize("name", [name for name in ALL if name != "three-way"])
def test_every_strategy_can_be_committed_and_made_again_bit_for_bit(shelf: Shelf, name: str):
    models = "ab" if name in TWO else "abc"

    commit = made(shelf, *models, strategy=name)

    again = replay.replay(shelf.repository, commit.id)
    assert (again.odd, again.tensors) == ((), 3)
    assert commit.how["strategy"] == name
    assert commit.parents[0].commit == shelf.tip("main").id
    assert sum(parent.coefficient for parent in commit.parents) == 1 or name == "task-arithmetic"


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("three-way", *TWO)])
def test_the_order_of_naming_changes_no_bit(shelf: Shelf, name: str):
    found = set()
    for order in ("abc", "cab"):
        found.add(made(shelf, *order, strategy=name).weights)

    assert len(found) == 1


def test_a_replay_tells_what_is_not_what_the_commit_says(shelf: Shelf):
    commit = made(shelf, "a", "b", strategy="task-arithmetic")
    lie = shelf.restate(commit, {**commit.how, "options": {"scale": "2", "normalize": False}})

    found = replay.replay(shelf.repository, lie.id)

    assert found.odd == ("conv.weight", "head.bias")


def test_what_is_no_merge_cannot_be_replayed(shelf: Shelf):
    with pytest.raises(Exception, match="no merge"):
        replay.replay(shelf.repository, "a")


def test_task_vectors_are_counted_from_the_merge_base(shelf: Shelf):
    commit = made(shelf, "a", "b", strategy="task-arithmetic", given={"scale": "0.3"})

    parts = [tensors(shelf.repository, shelf.tip(name)) for name in ("main", "a", "b")]
    base, a, b = ({n: t.astype(np.float64) for n, t in part.items()} for part in parts)
    for name in ("conv.weight", "head.bias"):
        expected = base[name] + 0.3 * ((a[name] - base[name]) + (b[name] - base[name]))
        np.testing.assert_allclose(tensors(shelf.repository, commit)[name], expected, rtol=1e-7)
    assert commit.how["base"] == shelf.tip("main").id
    shares = {p.commit: p.coefficient for p in commit.parents}
    assert shares[shelf.tip("main").id] == Fraction(2, 5)
    assert shares[shelf.tip("a").id] == Fraction(3, 10)


def test_a_task_vector_can_be_taken_away(shelf: Shelf):
    commit = made(shelf, "a", strategy="task-arithmetic", given={"scale": "-1"})

    base, a = (tensors(shelf.repository, shelf.tip(name)) for name in ("main", "a"))
    expected = 2 * base["conv.weight"].astype(np.float64) - a["conv.weight"]
    np.testing.assert_allclose(tensors(shelf.repository, commit)["conv.weight"], expected, rtol=1e-7)
    assert commit.parents == (Parent(shelf.tip("main").id, Fraction(2)), Parent(shelf.tip("a").id, Fraction(-1)))


def test_stated_coefficients_weigh_task_vectors(shelf: Shelf):
    options = blend.Options(strategy="task-arithmetic", coefficients=(Fraction(1), Fraction(-1)))

    commit = blend.blend(shelf.fresh(), ["b", "a"], options).commit

    base, a, b = (
        tensors(shelf.repository, shelf.tip(name))["conv.weight"].astype(np.float64) for name in ("main", "a", "b")
    )
    np.testing.assert_allclose(tensors(shelf.repository, commit)["conv.weight"], base + b - a, rtol=1e-6)
    assert not replay.replay(shelf.repository, commit.id).odd


def test_variances_are_averaged_whatever_is_done_to_weights(shelf: Shelf):
    for branch, value in (("root", 1.0), ("low", 0.1), ("high", 5.0)):
        shelf.put(branch, {"bn.weight": [value], "bn.running_var": [value]}, root=branch == "root", start="root")
    shelf.start = "root"

    away = made(shelf, "high", strategy="task-arithmetic", given={"scale": "-1"})
    both = made(shelf, "low", "high", strategy="ties", given={"density": "1"})

    assert tensors(shelf.repository, away)["bn.weight"] == -3.0
    assert tensors(shelf.repository, away)["bn.running_var"] == 1.0
    np.testing.assert_allclose(tensors(shelf.repository, both)["bn.running_var"], 2.55, rtol=1e-6)


def test_several_merge_bases_must_be_told_apart(shelf: Shelf):
    for name, start, other, strategy in (("one", "a", "b", "linear"), ("two", "b", "a", "breadcrumbs")):
        shelf.start = start
        shelf.keep(name, made(shelf, other, strategy=strategy))
    shelf.start = "one"

    with pytest.raises(MergeProblem, match="2 merge bases"):
        made(shelf, "two", strategy="ties")
    assert made(shelf, "two", strategy="ties", base="main").how["base"] == shelf.tip("main").id


def test_a_base_of_another_shape_is_refused_by_name(shelf: Shelf):
    shelf.put("wide", {"conv.weight": numbers(3, 60), "head.bias": numbers(1, 7), "steps": torch.tensor(3)})

    with pytest.raises(MergeProblem, match=r"differ in conv\.weight"):
        made(shelf, "a", "b", strategy="ties", base="wide")
    with pytest.raises(UsageError, match="counts no changes"):
        made(shelf, "a", "b", strategy="linear", base="main")


class TestThreeWay:
    """Branches that touched different tensors."""

    @pytest.fixture
    def sides(self, tmp_path: Path) -> Shelf:
        shelf = Shelf(tmp_path / "sides")
        base: Mapping[str, Any] = {"x": numbers(0), "y": numbers(1), "n": torch.tensor(1)}
        shelf.put("main", base)
        shelf.put("left", {**base, "x": numbers(2), "n": torch.tensor(2)})
        shelf.put("right", {**base, "y": numbers(3)})
        shelf.put("both", {**base, "x": numbers(4), "y": numbers(5)})
        return shelf

    def test_disjoint_changes_are_all_kept_bit_for_bit(self, sides: Shelf):
        merged = merge.merge(sides.fresh(), ["left", "right"], Options())

        assert merged.commit is not None and merged.strategy == "three-way"
        found = sides.repository.manifest(merged.commit).by_name
        left, right = (sides.repository.manifest(sides.tip(name)).by_name for name in ("left", "right"))
        assert (found["x"].id, found["n"].id, found["y"].id) == (left["x"].id, left["n"].id, right["y"].id)
        assert not replay.replay(sides.repository, merged.commit.id).odd
        assert "linear averages" in merged.notes[0]

    def test_no_tensor_is_stored_again(self, sides: Shelf):
        before = sides.bytes()

        made(sides, "left", "right")

        assert sides.bytes() - before < 20_000

    def test_an_average_is_there_for_the_asking(self, sides: Shelf):
        commit = made(sides, "left", "right", strategy="linear")

        left, main = (tensors(sides.repository, sides.tip(name))["x"] for name in ("left", "main"))
        np.testing.assert_allclose(tensors(sides.repository, commit)["x"], (left + main) / 2, rtol=1e-6)

    def test_overlapping_changes_are_averaged_by_default(self, sides: Shelf):
        assert merge.merge(sides.fresh(), ["left", "both"], Options()).strategy == "linear"

    def test_overlapping_changes_are_refused_by_name_where_three_way_is_asked_for(self, sides: Shelf):
        with pytest.raises(MergeProblem, match="several models changed x"):
            made(sides, "left", "both", strategy="three-way")

    def test_conflicts_can_be_averaged(self, sides: Shelf):
        commit = made(sides, "left", "both", strategy="three-way", given={"conflicts": "average"})

        left, both = (tensors(sides.repository, sides.tip(name)) for name in ("left", "both"))
        found = tensors(sides.repository, commit)
        np.testing.assert_allclose(found["x"], (left["x"].astype(np.float64) + both["x"]) / 2, rtol=1e-7)
        np.testing.assert_array_equal(found["y"], both["y"])

    def test_each_side_can_give_tensors_by_glob(self, sides: Shelf):
        sides.start = "left"

        commit = made(sides, "both", strategy="three-way", ours=("x",))

        left, both = (sides.repository.manifest(sides.tip(name)).by_name for name in ("left", "both"))
        found = sides.repository.manifest(commit).by_name
        assert (found["x"].id, found["y"].id) == (left["x"].id, both["y"].id)
        assert commit.how["taken"] == [{"tensors": "x", "commit": sides.tip("left").id}]
        assert not replay.replay(sides.repository, commit.id).odd

    @pytest.mark.parametrize("wrong", [{"ours": ("z",)}, {"ours": ("x",), "theirs": ("*",)}])
    def test_globs_that_mean_nothing_are_refused(self, sides: Shelf, wrong: Mapping[str, Any]):
        sides.start = "left"
        with pytest.raises(UsageError):
            made(sides, "both", strategy="linear", **wrong)


class TestMergesOfMerges:
    """Sums go back to what they were made of."""

    def test_pairwise_counts_a_merge_once_with_exact_coefficients(self, shelf: Shelf):
        pair = made(shelf, "a", "b", strategy="linear")
        shelf.keep("pair", pair)

        commit = made(shelf, "pair", "c", pairwise=True)

        shares = {p.commit: p.coefficient for p in commit.parents}
        expected = {"a": Fraction(1, 4), "b": Fraction(1, 4), "c": Fraction(1, 2), "pair": 0, "main": 0}
        assert shares == {shelf.tip(name).id: share for name, share in expected.items()}
        a, b, c = (tensors(shelf.repository, shelf.tip(name))["conv.weight"].astype(np.float64) for name in "abc")
        exact = (a / 4 + b / 4 + c / 2).astype(np.float32)
        np.testing.assert_array_equal(tensors(shelf.repository, commit)["conv.weight"], exact)
        assert not replay.replay(shelf.repository, commit.id).odd

    def test_a_merge_that_was_not_a_sum_is_a_model_of_its_own(self, shelf: Shelf):
        shelf.keep("trimmed", made(shelf, "a", "b", strategy="ties"))

        commit = made(shelf, "trimmed", "c")

        assert {p.commit for p in commit.parents if p.coefficient} == {shelf.tip("trimmed").id, shelf.tip("c").id}

    def test_task_vectors_do_not_take_merges_apart(self, shelf: Shelf):
        shelf.keep("pair", made(shelf, "a", "b", strategy="linear"))

        commit = made(shelf, "pair", "c", strategy="ties")

        assert {p.commit for p in commit.parents if p.coefficient} == {shelf.tip("pair").id, shelf.tip("c").id}


def test_a_range_averages_the_commits_of_a_trajectory(shelf: Shelf):
    for i in range(3):
        shelf.put("run", {"conv.weight": np.full(50, float(i), np.float32), "head.bias": numbers(1, 7)}, start="run")

    commit = made(shelf, "main..run", strategy="linear", allow_unrelated=True)

    assert (tensors(shelf.repository, commit)["conv.weight"] == 1.0).all()
    assert len([p for p in commit.parents if p.coefficient]) == 3


def test_nan_in_one_model_is_refused_by_tensor_and_model(shelf: Shelf):
    bad = numbers(0)
    bad[17] = np.nan
    shelf.put("sick", {"conv.weight": bad, "head.bias": numbers(1, 7), "steps": torch.tensor(3)})

    for name in ALL:
        if name == "three-way":
            continue
        with pytest.raises(MergeProblem, match=r"'conv\.weight' of sick holds NaN"):
            made(shelf, "a", "sick", strategy=name)


def test_nothing_is_made_of_a_damaged_tensor(shelf: Shelf):
    shelf.put("large", {"w": numbers(5, 400_000)}, root=True)
    shelf.put("larger", {"w": numbers(6, 400_000)}, start="large")
    shelf.put("largest", {"w": numbers(7, 400_000)}, start="large")
    shelf.start = "large"
    shelf.flip(shelf.repository.manifest(shelf.tip("larger")).by_name["w"].id)

    for strategy in ("linear", "ties", "slerp"):
        with pytest.raises(Damage):
            made(shelf, "larger", "largest", strategy=strategy)


class TestOptions:
    """-o KEY=VALUE."""

    def test_values_are_read_exactly(self):
        strategy = named("task-arithmetic", assignments(["scale=0.3", "normalize=yes"]))

        assert strategy.options == {"scale": Fraction(3, 10), "normalize": True}
        assert strategy.json() == {"scale": "3/10", "normalize": True}

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (["scale"], "KEY=VALUE"),
            (["scale=1", "scale=2"], "twice"),
            (["scale=big"], "a fraction"),
            (["scale=1e9"], "a fraction"),
            (["scale=1/0"], "a fraction"),
            (["densty=1"], "no option 'densty'"),
            (["normalize=maybe"], "true or false"),
        ],
    )
    def test_wrong_ones_are_refused(self, texts: list[str], message: str):
        with pytest.raises(UsageError, match=message):
            named("task-arithmetic", assignments(texts))

    def test_unknown_strategies_are_refused(self):
        with pytest.raises(UsageError, match="unknown strategy"):
            named("average")

    @pytest.mark.parametrize("name", ALL)
    def test_every_option_has_help_and_reads_its_own_default(self, name: str):
        for option in options_of(name):
            assert option.help, option.name
            assert option.read(str(option.default)) == option.default


def test_options_out_of_range_are_refused_before_any_reading(shelf: Shelf):
    for name, given in (("ties", {"density": "0"}), ("dare", {"density": "2"}), ("slerp", {"parallel": "7"})):
        with pytest.raises(UsageError):
            made(shelf, "a", "b", strategy=name, given=given, dry_run=True)


def test_models_of_unlike_probes_are_averaged_with_a_warning(tmp_path: Path):
    shelf = Shelf(tmp_path / "heads")
    shelf.put("main", {"w": [0.0], "head.bias": [0.0]}, classes=["x"])
    for branch, probe in (("a", "1" * 64), ("b", "2" * 64), ("c", "1" * 64)):
        shelf.put(
            branch, {"w": [1.0 + ord(branch)], "head.bias": [2.0]}, classes=["x"], how={"start": {"probe": probe}}
        )

    noted = merge.merge(shelf.fresh(), ["a", "b"], Options(dry_run=True, strategy="linear")).notes
    calm = merge.merge(shelf.fresh(), ["a", "c"], Options(dry_run=True, strategy="linear")).notes

    assert any("linear probe" in note for note in noted)
    assert not calm


def test_the_base_of_models_with_other_heads_is_the_probe_that_they_share(tmp_path: Path):
    shelf = Shelf(tmp_path / "probed")
    trunk = numbers(0)
    shelf.put("main", {"w": trunk, "head.bias": numbers(1, 4)}, classes=["a", "b", "c", "d"])
    probe = shelf.put(
        "probe", {"w": trunk, "head.bias": numbers(2, 2)}, classes=["x", "y"], how={"probe": {"steps": 1}}
    )
    for i, branch in enumerate(("one", "two")):
        tuned = {"w": trunk + numbers(5 + i) / 100, "head.bias": numbers(2, 2) + numbers(7 + i, 2) / 100}
        shelf.put(branch, tuned, classes=["x", "y"], how={"start": {"probe": probe.id}})
    shelf.put("lone", {"w": trunk, "head.bias": numbers(9, 2)}, classes=["x", "y"], how={"start": {"probe": "9" * 64}})

    commit = made(shelf, "one", "two", strategy="task-arithmetic")

    assert commit.how["base"] == probe.id
    parts = [tensors(shelf.repository, shelf.tip(name)) for name in ("probe", "one", "two")]
    base, one, two = (part["head.bias"].astype(np.float64) for part in parts)
    np.testing.assert_allclose(tensors(shelf.repository, commit)["head.bias"], one + two - base, rtol=1e-6)
    with pytest.raises(MergeProblem, match=r"differ in head\.bias"):
        made(shelf, "one", "lone", strategy="task-arithmetic")
    alone = made(shelf, "one", "lone", strategy="task-arithmetic", featurizer_only=True)
    assert alone.how["base"] == shelf.tip("main").id


class TestFastForward:
    """Moving the branch is a merge only where nothing else is asked for."""

    def test_tensors_of_head_are_kept_all_the_same(self, shelf: Shelf):
        commit = made(shelf, "a", ours=("head.*",))

        found, main, a = (tensors(shelf.repository, c) for c in (commit, shelf.tip("main"), shelf.tip("a")))
        np.testing.assert_array_equal(found["head.bias"], main["head.bias"])
        np.testing.assert_array_equal(found["conv.weight"], a["conv.weight"])
        assert not replay.replay(shelf.repository, commit.id).odd

    def test_statistics_are_estimated_or_nothing_is_done(self, shelf: Shelf):
        with pytest.raises(MergeProblem, match="share no task"):
            made(shelf, "a", recalibrate=0)

    def test_a_report_without_test_domains_is_refused_before_the_branch_moves(self, shelf: Shelf):
        repository = shelf.fresh()

        with pytest.raises(UsageError, match="no domain"):
            merge.merge(repository, ["a"], Options(report_test=True))
        assert repository.head().id == shelf.tip("main").id

    def test_a_dry_run_moves_nothing(self, shelf: Shelf):
        repository = shelf.fresh()

        found = merge.merge(repository, ["a"], Options(dry_run=True))

        assert (found.forward, found.dry, repository.head().id) == (True, True, shelf.tip("main").id)


class TestNotes:
    """What is said of a merge that is done all the same."""

    def notes(self, shelf: Shelf, *models: str, **options: Any) -> str:
        return "; ".join(merge.merge(shelf.fresh(), list(models), Options(dry_run=True, **options)).notes)

    def test_one_of_two_tied_names_unties_them(self, shelf: Shelf):
        for seed, branch in enumerate(("tied/0", "tied/1")):
            shelf.put(branch, {"in": numbers(seed), "out": numbers(seed)}, start="tied/0", root=not seed)
        shelf.start = "tied/0"

        assert "in and out were one tensor" in self.notes(shelf, "tied/1", ours=("in",), fast_forward=False)
        assert not self.notes(shelf, "tied/1", ours=("in", "out"), fast_forward=False)

    def test_an_average_with_what_head_was_made_from_goes_back(self, shelf: Shelf):
        shelf.start = "a"

        assert "goes back" in self.notes(shelf, "main", strategy="linear")
        assert not self.notes(shelf, "b", strategy="linear")

    def test_models_that_differ_are_told_how(self, shelf: Shelf):
        shelf.put("odd", {"conv.weight": numbers(0, 3), "steps": torch.tensor(3)})

        with pytest.raises(MergeProblem, match=r"conv.weight \(F32 3, F32 50\), head.bias \(only a has it\)"):
            made(shelf, "odd", "a")


def test_globs_and_ranges_of_nothing_say_so(shelf: Shelf):
    with pytest.raises(UnknownRevision, match=r"no branch matches 'z\*'"):
        made(shelf, "z*")
    with pytest.raises(UnknownRevision, match=r"nothing is in 'a\.\.main': a has all that main has"):
        made(shelf, "a..main")


def test_coefficients_that_cancel_are_refused(shelf: Shelf):
    twice = blend.Options(strategy="task-arithmetic", coefficients=(Fraction(1), Fraction(-1)))

    with pytest.raises(UsageError, match="cancel"):
        blend.blend(shelf.fresh(), ["a", "a"], twice)
