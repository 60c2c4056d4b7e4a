"""Killed, or refused by the disk, at any call that changes a file: the old state or the new one, and work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Program
from .world import OPERATIONS

# Of how many calls one is tried in the short form; of the others, one of five.
STEPS = {"init": 7, "clone": 7, "switch": 1, "export": 1, "export-over": 1, "export-folder": 2}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_fault_at_any_call_leaves_the_old_state_or_the_new(program: Program, base: Path, long: bool, name: str):
    found = program("crash", "crash", base, name, 1 if long else STEPS.get(name, 5))

    assert found["violations"] == []
    assert found["points"] > 20
    assert found["ends"]["killed"] > 0
    assert found["ends"]["error"] > 0


@pytest.mark.parametrize(
    ("name", "step", "mutants"),
    [
        ("tag", 4, ["in-place", "acknowledged-early", "stale-lineage", "drafts-left"]),
        ("tag", 1, ["synced-twice"]),
        ("tag", 2, ["fsck-check-links", "fsck-check-refs", "fsck-check-lineage"]),
        ("task", 3, ["record-first"]),
        ("export", 1, ["export-in-place"]),
    ],
)
def test_the_harness_notices_what_is_wrong(program: Program, base: Path, name: str, step: int, mutants: list[str]):
    found = program("crash", "mutants", base, name, step, *mutants)

    assert found["caught"].keys() == set(mutants)
    assert [mutant for mutant, seen in found["caught"].items() if not seen] == []
