"""Cooking: what is there is skipped, what changed is made again, what others made is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from wvc import recipes
from wvc.errors import RecipeProblem
from wvc.repo import names
from wvc.repo.fsck import fsck
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft, Move
from wvc.verbs.cook import cook
from wvc.verbs.table import Figure

SMALL = """
schema = 1
name = "small"
threads = 1
[options]
seeds = 2
steps = 4
[axes]
seed = "seeds"
run = [0, 1]
[[task]]
name = "source"
kind = "digits"
set = { pool = "source", rotations = [30] }
[[task]]
name = "digits"
kind = "digits"
set = { rotations = [0, 45] }
[[step]]
branch = "start/{seed}"
each = ["seed"]
create = { arch = "digits_cnn", seed = "{seed}" }
[[step]]
branch = "base/{seed}"
each = ["seed"]
from = "start/{seed}"
train = { task = "source", steps = 5, lr = 1e-3, seed = "{seed}" }
[[step]]
branch = "run/{seed}/{run}"
each = ["seed", "run"]
from = "base/{seed}"
[step.train]
task = "digits"
test_domains = ["0"]
steps = "{steps}"
lr = 1e-3
batch_size = 8
seed = "{seed}{run}"
probe_steps = 5
[[step]]
branch = "soup/{seed}"
each = ["seed"]
from = "base/{seed}"
merge = { models = ["run/{seed}/*"], select = "greedy", task = "digits" }
[table]
task = "digits"
over = "seed"
[[table.row]]
name = "probe"
models = ["run/{seed}/0"]
probe = true
[[table.row]]
name = "best"
models = ["run/{seed}/*"]
choose = "best"
[[table.row]]
name = "soup"
models = ["soup/{seed}"]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def kitchen(tmp_path: Path) -> Repository:
    return create(tmp_path / "kitchen", Draft("init", "ada", 0, default_branch="main"))


def made(repository: Repository, path: Path, **settings: str) -> list[str]:
    """The branches that cooking made."""
    said: list[str] = []
    cook(repository, recipes.read(path, settings), say=said.append)
    return [line.split("] ")[1].split(":")[0] for line in said if line.endswith(": made")]


def test_a_recipe_makes_its_commits_and_its_table(kitchen: Repository, recipe: Path):
    table = cook(kitchen, recipes.read(recipe))

    assert [line.name for line in table.lines] == ["probe", "best", "soup"]
    assert table.trials == 2
    assert table.lines[2].inside.mean >= table.lines[1].inside.mean, "greedy is never below the best single run"
    assert fsck(kitchen).problems == []


def test_cooking_again_makes_nothing(kitchen: Repository, recipe: Path):
    assert len(made(kitchen, recipe)) == 10
    number = kitchen.log.head().number

    assert made(kitchen, recipe) == []
    assert kitchen.log.head().number == number


def test_a_changed_option_makes_again_what_depends_on_it_and_the_reflog_keeps_the_rest(
    kitchen: Repository, recipe: Path
):
    made(kitchen, recipe, seeds="1")
    before = kitchen.refs["refs/heads/run/0/0"]

    again = made(kitchen, recipe, seeds="1", steps="5")

    assert again == ["run/0/0", "run/0/1", "soup/0"]
    assert kitchen.commit(before).parents[0].commit == kitchen.refs["refs/heads/base/0"]


def test_a_branch_with_other_commits_is_refused(kitchen: Repository, recipe: Path):
    made(kitchen, recipe, seeds="1")
    other = kitchen.refs["refs/heads/run/0/0"]
    probe = kitchen.commit(other).how["start"]["probe"]
    kitchen.record(None, [Move(names.branch("soup/0"), kitchen.refs["refs/heads/soup/0"], probe)], "by hand")

    with pytest.raises(RecipeProblem, match="did not make"):
        made(kitchen, recipe, seeds="1")


def test_an_unfinished_step_is_resumed(kitchen: Repository, recipe: Path, monkeypatch: pytest.MonkeyPatch):
    from wvc.verbs import runs

    real = runs.Run.save

    def die(run: runs.Run, state: object) -> None:
        real(run, state)
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save", die)
        with pytest.raises(RuntimeError):
            made(kitchen, recipe, seeds="1")
    assert len(runs.unfinished(kitchen)) == 1

    assert "base/0" in made(kitchen, recipe, seeds="1")
    assert runs.unfinished(kitchen) == []


def test_the_error_is_the_population_deviation_over_the_root_of_n():
    figure = Figure.of([0.70, 0.72, 0.74])  # golden 6.13

    assert figure.mean == pytest.approx(0.72)
    assert figure.error == pytest.approx(0.00942809, abs=1e-8)
