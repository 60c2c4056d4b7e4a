"""Figures over trials, as the papers print them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from wvc.recipes import Recipe, Row, Table
from wvc.verbs.measure import Seen
from wvc.verbs.table import Figure, Grid, grids


def table(*rows: Row, columns: tuple[str, ...] = ("art", "photo"), task: str = "pacs") -> Table:
    return Table(task, columns, rows)


def made(repository, *tables: Table, **seen: tuple[float | None, float | None]) -> list[Grid]:
    """seen: by branch, accuracies inside and outside in %."""
    recipe = Recipe("r", "", "", None, (), (), tables)

    def measured(look):
        inside, outside = seen[look.branches[0]]
        percent = lambda value: None if value is None else Fraction(value) / 100  # noqa: E731
        return Seen(percent(inside), percent(outside))

    return grids(repository, recipe, measured)


def test_the_error_is_the_population_deviation_over_the_root_of_n():
    figure = Figure.of([0.70, 0.72, 0.74])  # golden 6.13

    assert figure.mean == pytest.approx(0.72)
    assert figure.error == pytest.approx(0.00942809, abs=1e-8)


def test_one_trial_has_no_error():
    assert Figure.of([0.5]) == Figure(0.5, None)


def test_the_average_is_taken_within_each_trial():
    row = Row("soup", ((("a0",), ("a1",)), (("p0",), ("p1",))))

    (grid,) = made(None, table(row), a0=(90, 60), a1=(92, 70), p0=(80, 80), p1=(82, 90))

    (line,) = grid.lines
    assert [cell.mean for cell in line.cells] == [pytest.approx(0.65), pytest.approx(0.85)]
    assert line.average == Figure.of([0.7, 0.8])  # 0.75 with error 0.05 / sqrt 2
    assert line.average.error == pytest.approx(0.05 / 2**0.5)
    assert line.inside.mean == pytest.approx(0.86)
    assert (grid.columns, grid.trials) == (("art", "photo"), 2)


def test_the_best_by_validation_is_reported_out_of_distribution_and_the_first_wins_a_tie():
    row = Row("best", ((("a", "b", "c"),),), "best")

    (grid,) = made(None, table(row, columns=("art",)), a=(80, 10), b=(90, 20), c=(90, 30))

    assert grid.lines[0].cells[0] == Figure(0.2, None)
    assert grid.lines[0].inside == Figure(0.9, None)


def test_the_mean_over_branches():
    row = Row("mean", ((("a", "b"),),))

    (grid,) = made(None, table(row, columns=("",)), a=(80, 10), b=(90, 20))

    assert grid.lines[0].cells[0].mean == pytest.approx(0.15)
    assert grid.lines[0].inside.mean == pytest.approx(0.85)


def test_where_nothing_validates_there_is_no_figure_inside():
    row = Row("dagger", ((("a",),),))

    (grid,) = made(None, table(row, columns=("art",)), a=(None, 50))

    assert grid.lines[0].inside is None
    assert grid.lines[0].cells == (Figure(0.5, None),)


def test_several_tasks_have_their_averages_side_by_side():
    pacs = table(Row("soup", ((("a",),), (("b",),))), task="pacs")
    vlcs = table(Row("soup", ((("c",),), (("d",),))), task="vlcs")

    *_, together = made(None, pacs, vlcs, a=(1, 80), b=(1, 90), c=(1, 70), d=(1, 75))

    assert together.columns == ("pacs", "vlcs")
    assert [cell.mean for cell in together.lines[0].cells] == [pytest.approx(0.85), pytest.approx(0.725)]
    assert together.lines[0].average == Figure(pytest.approx(0.7875), None)
