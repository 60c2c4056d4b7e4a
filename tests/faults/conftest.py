"""Programs that run under calls.c, in memory-backed storage if there is any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .calls import Unusable, check, compile, environment

CHECKOUT = Path(__file__).parents[2]


class Program:
    """`program("crash", ...)` runs crash.py of this folder and returns what it found."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library, self._folder = library, folder

    def __call__(self, module: str, *arguments: object) -> dict[str, Any]:
        place = Path(tempfile.mkdtemp(dir=self._folder)) / "watched"
        (place / "tmp").mkdir(parents=True)
        own = {"TMPDIR": place / "tmp", "XDG_CONFIG_HOME": place / "home", "XDG_CACHE_HOME": place / "home"}
        fixed = {"WVC_AUTHOR": "ada", "SOURCE_DATE_EPOCH": "1767225600", "OMP_NUM_THREADS": "1"}
        env = os.environ | environment(self._library, place) | {name: str(value) for name, value in own.items()} | fixed
        command = [sys.executable, "-m", f"tests.faults.{module}", *map(str, arguments)]
        done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        facts = " ".join(f"{name}={value}" for name, value in found.items() if name != "violations")
        sys.stdout.write(f"{facts} violations={len(found.get('violations', []))}\n")
        return found


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("faults")
    try:
        library = compile(folder)
        (folder / "watched").mkdir()
        check(library, folder / "watched")
    except Unusable as reason:
        pytest.skip(f"faults cannot be injected here: {reason}")
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else folder
    with tempfile.TemporaryDirectory(prefix="wvc-faults-", dir=place) as name:
        yield Program(library, Path(name))


@pytest.fixture(scope="session")
def base(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world from which others are copied."""
    folder = tmp_path_factory.mktemp("base")
    program("crash", "build", folder)
    return folder


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long"))
