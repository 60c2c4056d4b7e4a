from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run


def test_config_sets_reads_lists_and_unsets(run: Run) -> None:
    assert run("config", "user.name", "Ada") == ""

    assert run("config", "user.name") == "Ada\n"
    assert run("config", "user") == "user.name = Ada\n"
    assert run("config", "--list") == "user.name = Ada\n"
    assert json.loads(run("config", "--json")) == {"user.name": "Ada"}
    run("config", "--unset", "user.name")
    assert run.all("config", "user.name")[0] == 1


def test_config_of_the_user_shines_through(run: Run, tmp_path: Path) -> None:
    run("config", "--global", "user.name", "Ada")

    assert run("config", "user.name") == "Ada\n"
    assert (tmp_path / "config" / "wvc" / "config.toml").read_text() == '[user]\nname = "Ada"\n'
    run("config", "user.name", "Grace")
    assert run("config", "--list") == "user.name = Grace\n"
    assert run("config", "--global", "--list") == "user.name = Ada\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "x"),
        ("a.", "x"),
        ("--list", "a.b"),
        ("--unset", "a.b", "c"),
        ("user.name.x", "y"),
        ("remotes.origin", "x"),
    ],
)
def test_config_refuses_what_would_break_it(run: Run, arguments: tuple[str, ...]) -> None:
    run("config", "user.name", "Ada")
    run("config", "remotes.origin.url", "/x")

    assert run.all("config", *arguments)[0] == 2
    assert run("config", "--list") == "user.name = Ada\nremotes.origin.url = /x\n"
