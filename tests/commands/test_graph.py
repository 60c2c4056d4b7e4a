from __future__ import annotations

import pytest

from wvc.commands._graph import draw

CASES = {
    "a line": (
        "ba a",
        """
        * b
        * a
        """,
    ),
    "a fork and a merge": (
        "mxy xa ya a",
        """
        *   m
        ├─╮
        * │ x
        │ * y
        ├─╯
        * a
        """,
    ),
    "a ratatouille: HEAD with coefficient 0, and five ingredients": (
        "Sm01234 0m 1m 2m 3m 4m m",
        """
        *           S
        ├─┬─┬─┬─┬─╮
        │ * │ │ │ │ 0
        ├─╯ │ │ │ │
        │   * │ │ │ 1
        ├───╯ │ │ │
        │     * │ │ 2
        ├─────╯ │ │
        │       * │ 3
        ├───────╯ │
        │         * 4
        ├─────────╯
        * m
        """,
    ),
    "the same with the youngest ingredient first, as a log has them": (
        "Sm01 1m 0m m",
        """
        *     S
        ├─┬─╮
        │ │ * 1
        ├─│─╯
        │ * 0
        ├─╯
        * m
        """,
    ),
    "a merge of what other columns lead to": (
        "Tx Uy mxyz xa za ya a",
        """
        * T
        │ * U
        │ │ * m
        ├─┼─┤
        * │ │ x
        │ │ * z
        ├─│─╯
        │ * y
        ├─╯
        * a
        """,
    ),
    "two roots are not parent and child": (
        "a b cd d",
        """
        * a
          * b
        * c
        * d
        """,
    ),
    "a parent named twice has one line": (
        "maa a",
        """
        * m
        * a
        """,
    ),
    "a line behind another": (
        "Pq Xab qb a b",
        """
        * P
        │ *   X
        │ ├─╮
        * │ │ q
        ╰─│─┤
          * │ a
            * b
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_graph_is_drawn_as_by_hand(name: str) -> None:
    commits, wanted = CASES[name]
    pairs = [(word[0], list(word[1:])) for word in commits.split()]

    lines = [line for (id, _), drawn in zip(pairs, draw(pairs), strict=True) for line in drawn.beside([id])]

    assert lines == [line[8:].rstrip() for line in wanted.strip("\n").split("\n")[:-1]]


def test_text_stands_beside_the_lines_that_lead_on() -> None:
    merge, *_ = draw([("m", ["x", "y"]), ("x", []), ("y", [])])

    assert merge.beside(["m", "by Ada", "last"]) == ["*   m", "├─╮ by Ada", "│ │ last"]


def test_a_long_history_costs_no_recursion() -> None:
    commits = [(str(i), [str(i - 1)]) for i in range(5000, 0, -1)]

    assert [drawn.rows for drawn in draw(commits)] == [("*",)] * 5000
