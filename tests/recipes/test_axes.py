"""Axes of datasets and of domains, pools, and what an option that is not given leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wvc.errors import RecipeProblem
from wvc.recipes import Facts, Recipe, Task, read

WIDE = """\
schema = 1
name = "wide"
[options]
data = []
tests = []
aux = ["office", "dtd"]
runs = 4
steps = ""
fast = false
[axes]
target = { tasks = "data" }
test = { domains = "target", only = "tests" }
aux = { tasks = "aux" }
member = 2
run = "runs"
trial = 2
[[step]]
branch = "main"
reuse = true
create = { arch = "", weights = "pretrained" }
[[step]]
branch = "aux/{aux}/{member:02}"
each = ["aux", "member"]
from = "main"
train = { task = "{aux}", steps = "{steps}" }
[[step]]
branch = "run/{target}/{test_slug}/{trial}/{run:02}"
each = ["target", "test", "trial", "run"]
from = "main"
pool = { axis = "aux", branches = "aux/{aux}/*", turn = "{run}", except = "{target}" }
train = { task = "{target}", test_domains = ["{test}"], steps = "{steps}", val_augment = "{fast}" }
[[step]]
branch = "fused/{target}/{test_slug}/{trial}/{run:02}"
each = ["target", "test", "trial", "run"]
from = "main"
pool = { axis = "aux", branches = "aux/{aux}/*", turn = "{run}", except = "{target}" }
blend = { models = ["main"], fuse = "{run}" }
[table]
each = ["target"]
task = "{target}"
columns = "test"
over = "trial"
[[table.row]]
name = "run {run}"
each = ["run"]
models = ["run/{target}/{test_slug}/{trial}/{run:02}"]
[[table.row]]
name = "all"
models = ["run/{target}/{test_slug}/*"]
ensemble = "logit"
test = "in"
"""

Know = Callable[[str], Facts]
Make = Callable[..., Recipe]


@pytest.fixture
def make(tmp_path: Path, know: Know) -> Make:
    """Function (**settings) that reads the wide recipe."""
    (tmp_path / "wide.toml").write_text(WIDE)
    return lambda know=know, **settings: read(tmp_path / "wide.toml", settings, know)


def starts(recipe: Recipe) -> dict[str, str | None]:
    return {step.branch: step.start for step in recipe.steps if step.branch.startswith("run/")}


def test_every_domain_is_held_out_in_turn_and_its_name_fits_into_a_branch(make: Make):
    recipe = make(data="pacs")

    assert {branch.split("/")[2] for branch in starts(recipe)} == {"art", "cartoon", "Real_World", "sketch"}
    held = [step.options["test_domains"] for step in recipe.steps if step.branch.startswith("run/pacs/Real_World/")]
    assert held == [["Real World"]] * 8
    assert recipe.tables[0].columns == ("art", "cartoon", "Real World", "sketch")


def test_only_the_domains_that_are_named_are_held_out(make: Make):
    assert make(data="pacs", tests="art, sketch").tables[0].columns == ("art", "sketch")
    assert make(data="pacs", tests="none").tables[0].columns == ("none",)
    with pytest.raises(RecipeProblem, match="no domain 'photo'"):
        make(data="pacs", tests="photo")


def test_of_a_single_domain_none_is_held_out(make: Make):
    assert make(data="dtd").tables[0].columns == ("none",)


def test_several_tasks_have_a_table_each(make: Make):
    recipe = make(data="pacs,vlcs")

    assert [(table.task, len(table.columns)) for table in recipe.tables] == [("pacs", 4), ("vlcs", 2)]


def test_a_run_starts_from_the_foundation_and_the_pools_in_turn(make: Make):
    recipe = make(data="pacs", tests="art")

    of_trial_0 = [start for branch, start in starts(recipe).items() if branch.startswith("run/pacs/art/0/")]
    assert of_trial_0 == ["main", "aux/dtd/01", "aux/office/00", "main"]


def test_a_pool_with_the_targets_data_is_left_out_whatever_it_is_called(make: Make):
    recipe = make(data="textures/dtd", tests="none")

    of_trial_0 = [start for branch, start in starts(recipe).items() if branch.startswith("run/textures/none/0/")]
    assert of_trial_0 == ["main", "aux/office/01", "main", "aux/office/01"]


def test_fusing_takes_one_of_each_pool(make: Make):
    recipe = make(data="pacs", tests="art")

    fused = [step.models for step in recipe.steps if step.branch.startswith("fused/pacs/art/0/")]
    assert fused == [("main", f"aux/dtd/0{h % 2}", f"aux/office/0{h % 2}") for h in range(4)]


def test_what_is_the_same_in_all_trials_is_one_measurement(make: Make):
    *runs, together = make(data="pacs", tests="art").tables[0].rows

    assert [row.name for row in runs] == ["run 0", "run 1", "run 2", "run 3"]
    assert runs[1].cells == ((("run/pacs/art/0/01",), ("run/pacs/art/1/01",)),)
    assert [len(branches) for branches in together.cells[0]] == [8]
    assert (together.ensemble, together.test) == ("logit", "in")


def test_an_empty_option_is_not_given_and_a_truth_is_one(make: Make):
    steps = [step for step in make(data="pacs", tests="art").steps if step.kind == "train"]
    given = [step for step in make(data="pacs", tests="art", steps="7", fast="yes").steps if step.kind == "train"]

    assert all("steps" not in step.options for step in steps) and steps[-1].options["val_augment"] is False
    assert all(step.options["steps"] == 7 for step in given) and given[-1].options["val_augment"] is True
    with pytest.raises(RecipeProblem, match="fast=perhaps"):
        make(data="pacs", fast="perhaps")


def test_data_that_nobody_named_are_asked_for(make: Make):
    with pytest.raises(RecipeProblem, match="which data") as caught:
        make()
    assert "--set data=PATH" in str(caught.value.hint)
    with pytest.raises(RecipeProblem, match="needs data"):
        make(know=None, data="pacs")


def test_two_datasets_of_one_name_are_refused(make: Make):
    def know(item: str) -> Facts:
        return Facts(Task("pets", path=item), ("a", "b"), item)

    with pytest.raises(RecipeProblem, match="two datasets are called 'pets'"):
        make(know=know, data="one,two")


def test_data_that_are_no_task_yet_are_to_be_added(make: Make):
    def know(item: str) -> Facts:
        return Facts(Task(item.strip("./"), path=item), ("a", "b"), item)

    assert [(task.name, task.path) for task in make(know=know, data="./pets").tasks] == [
        ("pets", "./pets"), ("office", "office"), ("dtd", "dtd"),
    ]  # fmt: skip
