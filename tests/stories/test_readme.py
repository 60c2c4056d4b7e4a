"""The README's tour, command by command as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import Shell

README = Path(__file__).parents[2] / "README.md"


def tour() -> list[str]:
    """The commands of the tour, with the runs that it only mentions."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    at = commands.index("wvc switch -c soup main")
    run = [command for command in commands[:at] if "run/0" in command or "--seed 0" in command]
    more = [re.sub(r"run/0|--seed 0", lambda m, i=i: m[0][:-1] + str(i), c) for i in (1, 2, 3) for c in run]
    return [*commands[:at], *more, *commands[at:]]


def test_the_tour_works_as_it_stands(sh: Shell):
    for command in tour():
        if command.startswith("cd "):
            sh.cd(command.removeprefix("cd "))
        else:
            answer = sh(command)
            if "--select" in command:
                assert "accepted" in answer.out

    assert (sh.folder / "zoo" / "soup.safetensors").is_file()
    assert (sh.folder / "copy" / ".wvc").is_dir()
