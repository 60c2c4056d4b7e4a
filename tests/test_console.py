from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wvc import console
from wvc.errors import UnknownRevision, WvcError
from wvc.progress import SILENT
from wvc.repo.objects import Commit


@dataclass
class Facts:
    share: Fraction
    place: Path
    names: set[str]


@pytest.fixture
def json_mode() -> object:
    console.use_json(True)
    yield
    console.use_json(False)


def test_show_prints_what_render_makes(capsys: pytest.CaptureFixture[str]) -> None:
    console.show(3, lambda n: f"[bold]{n}[/] models")

    assert capsys.readouterr() == ("3 models\n", "")


def test_show_prints_nothing_for_an_empty_render(capsys: pytest.CaptureFixture[str]) -> None:
    console.show([], "\n".join)

    assert capsys.readouterr() == ("", "")


def test_long_lines_and_wide_tables_are_whole_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a", "b", box=None)
    table.add_row("x" * 300, "y" * 300)

    console.show("z" * 500, str)
    console.show(table, lambda table: table)

    out = capsys.readouterr().out
    assert "z" * 500 in out
    assert "x" * 300 in out and "y" * 300 in out


@pytest.mark.usefixtures("json_mode")
def test_json_of_facts(capsys: pytest.CaptureFixture[str]) -> None:
    facts = Facts(Fraction(1, 3), Path("/data"), {"b", "a"})
    console.show([facts, float("inf"), 0.5, None, "\x1b\u202e"], str)

    out = capsys.readouterr().out
    assert json.loads(out) == [{"share": "1/3", "place": "/data", "names": ["a", "b"]}, "inf", 0.5, None, "\x1b\u202e"]
    assert out.isascii() and "\x1b" not in out


@pytest.mark.usefixtures("json_mode")
def test_json_of_an_object_has_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    commit = Commit("0" * 64, "1" * 64, (), "Ada", 0, 1, "base", {"kind": "import"})

    console.show(commit, str)

    assert json.loads(capsys.readouterr().out) == {"id": commit.id, **commit.json()}


@pytest.mark.usefixtures("json_mode")
def test_json_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    console.fail(UnknownRevision("x", "y"))

    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": "unknown revision 'x'", "hint": "did you mean 'y'?"}


def test_what_json_cannot_say_is_an_error() -> None:
    with pytest.raises(TypeError):
        console.plain(object())


def test_asides_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("starting")
    console.warn("no [bold]GPU[/]")
    console.fail(WvcError("bad [thing]", "do [/this]"))
    console.fail(WvcError("no help"))

    out, err = capsys.readouterr()
    assert out == ""
    assert err == "starting\nwarning: no GPU\nerror: bad [thing]\nhint: do [/this]\nerror: no help\n"


def shown(markup: str) -> str:
    return Text.from_markup(markup, emoji=False).plain


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\\\u2028\u2029" + "".join(console.BIDI)))
)
def test_safe_text_is_shown_as_it_is(text: str) -> None:
    assert shown(console.safe(text)) == text


@given(st.text("ab[]/\\@# =bold\n\x1b"), st.text("ab[]/\\@# =bold\n\x1b"))
def test_safe_text_never_becomes_markup(one: str, two: str) -> None:
    text = Text.from_markup(f"[red]{console.safe(one)}[/] [green]{console.safe(two)}[/]", emoji=False)

    assert sorted(str(span.style) for span in text.spans) == ["green", "red"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\x1b[31mb", "a[31mb"),
        ("a\nb\tc\u2028d\x85e", "a b c d e"),
        ("a\u202eb\u2066c\u200f", "abc"),
        ("\x00\x07\x9b2J", "2J"),
        ("\udcff", "\ufffd"),
        (":smile: [/] [bold]", ":smile: [/] [bold]"),
        ("Ünïcödé 模型 🐀", "Ünïcödé 模型 🐀"),
        (3, "3"),
    ],
)
def test_safe_text_cannot_control_a_terminal(text: object, wanted: str) -> None:
    assert shown(console.safe(text)) == wanted


def test_lines_keeps_lines_apart() -> None:
    assert console.lines("a\nb[c]\n") == ["a", "b\\[c]"]


def test_progress_is_silent_where_nobody_looks() -> None:
    assert console.progress() is SILENT


@pytest.mark.parametrize(
    ("unit", "total", "wanted"), [("B", 2_000_000, "1.0 MB of 2.0 MB"), ("images", 2_000_000, "1000000/2000000 images")]
)
def test_bars_count_in_the_unit_of_the_work(unit: str, total: int, wanted: str) -> None:
    out = io.StringIO()
    bars = console.Bars(Console(file=out, force_terminal=True, width=200))

    bars.start("copying [x]", total, unit)
    bars.advance(1_000_000, note="step [7]")
    bars.stop()
    bars.advance()  # what comes too late does no harm
    bars.stop()

    text = Text.from_ansi(out.getvalue()).plain
    assert wanted in text
    assert "copying [x]" in text and "step [7]" in text


def test_no_color_is_respected_and_asides_keep_the_bars() -> None:
    code = (
        "from wvc import console; p = console.progress(); p.start('work', 2); p.advance();"
        "console.note('[red]said[/]'); console.stop()"
    )
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
        environment = {**plain, "FORCE_COLOR": "1", "TERM": "xterm-256color", **variables}
        made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert "said" in made.stderr
        assert ("\x1b[31m" in made.stderr) == coloured
