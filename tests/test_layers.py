"""The layers of the house, as imports and as processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "ray", "matplotlib", "sklearn", "scipy", "timm")
# Prints the heavy modules that are loaded after each of the command lines in argv.
WATCH = """
import sys
from wvc import main
for line in sys.argv[1:]:
    main.run(line.split())
    print("@", line, sorted(set(sys.modules) & set({heavy})))
""".replace("{heavy}", repr(HEAVY))


def loaded(*lines: str) -> dict[str, str]:
    """Command line -> the heavy modules that are loaded after it, all in one fresh process."""
    made = subprocess.run([sys.executable, "-c", WATCH, *lines], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "internal error" not in made.stderr, made.stderr
    found = [line[2:].rpartition(" [") for line in made.stdout.splitlines() if line.startswith("@ ")]
    return {line: "[" + heavy for line, _, heavy in found}


def commands() -> list[str]:
    """Every command, the ones in groups too."""
    from wvc import plugins

    found = []
    for name in plugins.names("wvc.commands"):
        inside = plugins.names(f"wvc.commands.{name}") if plugins.is_group("wvc.commands", name) else []
        found += [name, *(f"{name} {command}" for command in inside)]
    return found


def test_imports_keep_to_the_layers() -> None:
    made = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert made.returncode == 0, made.stdout + made.stderr


def test_no_help_loads_what_is_heavy() -> None:
    lines = ["--help", *(f"{command} --help" for command in commands())]

    assert loaded(*lines) == dict.fromkeys(lines, "[]")


@pytest.mark.parametrize("command", ["log", "status", "branch", "show", "lineage", "diff HEAD HEAD"])
def test_commands_that_look_load_nothing_heavy(command: str, tmp_path: Path) -> None:
    make = "import sys; from pathlib import Path; from wvc.repo.repository import create; "
    make += "from wvc.store.records import Draft; "
    make += "create(Path(sys.argv[1]), Draft('init', 'Ada', 0))"
    subprocess.run([sys.executable, "-c", make, str(tmp_path / "zoo")], check=True, cwd=ROOT)
    line = f"-C {tmp_path / 'zoo'} {command}"

    assert loaded(line) == {line: "[]"}
