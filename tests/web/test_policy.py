"""What goes along with commits, whatever branches a token is for."""

from __future__ import annotations

import pytest

from wvc.store.records import Move
from wvc.web.policy import check_moves
from wvc.web.problems import Problem
from wvc.web.tokens import Token

ID = "1" * 64
PROBE = "refs/probes/0123456789ab"


@pytest.mark.parametrize("ref", [PROBE, "refs/tasks/pets"])
def test_tasks_and_probes_can_be_made_and_not_moved(ref: str):
    token = Token("ada", "0" * 64, "push", ("refs/heads/team/*",))

    check_moves([Move("refs/heads/team/1", None, ID), Move(ref, None, ID)], token)
    for move in (Move(ref, ID, "2" * 64), Move(ref, ID, None), Move("refs/heads/main", None, ID)):
        with pytest.raises(Problem, match="may not move"):
            check_moves([move], token)


def test_who_may_only_read_makes_nothing():
    with pytest.raises(Problem):
        check_moves([Move(PROBE, None, ID)], Token("ada", "0" * 64, "read"))
