"""Fixtures of the http remote: servers that say what a test wants them to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wvc.remotes import _calls, http

from ..web.conftest import sender, serve, shelf
from .servers import Scripted

__all__ = ["sender", "serve", "shelf"]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token of the user's, and no long pauses."""
    monkeypatch.delenv("WVC_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for place in (_calls, http):
        monkeypatch.setattr(place, "pause", lambda attempt: time.sleep(0.01))


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def start(*answers: bytes | None) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield start
    for one in made:
        one.close()
