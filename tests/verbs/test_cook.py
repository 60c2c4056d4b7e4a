"""Cooking: what is there is skipped, what changed is made again, what others made is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from wvc import recipes
from wvc.errors import RecipeProblem, WvcError
from wvc.recipes import Facts, Recipe, Step, Task
from wvc.repo import names
from wvc.repo.fsck import fsck
from wvc.repo.kitchen import look
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft, Move
from wvc.verbs.cook import Options, cook, updates
from wvc.verbs.ensemble import Options as Ensemble
from wvc.verbs.ensemble import ensemble
from wvc.verbs.estimate import estimate

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
    cook(repository, recipes.read(path, settings), Options(device="cpu", say=said.append))
    return [line.split("] ")[1].split(":")[0] for line in said if ": made" in line]


def test_a_recipe_makes_its_commits_and_its_table(kitchen: Repository, recipe: Path):
    (table,) = cook(kitchen, recipes.read(recipe))

    assert [line.name for line in table.lines] == ["probe", "best", "soup"]
    assert (table.columns, table.trials) == (("",), 2)
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


def test_what_another_recipe_made_is_taken(kitchen: Repository, recipe: Path, tmp_path: Path):
    made(kitchen, recipe, seeds="1")
    text = (
        recipe.read_text()
        .replace('"small"', '"other"')
        .replace('"run/{seed}/', '"again/{seed}/')
        .replace("soup/", "broth/")
    )
    (tmp_path / "other.toml").write_text(text)

    assert made(kitchen, tmp_path / "other.toml", seeds="1") == []

    assert kitchen.refs["refs/heads/again/0/1"] == kitchen.refs["refs/heads/run/0/1"]
    assert kitchen.refs["refs/heads/broth/0"] == kitchen.refs["refs/heads/soup/0"]


def test_the_same_step_under_two_names_is_made_once(kitchen: Repository, recipe: Path):
    recipe.write_text(recipe.read_text().replace('seed = "{seed}{run}"', 'seed = "{seed}"'))

    assert made(kitchen, recipe, seeds="1") == ["start/0", "base/0", "run/0/0", "soup/0"]
    assert kitchen.refs["refs/heads/run/0/1"] == kitchen.refs["refs/heads/run/0/0"]


def test_two_at_a_time_come_to_the_same(kitchen: Repository, recipe: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000")
    other = create(tmp_path / "other", Draft("init", "ada", 0, default_branch="main"))
    for repository, jobs in ((kitchen, 1), (other, 2)):
        cook(repository, recipes.read(recipe), Options(jobs=jobs, device="cpu"))

    assert dict(other.refs) == dict(kitchen.refs)


def test_a_step_that_fails_ends_the_cook_and_what_was_made_stays(kitchen: Repository, recipe: Path):
    step = '[[step]]\nbranch = "odd"\nfrom = "run/0/1"\ntrain = { task = "digits", space = "soups-random" }\n[table]\n'
    recipe.write_text(recipe.read_text().replace("[table]\n", step))

    for jobs in (1, 2):
        with pytest.raises(WvcError):
            cook(kitchen, recipes.read(recipe, {"seeds": "1"}), Options(jobs=jobs, device="cpu"))

    assert "refs/heads/run/0/1" in kitchen.refs
    assert look(kitchen) is None


def test_the_foundation_that_is_there_is_taken_and_one_that_is_missing_is_asked_for(
    kitchen: Repository, tmp_path: Path
):
    text = """
schema = 1
[options]
arch = ""
[axes]
trial = 1
[[task]]
name = "digits"
kind = "digits"
[[step]]
branch = "main"
reuse = true
create = { arch = "{arch}", weights = "random" }
[[step]]
branch = "run"
from = "main"
train = { task = "digits", steps = 2 }
"""
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeProblem, match="no branch 'main'") as caught:
        made(kitchen, tmp_path / "r.toml")
    assert "--set arch" in str(caught.value.hint)

    assert made(kitchen, tmp_path / "r.toml", arch="digits_cnn") == ["main", "run"]
    assert made(kitchen, tmp_path / "r.toml") == []


def test_the_plan_is_what_would_be_made(kitchen: Repository, recipe: Path):
    read = recipes.read(recipe)
    before = estimate(kitchen, read, 2, "cpu")
    cook(kitchen, recipes.read(recipe, {"seeds": "1"}), Options(device="cpu"))

    after = estimate(kitchen, read, 2, "cpu")

    assert [(group.kind, group.branch, group.steps, group.missing) for group in before.groups] == [
        ("create", "start/{seed}", 2, 2), ("train", "base/{seed}", 2, 2), ("train", "run/{seed}/{run}", 4, 4),
        ("merge", "soup/{seed}", 2, 2),
    ]  # fmt: skip
    assert (before.steps, before.missing, after.missing) == (10, 10, 5)
    assert before.seconds is not None and before.bytes > after.bytes > 0
    assert before.groups[-1].sources == "base/{seed}, run/{seed}/{run}"


def test_an_ensemble_is_a_row(kitchen: Repository, recipe: Path):
    row = '[[table.row]]\nname = "ensemble"\nmodels = ["run/{seed}/*"]\nensemble = "prob"\ntest = "in"\n'
    recipe.write_text(recipe.read_text() + row)

    (table,) = cook(kitchen, recipes.read(recipe, {"seeds": "1"}), Options(device="cpu"))

    line = table.lines[-1]
    found = ensemble(kitchen, ["run/0/*"], Ensemble(task="digits", space="prob", domains=("0",), split="in"))
    assert line.cells[0].mean == pytest.approx(float(found.scores[0].micro))
    assert line.cells[0].error is None


def test_a_training_costs_what_it_says_or_its_protocol_does():
    facts = Facts(Task("big"), ("a", "b"), "0", steps=15001)
    steps = [Step("train", "x", "main", (), options) for options in ({"task": "big", "steps": 5}, {"task": "big"}, {})]
    recipe = Recipe("r", "", "", None, (), tuple(steps), (), data={"big": facts})

    assert [updates(recipe, step) for step in steps] == [5, 15001, 5001]
    assert updates(recipe, Step("merge", "x", "main", (), {"task": "big"})) == 0


def test_options_that_do_not_go_together_are_refused_before_anything_is_made(kitchen: Repository, recipe: Path):
    recipe.write_text(SMALL.replace("probe_steps = 5\n", 'probe_steps = 5\nema = 0.9\nma = "code"\n'))

    with pytest.raises(RecipeProblem, match=r"step .run/0/0.: .* exclude each other"):
        made(kitchen, recipe)

    assert list(kitchen.refs) == []


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('test_domains = ["0"]', 'test_domains = ["7"]', "task 'digits' has no domain '7'"),
        ("batch_size = 8", 'batch_size = 8\nspace = "wide"', "wide"),
        ('arch = "digits_cnn"', 'arch = "digit_cnn"', "digit_cnn"),
    ],
)
def test_what_names_nothing_is_refused_before_anything_is_made(
    kitchen: Repository, recipe: Path, old: str, new: str, text: str
):
    recipe.write_text(SMALL.replace(old, new))

    with pytest.raises(RecipeProblem, match=text):
        made(kitchen, recipe)

    assert [ref for ref in kitchen.refs if ref.startswith(names.HEADS)] == []


def test_a_row_of_probes_is_empty_where_heads_were_random(kitchen: Repository, recipe: Path):
    recipe.write_text(SMALL.replace("batch_size = 8", 'batch_size = 8\nhead = "random"'))

    (grid,) = cook(kitchen, recipes.read(recipe, {"seeds": "1"}), Options(device="cpu"))

    lines = {line.name: line for line in grid.lines}
    assert (lines["probe"].inside, lines["probe"].cells) == (None, (None,))
    assert lines["best"].inside is not None


def test_a_soup_of_several_splits_without_a_domain_held_out_has_no_figures(kitchen: Repository, recipe: Path):
    text = SMALL.replace('test_domains = ["0"]', 'test_domains = ["none"]\ntrial = "{run}"')
    text = text.replace('select = "greedy", task = "digits" }', 'select = "all" }')
    recipe.write_text(text)

    (grid,) = cook(kitchen, recipes.read(recipe, {"seeds": "1"}), Options(device="cpu"))

    soup = next(line for line in grid.lines if line.name == "soup")
    assert (soup.inside, soup.cells, soup.average) == (None, (None,), None)


def test_a_probe_that_nobody_needs_is_none_and_no_obstacle(kitchen: Repository, recipe: Path):
    step = 'branch = "probe/{seed}"\neach = ["seed"]\nfrom = "base/{seed}"\nprobe = { task = "source" }'
    recipe.write_text(SMALL.replace("[table]\n", f"[[step]]\n{step}\n[table]\n"))

    first = made(kitchen, recipe, seeds="1")

    assert "probe/0" in first
    assert kitchen.refs["refs/heads/probe/0"] == kitchen.refs["refs/heads/base/0"]
    assert made(kitchen, recipe, seeds="1") == []


def test_options_that_were_there_before_take_what_they_made_then(kitchen: Repository, recipe: Path):
    made(kitchen, recipe, seeds="1", steps="5")
    first = dict(kitchen.refs)
    made(kitchen, recipe, seeds="1", steps="6")

    again = made(kitchen, recipe, seeds="1", steps="5")

    assert again == []
    assert dict(kitchen.refs) == first


def test_a_branch_that_somebody_takes_away_meanwhile_is_named(kitchen: Repository, recipe: Path):
    def take_away(line: str) -> None:
        if "base/0: made" in line:
            ref = names.branch("base/0")
            kitchen.record(None, [Move(ref, kitchen.refs[ref], None)], "branch: gone")

    with pytest.raises(RecipeProblem, match="branch 'base/0' is gone"):
        cook(kitchen, recipes.read(recipe, {"seeds": "1"}), Options(device="cpu", say=take_away))


def test_a_blend_has_the_buffers_that_were_asked_for(kitchen: Repository, recipe: Path):
    blend = 'models = ["run/0/0", "run/0/1"], coefficients = ["0.5", "0.5"], buffers = "first"'
    step = f'[[step]]\nbranch = "mix"\nfrom = "base/0"\nblend = {{ {blend} }}\n[table]\n'
    recipe.write_text(SMALL.replace("[table]\n", step))

    made(kitchen, recipe, seeds="1")

    assert kitchen.commit(kitchen.refs["refs/heads/mix"]).how["buffers"] == "first"
