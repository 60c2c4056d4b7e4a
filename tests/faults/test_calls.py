"""The harness sees every way of changing files, from any thread, and its log tells the whole story."""

from __future__ import annotations

from pathlib import Path

from .conftest import Program
from .exercise import ways


def test_every_change_is_seen_and_the_log_makes_the_same_files(program: Program):
    found = program("exercise", "folder")

    expected = {name: calls for name, (calls, _) in ways(Path()).items() if name != "sqlite"}
    counts = found["counts"]
    assert counts.pop("sqlite") > 8  # journal, pages, syncs; how many is its own affair
    assert counts.pop("threads") == 4 * 51
    assert counts == expected
    assert found["same"]
