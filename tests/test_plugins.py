from __future__ import annotations

from pathlib import Path

import pytest

from wvc import plugins


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A door with files of every kind, none of which can be imported."""
    files = {
        "tag.py": '"""Module."""\nraise ImportError\ndef command():\n    """Function.\n\n    More.\n    """\n',
        "import_.py": '"""Take."""\nraise ImportError\n',
        "merge_base.py": "raise ImportError\n",
        "_words.py": '"""Private."""\n',
        "task/__init__.py": '"""Tasks."""\nraise ImportError\n',
        "task/add.py": '"""Add."""\n',
    }
    for name, text in files.items():
        (tmp_path / "commands" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "commands" / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "plugins.py"))
    return "wvc.commands"


def test_names_are_read_without_importing(door: str) -> None:
    assert plugins.names(door) == ["import", "merge-base", "tag", "task"]
    assert plugins.names(f"{door}.task") == ["add"]


def test_the_first_line_is_the_commands_own_else_the_modules(door: str) -> None:
    assert [plugins.first_line(door, name) for name in plugins.names(door)] == ["Take.", "", "Function.", "Tasks."]


def test_a_folder_is_a_group(door: str) -> None:
    assert [plugins.is_group(door, name) for name in ("tag", "task")] == [False, True]


@pytest.mark.parametrize("name", ["nothing", "_words", "task/add", "../plugins", "", "__init__", "tag.py"])
def test_what_is_not_behind_the_door_is_not_found(door: str, name: str) -> None:
    with pytest.raises(KeyError):
        plugins.load(door, name)


def test_load_imports(door: str) -> None:
    assert plugins.load("wvc.commands", "tag").__name__ == "wvc.commands.tag"
