"""Which auxiliary model a run starts from (golden 6.3)."""

from __future__ import annotations

import pytest

from wvc.errors import RecipeProblem
from wvc.recipes import assignment


def test_assignment_of_20_runs_to_4_pools_of_4() -> None:
    golden = "I 1,1 2,2 3,3 4,0 I 1,2 2,3 3,0 4,1 I 1,3 2,0 3,1 4,2 I 1,0 2,1 3,2 4,3"  # pools counted from 1

    starts = [assignment(h, [4, 4, 4, 4]) for h in range(20)]

    assert " ".join("I" if start is None else f"{start[0] + 1},{start[1]}" for start in starts) == golden


def test_assignment_without_pools_is_the_foundation() -> None:
    assert [assignment(h, []) for h in range(3)] == [None, None, None]


def test_assignment_to_an_empty_pool_is_an_error() -> None:
    with pytest.raises(RecipeProblem, match="pool 2"):
        assignment(2, [1, 0])
