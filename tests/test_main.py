from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import wvc
from wvc import console, main
from wvc.errors import CorruptObject, Interrupted, WvcError


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let `wvc log` raise what it is given."""

    def failing(error: BaseException) -> None:
        def command() -> None:
            raise error

        monkeypatch.setattr("wvc.commands.log.command", command)

    monkeypatch.chdir(tmp_path)
    return failing


def wvc_in_a_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-m", "wvc", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_help_shows_the_commands_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--help"]) == 0

    out = capsys.readouterr().out
    assert out.index("start:") < out.index("work:") < out.index("look:")
    assert "  log " in out
    assert "Show the history of commits\n" in out


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 0
    assert "look:" in capsys.readouterr().out


def test_a_command_in_no_group_comes_last(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main, "GROUPS", {"look": "log"})

    main.run(["--help"])

    out = capsys.readouterr().out
    assert out.index("look:") < out.index("more:") < out.index("  status ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"wvc {wvc.__version__}\n"
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == wvc.__version__


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["lgo"], "unknown command 'lgo'", "did you mean `wvc log`?"),
        (["xyzzy"], "unknown command 'xyzzy'", "run `wvc --help`"),
        (["task", "ad"], "unknown command 'ad'", "did you mean `wvc task add`?"),
        (["task"], "missing command", "run `wvc task --help`"),
        (["--nope"], "no such option", "run `wvc --help`"),
        (["switch"], None, "run `wvc switch --help`"),
        (["log", "-n", "x"], None, "run `wvc log --help`"),
        (["_words"], "unknown command '_words'", None),
        (["-C", "/nonexistent", "log"], "cannot go to /nonexistent: no such file or folder", None),
    ],
)
def test_wrong_usage_is_one_error_one_hint_and_exit_2(
    arguments: list[str], error: str | None, hint: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith(f"error: {error or ''}")
    assert hint is None or lines[1:] == [f"hint: {hint}"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (WvcError("no", "yes"), 1, "error: no\nhint: yes\n"),
        (CorruptObject("a" * 64), 1, "error: object aaaaaaaaaaaa does not match its hash\n"),
        (Interrupted("stopped; saved"), 130, "error: stopped; saved\n"),
        (typer.Exit(3), 3, ""),
        (OSError(errno.ENOSPC, "x", "/disk/file"), 1, "error: /disk/file: no space left on the disk\n"),
        (PermissionError(errno.EACCES, "x", "/etc/file"), 1, "error: /etc/file: permission denied\n"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 1, "error: Connection refused\n"),
        (KeyError("x"), 1, "error: internal error: KeyError: 'x'\nhint: set WVC_TRACEBACK=1 to see where"),
    ],
)
def test_every_error_is_a_line_and_an_exit_code(
    error: BaseException,
    code: int,
    text: str,
    door: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    door(error)

    assert main.run(["log"]) == code
    assert capsys.readouterr().err.startswith(text)


def test_ctrl_c_is_said_in_a_word(door: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]) -> None:
    door(KeyboardInterrupt())

    assert main.run(["log"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted"


def test_a_traceback_is_shown_on_request(
    door: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    door(KeyError("x"))
    monkeypatch.setenv("WVC_TRACEBACK", "1")

    main.run(["log"])

    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_json_is_understood_before_and_after_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--json", "log"], ["log", "--json"]):
        console.use_json(False)
        assert main.run(["-C", str(tmp_path), *arguments]) == 1
        assert json.loads(capsys.readouterr().err)["error"].startswith("not a wvc repository")
    console.use_json(False)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("--json", "--version")])
def test_a_reader_who_leaves_is_no_error(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    made = subprocess.run(
        [sys.executable, "-m", "wvc", *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)

    assert made.stderr == ""


@pytest.mark.parametrize(
    ("words", "position", "wanted"),
    [
        ("wvc lo", "1", ["log"]),
        ("wvc merge-", "1", ["merge-base"]),
        ("wvc log --on", "2", ["--oneline"]),
        ("wvc task ver", "2", ["verify"]),
    ],
)
def test_the_shell_completes(words: str, position: str, wanted: list[str]) -> None:
    made = wvc_in_a_process(_WVC_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=position)

    assert made.stdout.split() == wanted


def test_a_name_that_the_terminal_cannot_spell_is_no_error(tmp_path: Path) -> None:
    made = wvc_in_a_process("-C", str(tmp_path / "Ж"), "log", PYTHONIOENCODING="ascii")

    assert made.returncode == 2
    assert made.stderr.startswith("error: cannot go to ")


def test_the_package_gives_its_doors_on_demand() -> None:
    code = (
        "import sys, wvc; heavy = {'torch', 'sqlalchemy', 'typer', 'rich'} & set(sys.modules);"
        "print(sorted(heavy), wvc.Repository.__name__, wvc.__version__);"
        "import pytest\nwith pytest.raises(AttributeError): wvc.nothing"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert made.stdout == f"[] Repository {wvc.__version__}\n"
