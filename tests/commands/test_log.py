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


def test_log_of_tensors_shows_the_commits_that_set_them(run: Run, zoo: Zoo) -> None:
    zoo.commit("same", "soup", ["soup"], number=zoo.numbers["soup"])

    assert subjects(run("log", "--json", "soup")) == ["same", "soup", "second", "first", "base"]
    assert subjects(run("log", "--json", "soup", "--", "layer.*")) == ["soup", "second", "first", "base"]
    assert subjects(run("log", "--json", "soup", "-n", "2", "--", "layer.weight")) == ["soup", "second"]
    assert subjects(run("log", "--json", "main..soup", "--tensors", "*")) == ["soup", "second", "first"]
    assert subjects(run("log", "--json", "--", "*.weight")) == ["base"]
    assert subjects(run("log", "--json", "--all", "--", "*")) == ["soup", "second", "first", "base"]


def test_log_graph_of_tensors_leads_over_what_is_left_out(run: Run, zoo: Zoo) -> None:
    for name in ("one", "two"):
        zoo.commit(name, "main", ["base" if name == "one" else "one"], number=zoo.numbers["base"])
    zoo.commit("three", "main", ["two"])
    base, three = (zoo.names[name][:10] for name in ("base", "three"))

    assert run("log", "--graph", "--oneline", "--", "layer.*").splitlines() == [
        f"* {three} (HEAD -> main) three",
        f"* {base} base",
    ]


def test_log_of_two_dashes_and_nothing_is_the_whole_log(run: Run) -> None:
    assert run("log", "soup", "--") == run("log", "soup")


def test_log_of_an_empty_range_needs_no_tensors(run: Run) -> None:
    assert run("log", "main..main", "--", "nothing") == ""


def test_log_of_a_tensor_that_no_commit_has(run: Run) -> None:
    assert run.all("log", "--", "layer.wieght")[::2] == (
        1,
        "error: no tensor is called 'layer.wieght'\nhint: did you mean 'layer.weight'?\n",
    )


def test_log_of_a_tensor_whose_name_begins_with_a_dash(run: Run) -> None:
    assert run.all("log", "--", "-n", "--all")[2].startswith("error: no tensor is called '-n'\n")


def test_log_of_a_tensor_in_place_of_a_revision_says_where_tensors_stand(run: Run) -> None:
    def hint(*words: str) -> str:
        code, _, err = run.all("log", *words)
        assert code == 1 and "unknown revision" in err
        return err.splitlines()[1]

    assert hint("layer.*") == "hint: tensors are called so: `wvc log -- 'layer.*'`"
    assert hint("soup", "layer.weight") == "hint: tensors are called so: `wvc log soup -- layer.weight`"
    assert hint("layer") == "hint: tensors are called so: `wvc log -- 'layer.*'`"
    assert hint("nothing") == "hint: run `wvc branch` and `wvc log` to see what there is"


def test_log_help_shows_where_tensors_stand(run: Run) -> None:
    assert "[REV|A..B]... [-- GLOB...]" in run("log", "--help")


def subjects(text: str) -> list[str]:
    return [entry["message"] for entry in json.loads(text)]
