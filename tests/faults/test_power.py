"""The power fails at any moment: what was acknowledged is there, whatever else the disk lost, and work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Program
from .power import WORKLOADS


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_disk_that_a_power_cut_may_leave_has_what_was_acknowledged(
    program: Program, base: Path, long: bool, name: str
):
    found = program("power", base, name, 1 if long else 16, 0)

    assert found["violations"] == []
    assert found["points"] > 10


@pytest.mark.parametrize(
    ("name", "step", "mutants"),
    [("task", 8, ["no-file-synced", "no-folder-synced", "record-first"]), ("clone", 400, ["no-parent-synced"])],
)
def test_the_harness_notices_what_is_not_made_durable(
    program: Program, base: Path, name: str, step: int, mutants: list[str]
):
    found = program("power", base, name, step, 0, *mutants)

    assert found["violations"] == []
    assert [mutant for mutant, seen in found["caught"].items() if not seen] == []
    assert found["caught"].keys() == set(mutants)
