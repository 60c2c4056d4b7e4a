"""Which auxiliary model a run starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wvc.errors import RecipeProblem


def assignment(h: int, pools: Sequence[int]) -> tuple[int, int] | None:
    """The auxiliary run that run number `h` of a target starts from: (pool, run in it), both counted from 0.

    pools: the number of finished runs of each auxiliary dataset, datasets sorted by name.
    None stands for the foundation itself. With i = h mod (m + 1) over m pools: the foundation for i = 0, else
    pool i - 1 and in it run h mod its size (recipes, Pools). Raises RecipeProblem where that pool is empty.
    """
    turn = h % (len(pools) + 1)
    if turn == 0:
        return None
    if pools[turn - 1] == 0:
        raise RecipeProblem(f"auxiliary pool {turn} has no run", "train one, or leave the pool out")
    return turn - 1, h % pools[turn - 1]


@dataclass(frozen=True)
class Pool:
    """Auxiliary models in groups, one a dataset. patterns: per dataset, sorted by name, the globs of its branches."""

    patterns: tuple[tuple[str, str], ...]  # (dataset, glob)
    turn: int

    def start(self, members: Sequence[Sequence[str]]) -> str | None:
        """The branch that this run starts from; None for the foundation. members: the branches that the globs name."""
        assigned = assignment(self.turn, [len(runs) for runs in members])
        return None if assigned is None else members[assigned[0]][assigned[1]]

    def one_of_each(self, members: Sequence[Sequence[str]]) -> list[str]:
        """Run number turn mod n of each dataset, as fusing takes them. Raises RecipeProblem where one has none."""
        if not all(members):
            raise RecipeProblem("an auxiliary pool has no run", "train one, or leave the pool out")
        return [runs[self.turn % len(runs)] for runs in members]
