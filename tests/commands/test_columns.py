from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.text import Text

from wvc.commands._columns import columns, shortened, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"),
        (5 * 2**30, "5.0 GiB"), (2**50, "1.0 PiB"), (2**60, "1024.0 PiB"), (-2048, "-2.0 KiB"),
    ],
)  # fmt: skip
def test_sizes_as_people_read_them(count: int, text: str) -> None:
    assert size(count) == text


def test_columns_are_aligned_to_the_side_that_is_asked_for() -> None:
    assert columns([["a", "1", "x"], ["bbb", "22", "y"]], right={1}) == ["a     1  x", "bbb  22  y"]


def test_wide_characters_take_two_places() -> None:
    lines = columns([["重み", "x"], ["abcde", "x"]])

    assert {cell_len(line) for line in lines} == {8}


def test_brackets_and_line_ends_stay_text_in_one_line() -> None:
    (line,) = columns([["[red]a[/]", "b\n\x1b[31mc"]], styles={0: "yellow"})

    assert Text.from_markup(line).plain == "[red]a[/]  b [31mc"


def test_long_text_is_cut() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
