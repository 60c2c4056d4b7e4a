"""The recipes that come with wvc: every strategy of the papers is one command."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from wvc.recipes import Facts, Recipe, find, read, shipped

RECYCLING = ("compare", "fusing", "inter-training", "ratatouille")


@pytest.fixture
def recipe(know: Callable[[str], Facts]) -> Callable[..., Recipe]:
    """Function (name, **settings) that reads one with data and auxiliaries."""

    def make(name: str, **settings: str) -> Recipe:
        data = {} if name == "digits" else {"data": "pacs"}
        aux = {"aux": "office,terra,vlcs,domainnet"} if name in RECYCLING else {}
        return read(find(name), {**data, **aux, **settings}, know)

    return make


def test_the_strategies_of_the_papers_are_there():
    assert set(shipped()) == {
        "compare", "deep-ensemble", "digits", "diwa", "erm", "fusing", "inter-training", "ma", "ratatouille", "soup",
        "swad", "wise-ft",
    }  # fmt: skip


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_reads(name: str, recipe: Callable[..., Recipe]):
    read = recipe(name)

    assert read.name == name
    assert read.summary and read.text and read.steps and read.tables[0].rows


@pytest.mark.parametrize("name", [name for name in shipped() if name != "digits"])
def test_every_recipe_takes_the_same_few_settings(name: str, recipe: Callable[..., Recipe]):
    read = recipe(
        name, steps="12", runs="2", trials="1", tests="art", batch_size="8", lr="1e-3", base="stem", limit="9"
    )

    runs = [step for step in read.steps if step.kind == "train" and step.branch.startswith("run/")]
    assert runs and read.steps[0].branch == "stem"
    assert all((step.options["steps"], step.options["limit"], step.options["lr"]) == (12, 9, 1e-3) for step in runs)
    assert read.tables[0].columns == ("art",)


@pytest.mark.parametrize(
    ("name", "trains", "merges"),
    [("erm", 240, 0), ("diwa", 240, 28), ("ratatouille", 240 + 16, 28), ("inter-training", 240 + 16, 0),
     ("fusing", 240 + 16, 0), ("deep-ensemble", 24, 0), ("ma", 240, 0), ("swad", 12, 0), ("soup", 80, 8),
     ("wise-ft", 12, 0), ("compare", 3 * 240 + 16, 48)],
)  # fmt: skip
def test_the_sizes_are_those_of_the_papers(name: str, trains: int, merges: int, recipe: Callable[..., Recipe]):
    kinds = Counter(step.kind for step in recipe(name).steps)

    assert (kinds["train"], kinds["merge"]) == (trains, merges)


def test_ratatouille_is_what_the_paper_does(recipe: Callable[..., Recipe]):
    read = recipe("ratatouille")

    steps = {step.branch: step for step in read.steps}
    starts = [steps[f"run/ratatouille/pacs/art/1/{h:02}"].start for h in range(20)]
    assert Counter(start.split("/")[0] for start in starts if start) == {"main": 4, "aux": 16}
    assert len(set(starts)) == 17, "every auxiliary run is recycled once"
    assert starts[1] == "aux/domainnet/01" and starts[9] == "aux/vlcs/01"
    assert len(steps["soup/ratatouille/pacs/art/all"].models) == 60
    assert "task" not in steps["soup/ratatouille/pacs/art/all"].options, "no image is left to validate on"
    assert all(step.options["keep"] == "last" for step in read.steps if step.branch.startswith("aux/"))


def test_the_targets_data_are_no_auxiliary(recipe: Callable[..., Recipe]):
    read = recipe("ratatouille", aux="pacs,office", trials="1", tests="art")

    starts = {step.start for step in read.steps if step.branch.startswith("run/")}
    assert not any(start and start.startswith("aux/pacs") for start in starts)


def test_the_probe_of_the_papers_is_an_option(recipe: Callable[..., Recipe]):
    probes = [step for step in recipe("ratatouille", probe="sgd").steps if step.kind == "probe"]

    assert len(probes) == 4 * 3 + 4
    assert all(step.options["probe"] == "sgd" for step in probes)


def test_wise_ft_goes_from_the_probe_to_the_run_in_eleven_points(recipe: Callable[..., Recipe]):
    read = recipe("wise-ft", trials="1", tests="art")

    blends = [step for step in read.steps if step.kind == "blend"]
    assert [step.options["coefficients"] for step in blends[:3]] == [["1", "0"], ["9/10", "1/10"], ["8/10", "2/10"]]
    assert blends[0].models == ("run/wise-ft/pacs/art/0/00@probe", "run/wise-ft/pacs/art/0/00")
    assert len(blends) == len(read.tables[0].rows) == 11


def test_the_digits_recipe_is_what_the_paper_does(recipe: Callable[..., Recipe]):
    read = recipe("digits")

    kinds = Counter(step.kind for step in read.steps)
    assert (kinds["create"], kinds["train"], kinds["merge"]) == (3, 3 + 9 + 24 + 18, 12)
    greedy = next(step for step in read.steps if step.branch == "ratatouille/greedy/2")
    assert greedy.models == ("run/2/0", "run/2/4", *(f"recycled/2/{h}" for h in (1, 2, 3, 5, 6, 7)))
    runs = [step for step in read.steps if step.branch.startswith(("run/", "recycled/"))]
    assert all(step.options["test_domains"] == ["0"] for step in runs)
    assert len({step.options["seed"] for step in runs}) == 24


def test_one_seed_is_a_third_of_the_digits_recipe(recipe: Callable[..., Recipe]):
    assert len(recipe("digits", seeds="1").steps) * 3 == len(recipe("digits").steps)


@pytest.mark.parametrize("name", shipped())
def test_every_option_is_used(name: str):
    text = find(name).read_text(encoding="utf-8")
    head, _, body = text.partition("[axes]")
    options = re.findall(r"^(\w+) = ", head.partition("[options]")[2], re.MULTILINE)

    assert [option for option in options if not re.search(rf'\{{{option}\}}|= "{option}"', body)] == []
