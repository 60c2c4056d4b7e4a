"""reproduction.md leaves no row of the papers out, and its commands can be run as they stand."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from wvc import main, plugins, recipes
from wvc.recipes import Facts, Task

PAGE = Path(__file__).parents[1] / "docs" / "reproduction.md"
STATES = ("works", "works, data not public here", "not yet")
# Of each part of the papers, how many rows and figures it has.
PARTS = {
    **dict.fromkeys(("T1", "T3", "T4", "T5", "T6", "T7"), 16),
    **{"E1": 5, "E2": 5, "E3": 9, "E4": 7, "E5": 4, "E6": 10, "E7": 15, "E8": 18, "E9": 14, "E10": 7},
}
LETTERS = {"B": 4, "C": 75, "D": 54, "F": 65, "G": 40}


def rows() -> list[list[str]]:
    """The cells of every row of the tables that have ids."""
    text = PAGE.read_text(encoding="utf-8")
    tables = re.findall(r"^\| ids \|.*\n\|---\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def ids(cell: str) -> Iterator[str]:
    """Those that "C4-C7" or "E3.6, E3.7" names."""
    for part in cell.split(", "):
        first, _, last = part.partition("-")
        stem, begin = re.fullmatch(r"(\D+(?:\d+\.)?)(\d+)", first).groups()  # type: ignore[union-attr]
        end = last.removeprefix(stem) or begin
        yield from (f"{stem}{number}" for number in range(int(begin), int(end) + 1))


def commands() -> list[str]:
    """Every command on the page, in a block or in a line, with FIVE written out."""
    text = PAGE.read_text(encoding="utf-8").replace("FIVE", "pacs,vlcs,office-home,terra,domainnet")
    lines = [line for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
    lines += re.findall(r"`(wvc [^`]+)`", text)
    return sorted({command.strip() for line in lines for command in line.split("&&") if "wvc " in command})


def test_no_row_of_the_papers_is_left_out_or_named_twice() -> None:
    expected = {f"{part}.{i}" for part, n in PARTS.items() for i in range(1, n + 1)}
    expected |= {f"{letter}{i}" for letter, n in LETTERS.items() for i in range(1, n + 1)}

    found = Counter(id for row in rows() for id in ids(row[0]))

    assert len(expected) == 428
    assert set(found) == expected
    assert [id for id, times in found.items() if times > 1] == []


def test_every_row_has_a_command_or_a_reason() -> None:
    for first, what, command, state in rows():
        assert what, first
        name, _, reason = state.partition(": ")
        assert name in STATES, first
        assert bool(reason) == (name == "not yet"), first
        assert bool(command) == (name != "not yet"), first


def test_what_a_row_refers_to_works_itself() -> None:
    states = {id: row[3] for row in rows() for id in ids(row[0])}

    for first, _, command, _ in rows():
        for id in re.findall(r"\b[A-GT]\d+(?:\.\d+)?\b", re.sub(r"`[^`]*`", "", command)):
            assert not states.get(id, "").startswith("not yet"), (first, id)


def test_rows_that_are_named_are_rows_of_the_recipe() -> None:
    cells = {id: row[2] for row in rows() for id in ids(row[0])}
    named = {id: re.findall(r'row "([^"]+)"', cell) for id, cell in cells.items()}

    for id, names in named.items():
        if names:
            (other,) = re.findall(r"as ([ET][\d.]+),", cells[id]) or [id]
            (cook,) = re.findall(r"wvc cook ([\w-]+)", cells[other])
            text = recipes.find(cook).read_text(encoding="utf-8")
            assert set(names) <= {row["name"] for row in tomllib.loads(text)["table"]["row"]}, id

    assert len([names for names in named.values() if names]) >= 80


def know(item: str) -> Facts:
    """Any dataset, by hearsay."""
    name = item.removesuffix(".tar")
    return Facts(Task(name, path=item), ("Art", "art_painting", "photo"), name, (10, 10, 10), 64)


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_wvc_understands(line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if word != "--json"]
    door = main.DOOR
    while plugins.is_group(door, words[0]):
        door, words = f"{door}.{words[0]}", words[1:]
    assert words[0] in plugins.names(door)
    command = main.Command(name=words[0])
    command.door = door

    params = command.make_context(words[0], words[1:]).params

    if words[0] == "cook":
        settings = dict(text.split("=", 1) for text in params["set_"] or [])
        assert recipes.read(recipes.find(params["recipe"]), settings, know).steps
