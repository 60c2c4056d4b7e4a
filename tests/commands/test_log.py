from __future__ import annotations

import json

from .conftest import Run, Zoo


def test_log_shows_id_refs_author_date_kind_shares_score_and_subject(run: Run, zoo: Zoo) -> None:
    zoo.move("refs/tags/v1", zoo.names["soup"])
    zoo.score("soup", 9, 10)
    base, first, second = (zoo.names[name][:10] for name in ("base", "first", "second"))

    lines = run("log", "soup", "-n", "1").splitlines()

    assert lines == [
        f"{zoo.names['soup'][:10]} merge (soup, tag: v1)",
        "Ada, 2023-11-14 22:16:20 +0000, validation 90.0 %",
        f"0 of {base} + 1/2 of {first} + 1/2 of {second}",
        "    soup",
    ]


def test_log_begins_at_head_and_says_so(run: Run, zoo: Zoo) -> None:
    assert run("log", "--oneline") == f"{zoo.names['base'][:10]} (HEAD -> main) base\n"


def test_log_of_a_range_has_what_the_right_has_and_the_left_has_not(run: Run) -> None:
    shown = json.loads(run("log", "run/0..soup", "--json"))

    assert [entry["message"] for entry in shown] == ["soup", "second"]


def test_log_of_everything(run: Run) -> None:
    shown = json.loads(run("--json", "log", "--all"))

    assert [entry["message"] for entry in shown] == ["soup", "second", "first", "base"]
    assert shown[1]["refs"] == ["refs/heads/run/1"]


def test_log_graph(run: Run, zoo: Zoo) -> None:
    base, first, second, soup = (zoo.names[name][:10] for name in ("base", "first", "second", "soup"))

    assert run("log", "--graph", "--oneline", "soup").splitlines() == [
        f"*     {soup} (soup) soup",
        "├─┬─╮",
        f"│ │ * {second} (run/1) second",
        "├─│─╯",
        f"│ * {first} (run/0) first",
        "├─╯",
        f"* {base} (HEAD -> main) base",
    ]


def test_log_graph_of_a_range_leads_to_nothing_that_is_left_out(run: Run) -> None:
    assert run("log", "--graph", "--oneline", "main..run/0").startswith("* ")


def test_log_of_nothing_is_nothing(run: Run) -> None:
    assert run("log", "main..main") == ""
    assert run("log", "-n", "0") == ""


def test_log_of_a_ref_whose_commit_is_missing_reports_damage(run: Run, zoo: Zoo) -> None:
    zoo.move("refs/heads/gone", "0" * 64)

    code, _, err = run.all("log", "gone")

    assert (code, err.splitlines()[0]) == (1, "error: commit 000000000000 is missing")


def test_log_of_strangers_cannot_touch_the_terminal(run_hostile: Run) -> None:
    for options in ((), ("--oneline",), ("--graph",)):
        out = run_hostile("log", *options)

        assert not set(out) & set("\x1b\x9b\u202e")
        assert "[/red][31m[bold]txt" in out
