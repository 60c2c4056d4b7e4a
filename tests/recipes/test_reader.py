"""Recipes: read whole and checked whole, and a mistake is named with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc import recipes
from wvc.errors import RecipeProblem
from wvc.recipes import Recipe, Row, Table, Task, find, read

SMALL = """\
schema = 1
name = "small"
threads = 1

[options]
seeds = 2
steps = 10
rate = 0.5
place = "here"

[axes]
seed = "seeds"
run = [{ h = 0, lr = 1e-3 }, { h = 1, lr = 3 }]

[[task]]
name = "pets"
path = "{place}/pets"

[[task]]
name = "digits"
kind = "digits"
set = { rotations = [0, 15] }

[[step]]
branch = "base/{seed}"
each = ["seed"]
create = { arch = "digits_cnn", seed = "{seed}" }

[[step]]
branch = "run/{seed}/{h}"
each = ["seed", "run"]
from = "base/{seed}"
train = { task = "digits", steps = "{steps}", lr = "{lr}", test_domains = ["{seed}"], seed = "{seed}{h}" }

[[step]]
branch = "soup/{seed}"
each = ["seed"]
from = "base/{seed}"
merge = { models = ["run/{seed}/*"], select = "greedy", task = "digits" }

[table]
task = "digits"
over = "seed"

[[table.row]]
name = "soup"
models = ["soup/{seed}"]

[[table.row]]
name = "best run"
models = ["run/{seed}/*"]
choose = "best"
probe = true
"""


@pytest.fixture
def make(tmp_path: Path):
    """Function (*(old, new) pairs, settings) that reads the small recipe with replacements."""

    def run(*changes: tuple[str, str], settings: dict[str, str] | None = None) -> Recipe:
        text = SMALL
        for old, new in changes:
            assert text.count(old) >= 1
            text = text.replace(old, new, 1)
        (tmp_path / "small.toml").write_text(text)
        return read(tmp_path / "small.toml", settings)

    return run


def test_the_small_recipe_means_what_it_says(make):
    recipe = make()

    assert (recipe.name, recipe.threads) == ("small", 1)
    assert recipe.tasks == (Task("pets", path="here/pets"), Task("digits", "digits", None, {"rotations": [0, 15]}))
    assert [step.branch for step in recipe.steps] == [
        "base/0", "base/1", "run/0/0", "run/0/1", "run/1/0", "run/1/1", "soup/0", "soup/1",
    ]  # fmt: skip
    assert [step.inputs for step in recipe.steps[-1:]] == [("base/1", "run/1/0", "run/1/1")]
    soup = Row("soup", ((("soup/0",), ("soup/1",)),))
    best = Row("best run", ((("run/0/0", "run/0/1"), ("run/1/0", "run/1/1")),), "best", True)
    assert recipe.tables == (Table("digits", ("",), (soup, best)),)


def test_options_have_the_types_that_the_command_line_has(make):
    step = next(step for step in make().steps if step.branch == "run/1/1")

    assert step.options == {"task": "digits", "steps": 10, "lr": 3.0, "test_domains": ["1"], "seed": 11}
    assert {name: type(value) for name, value in step.options.items()} == {
        "task": str, "steps": int, "lr": float, "test_domains": list, "seed": int,
    }  # fmt: skip


def test_settings_take_the_place_of_options(make):
    recipe = make(settings={"seeds": "1", "steps": "7", "place": "there"})

    assert [step.branch for step in recipe.steps] == ["base/0", "run/0/0", "run/0/1", "soup/0"]
    assert recipe.steps[1].options["steps"] == 7
    assert recipe.tasks[0].path == "there/pets"


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"sedes": "1"}, "sedes"), ({"seeds": "two"}, "seeds=two"), ({"seeds": "1.5"}, "seeds"), ({"seeds": ""}, "seeds"),
     ({"rate": "fast"}, "rate"), ({"seeds": "0"}, "seed"), ({"seeds": "-1"}, "seed")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(make, settings, word):
    with pytest.raises(RecipeProblem, match=word):
        make(settings=settings)


def test_every_setting_changes_what_it_names_and_nothing_else(make):
    assert make(settings={"rate": "0.25"}).steps == make().steps


# (old, new, what stands on the line that the error must name)
MISTAKES = {
    "schema": ("schema = 1", "schema = 2", "schema = 2"),
    "schema a text": ("schema = 1", 'schema = "1"', 'schema = "1"'),
    "unknown key at the top": ("threads = 1", "thread = 1", "thread = 1"),
    "unknown key in a task": ('path = "{place}', 'paht = "{place}', "paht"),
    "unknown key in a step": ('from = "base/{seed}"\ntrain', 'form = "base/{seed}"\ntrain', "form ="),
    "unknown option of train": ("steps = \"{steps}\"", "stesp = 5", "train = "),
    "unknown option of merge": ('select = "greedy"', 'selct = "greedy"', "selct"),
    "option of another kind": ('select = "greedy"', "lr = 1", "merge = "),
    "unknown key in a row": ("probe = true", "prob = true", "prob = true"),
    "unknown key in the table": ('over = "seed"', 'over = "seed"\nmore = 1', "more = 1"),
    "steps no number": ('steps = "{steps}"', 'steps = "many"', "train = "),
    "steps a fraction": ('steps = "{steps}"', "steps = 1.5", "train = "),
    "steps a truth": ('steps = "{steps}"', "steps = true", "train = "),
    "a name that leaves the folder": ('name = "small"', 'name = "../small"', "name ="),
    "no steps at all": ('steps = "{steps}"', "steps = 0", "train = "),
    "rate below zero": ('lr = "{lr}"', "lr = -1", "train = "),
    "rate that is none": ('lr = "{lr}"', "lr = nan", "train = "),
    "rate no number": ('lr = "{lr}"', 'lr = "fast"', "train = "),
    "rate a list": ('lr = "{lr}"', "lr = [1]", "train = "),
    "domains no list": ('test_domains = ["{seed}"]', 'test_domains = "0"', "train = "),
    "task a truth": ('train = { task = "digits"', "train = { task = true", "train = "),
    "models no list": ('models = ["run/{seed}/*"], ', 'models = "run/*", ', "merge = "),
    "models of numbers": ('models = ["run/{seed}/*"], ', "models = [5], ", None),
    "no models": ('models = ["run/{seed}/*"], ', "", "merge = "),
    "empty models": ('models = ["run/{seed}/*"], ', "models = [], ", "merge = "),
    "no task": ('task = "digits", steps', "steps", "train = "),
    "no arch": ('arch = "digits_cnn", ', "", "create = "),
    "no branch": ('branch = "soup/{seed}"\n', "", None),
    "two kinds": ('merge = { models', 'train = { task = "digits" }\nmerge = { models', None),
    "create with a start": ('create = {', 'from = "x"\ncreate = {', None),
    "train without a start": ('from = "base/{seed}"\ntrain', "train", None),
    "unknown axis": ('each = ["seed", "run"]', 'each = ["seed", "runs"]', "runs"),
    "each no list": ('each = ["seed", "run"]', 'each = "seed"', "each ="),
    "empty axis": ('seed = "seeds"', "seed = []", "seed = []"),
    "axis of nothing": ('seed = "seeds"', 'seed = "sedes"', 'seed = "sedes"'),
    "axis a truth": ('seed = "seeds"', "seed = true", "seed = true"),
    "hole of nothing": ('branch = "soup/{seed}"', 'branch = "soup/{sead}"', "{sead}"),
    "hole of another axis": ('branch = "soup/{seed}"', 'branch = "soup/{h}"', "{h}"),
    "hole in the table": ('models = ["soup/{seed}"]', 'models = ["soup/{h}"]', 'models = ["soup/{h}"]'),
    "table over nothing": ('over = "seed"', 'over = "sead"', None),
    "table without a task": ('[table]\ntask = "digits"\n', "[table]\n", None),
    "row without a name": ('name = "soup"\n', "", None),
    "row without models": ('models = ["soup/{seed}"]\n', "", None),
    "row that chooses oddly": ('choose = "best"', 'choose = "worst"', 'choose = "worst"'),
    "row that matches nothing": ('models = ["soup/{seed}"]', 'models = ["soap/{seed}"]', None),
    "task without a name": ('name = "pets"\n', "", None),
    "branch a number": ('branch = "soup/{seed}"', "branch = 5", None),
    "create no table": ('create = { arch = "digits_cnn", seed = "{seed}" }', "create = 5", "create ="),
    "start a number": ('from = "base/{seed}"\ntrain', "from = 5\ntrain", None),
    "start that nobody makes": ('from = "base/{seed}"\nmerge', 'from = "bass/{seed}"\nmerge', None),
    "start that comes later": ('from = "base/{seed}"\ntrain', 'from = "soup/{seed}"\ntrain', None),
    "start that is itself": ('from = "base/{seed}"\ntrain', 'from = "run/{seed}/{h}"\ntrain', None),
    "models that nobody makes": ('models = ["run/{seed}/*"], ', 'models = ["runs/*"], ', None),
    "models that are itself": ('models = ["run/{seed}/*"], ', 'models = ["soup/{seed}"], ', None),
    "two steps of one branch": ('branch = "run/{seed}/{h}"', 'branch = "run/{seed}"', None),
    "threads no number": ("threads = 1", 'threads = "one"', "threads"),
    "axes no table": ("[axes]\nseed", "[ax]\nseed", "ax"),
    "no TOML": ("[options]", "[options", None),
    "key twice": ("seeds = 2", "seeds = 2\nseeds = 3", None),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_with_its_line(make, tmp_path, case):
    old, new, word = MISTAKES[case]

    with pytest.raises(RecipeProblem) as caught:
        make((old, new))

    message = caught.value.message
    assert "small.toml" in message
    lines = (tmp_path / "small.toml").read_text().splitlines()
    if word is not None:
        number = re.search(r"line (\d+)", message)
        assert number is not None, message
        assert word in lines[int(number[1]) - 1], message


@pytest.mark.parametrize(
    "text",
    ["", "schema = 1", "schema = 1\nstep = 5", "schema = 1\nstep = [5]", "schema = 1\n[step]", "schema = 1\ntask = 5",
     "schema = 1\naxes = 5", "schema = 1\noptions = 5", "schema = 1\ntable = 5", "schema = 1\n[[step]]",
     "schema = 1\n[[step]]\nbranch = 'a'\ncreate = 5", "schema = 1\n[[step]]\nbranch = 'a'\ncreate = { seed = 5 }",
     "schema = 1\nname = 5\n[[step]]\nbranch = ['a']\ncreate = { arch = 'x' }", "schema = 1\n[table]\nrow = 5"],
)  # fmt: skip
def test_what_is_no_recipe_is_a_recipe_problem(tmp_path, text):
    (tmp_path / "bad.toml").write_text(text)

    with pytest.raises(RecipeProblem, match=r"bad\.toml"):
        read(tmp_path / "bad.toml")


@given(st.binary(max_size=60))
def test_garbage_is_a_recipe_problem(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("recipe") / "bad.toml"
    path.write_bytes(data)

    with pytest.raises(RecipeProblem):
        read(path)


def test_globs_match_earlier_steps_only_and_are_sorted(make):
    recipe = make(('models = ["run/{seed}/*"], ', 'models = ["*/1/*", "base/*", "run/0/?"], '))

    assert recipe.steps[-1].models == ("run/1/0", "run/1/1", "base/0", "base/1", "run/0/0", "run/0/1")


def test_a_setting_cannot_smuggle_in_another_hole(make):
    with pytest.raises(RecipeProblem):
        make(settings={"place": "{nothing}"})


def test_a_recipe_that_is_not_there_lists_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RecipeProblem, match="broth") as caught:
        find("broth")
    assert caught.value.hint is not None and "digits" in caught.value.hint
    with pytest.raises(RecipeProblem, match=r"mine\.toml"):
        find("mine.toml")


@pytest.mark.parametrize("name", ["/etc/passwd", "", ".", "digits/../digits", "digits"])
def test_a_name_does_not_choose_a_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "SHIPPED", (tmp_path / "shipped",))
    (tmp_path / "shipped").mkdir()
    (tmp_path / "digits.toml").write_text("outside")

    with pytest.raises(RecipeProblem):
        find(name)
