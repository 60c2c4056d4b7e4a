"""wvc merge, on plain tensors made by hand: which options go together, and what is shown."""

from __future__ import annotations

import json

import pytest

from .conftest import Run, Zoo


@pytest.fixture(autouse=True)
def models(zoo: Zoo) -> None:
    """a/0 and a/1: weights that came from elsewhere."""
    zoo.commit("one", "a/0", ["base"])
    zoo.commit("two", "a/1", ["base"])


def test_the_models_are_listed_with_their_coefficients(run: Run, zoo: Zoo) -> None:
    out = run("merge", "a/0", "main", "a/1", "--coefficients", "1/2,0.25,0.25")

    made = zoo.repository.head()
    lines = [line.split() for line in out.splitlines()]
    assert lines[:4] == [["model", "coefficient"], ["a/0", "1/2"], ["main", "1/4"], ["a/1", "1/4"]]
    assert out.splitlines()[-1] == f"Averaged 3 of 3 models into {made.id[:10]}"
    assert made.subject == "merge 1/2 a/0, 1/4 main, 1/4 a/1"
    assert [str(p.coefficient) for p in made.parents] == ["1/4", "1/2", "1/4"]


def test_json_has_the_exact_coefficients(run: Run, zoo: Zoo) -> None:
    found = json.loads(run("merge", "a/0", "a/1", "--coefficients", "1/3,2/3", "--json"))

    assert found["commit"] == zoo.repository.head().id
    assert [(row["name"], row["commit"], row["coefficient"]) for row in found["coefficients"]] == [
        ("a/0", zoo.names["one"], "1/3"),
        ("a/1", zoo.names["two"], "2/3"),
    ]
    assert (found["candidates"], found["metric"], found["head"]) == ([], None, None)


def test_a_dry_run_shows_and_changes_nothing(run: Run, zoo: Zoo) -> None:
    out = run("merge", "a/0", "a/1", "--coefficients", "1,0", "--dry-run", "-m", "no")

    assert out.splitlines()[-1] == "would keep one of 2 models as it is"
    assert zoo.repository.head().id == zoo.names["base"]


def test_models_that_nobody_measured_are_listed(run: Run, zoo: Zoo) -> None:
    out = run("merge", "a/*", "--select", "all")

    assert [line.strip() for line in out.splitlines()[:3]] == ["model", "a/0", "a/1"]
    assert out.splitlines()[-1] == f"Averaged 2 of 2 models into {zoo.repository.head().id[:10]}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--coefficients", "1/2,1/4"], "the coefficients sum to 3/4, not to 1"),
        (["--coefficients", "1"], "1 coefficients for 2 models"),
        (["--coefficients", "1,x"], "'x' is not a coefficient"),
        (["--coefficients", "1/2,1/2", "--select", "greedy"], "--coefficients does not go with --select"),
        (["--coefficients", "1/2,1/2", "--task", "pacs"], "--coefficients does not go with --task"),
        (["--coefficients", "1/2,1/2", "--no-head"], "--coefficients does not go with --no-head"),
        (["--coefficients", "1/2,1/2", "--fuse", "1"], "--fuse does not go with --coefficients"),
        (["--coefficients", "1/2,1/2", "--explain"], "--coefficients does not go with --explain"),
        (["--strategy", "mean"], "unknown strategy 'mean'"),
        (["--strategy", "slerp", "-o", "t=1"], "strategy slerp has no option 't'"),
        (["-o", "t"], "-o 't' is not KEY=VALUE"),
        (["--alpha-sweep", "0:1"], "'0:1' is not FROM:TO:STEP"),
        (["--alpha-sweep", "0:1:0.5", "--strategy", "ties"], "--alpha-sweep does not go with --strategy"),
        (["--select", "learned", "--strategy", "slerp"], "learned selection finds coefficients of a sum"),
        (["--order", "random"], "--order is for greedy and greedy-ensemble selection, not for all"),
        (["--from-mergekit", "none.yml"], "--from-mergekit does not go with REV"),
        (["--coefficients", "1/2,1/2", "--lr", "0.5"], "--coefficients does not go with --lr"),
        (["--rounds", "3"], "--rounds is for greedy-replacement selection, not for all"),
        (["--fuse", "1", "--select", "all"], "--fuse does not go with --select"),
        (["--fuse-range", "2"], "--fuse-range goes with --fuse"),
        (["--featurizer-only", "--select", "greedy"], "an average of featurizers has no head of its own to validate"),
    ],
)
def test_options_that_make_no_sense_are_refused(run: Run, zoo: Zoo, options: list[str], said: str) -> None:
    code, out, err = run.all("merge", "a/0", "a/1", *options)

    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}") and "\nhint: " in err
    assert zoo.repository.head().id == zoo.names["base"]


def test_models_without_a_head_have_no_featurizer(run: Run) -> None:
    for options in (["--fuse", "1"], ["--featurizer-only"]):
        code, _, err = run.all("merge", "a/0", "a/1", *options)

        assert (code, err.splitlines()[0]) == (1, "error: nothing tells which tensors of a/0 are its head")


def test_options_of_a_strategy_are_listed(run: Run, zoo: Zoo) -> None:
    out = run("merge", "--strategy", "task-arithmetic", "-o", "help")

    assert [line.split()[0] for line in out.splitlines()] == ["task-arithmetic", "scale", "normalize"]
    assert "1 by default" in out and "$" not in out
    everything = run("merge", "-o", "help").splitlines()
    assert {line for line in everything if not line.startswith(" ")} >= {"ties", "slerp", "linear has no options"}


def test_a_merge_can_be_replayed(run: Run, zoo: Zoo) -> None:
    run("merge", "a/0", "a/1", "--strategy", "slerp")

    assert "the same, bit for bit" in run("replay")
