"""The tables of a recipe, in every form."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from wvc.commands import _grids
from wvc.commands._grids import as_csv, as_json, as_tex, as_text, headings, text, write
from wvc.verbs.table import Figure, Grid, Line


@pytest.fixture
def grid() -> Grid:
    soup = Line("soup, 50 %", Figure(0.97149, 0.004), (Figure(0.90149, 0.0021), Figure(0.4, 0.01)), Figure(0.65, 0.006))
    dagger = Line("all & more", None, (Figure(0.9, None), None), None)
    return Grid("diwa", "pacs_64", ("art", "photo"), 3, (soup, dagger))


def test_figures_have_one_decimal_and_no_error_where_there_is_one_trial():
    assert text(Figure(0.90149, 0.0021)) == "90.1 ± 0.2"
    assert text(Figure(0.90149, None)) == "90.1"
    assert text(None) == ""


def test_a_terminal_shows_domains_as_columns(grid: Grid):
    assert headings(grid) == ["ID", "art", "photo", "Avg"]
    assert as_text([grid]).splitlines() == [
        "pacs_64             ID         art       photo         Avg",
        "soup, 50 %  97.1 ± 0.4  90.1 ± 0.2  40.0 ± 1.0  65.0 ± 0.6",
        "all & more                    90.0",
    ]


def test_latex_needs_no_escape_from_a_name(grid: Grid):
    lines = as_tex([grid]).splitlines()

    assert lines[0] == r"\begin{tabular}{lcccc}"
    assert lines[1] == r"pacs\_64 & ID & art & photo & Avg \\"
    assert lines[3] == r"soup, 50 \% & $97.1 \pm 0.4$ & $90.1 \pm 0.2$ & $40.0 \pm 1.0$ & $65.0 \pm 0.6$ \\"
    assert lines[4] == r"all \& more &  & $90.0$ &  &  \\"
    assert lines[5] == r"\end{tabular}"


def test_csv_has_a_line_for_each_figure_unrounded(grid: Grid):
    rows = list(csv.DictReader(io.StringIO(as_csv([grid]))))

    assert len(rows) == 5
    assert rows[1] == {
        "recipe": "diwa", "task": "pacs_64", "row": "soup, 50 %", "column": "art", "mean": "0.90149",
        "error": "0.0021", "trials": "3",
    }  # fmt: skip
    assert (rows[4]["row"], rows[4]["error"], rows[4]["trials"]) == ("all & more", "", "1")


def test_json_can_be_read_back(grid: Grid):
    (value,) = json.loads(as_json([grid]))

    assert value["columns"] == ["art", "photo"]
    assert value["lines"][0]["cells"][1] == {"mean": 0.4, "error": 0.01}
    assert value["lines"][1]["inside"] is None


@pytest.mark.parametrize("end", _grids.FORMATS)
def test_the_name_of_the_file_decides(grid: Grid, tmp_path: Path, end: str):
    write(tmp_path / f"table{end}", [grid])

    assert (tmp_path / f"table{end}").read_text() == _grids.FORMATS[end]([grid])
