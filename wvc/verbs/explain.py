"""What makes a candidate worth averaging: its accuracy alone, its diversity, and whether it connects to the soup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from torch import Tensor

from wvc import architectures
from wvc.learning import criteria
from wvc.learning.counts import Counts, accuracy
from wvc.learning.evaluate import Record
from wvc.learning.network import Network
from wvc.strategies import Models, linear
from wvc.verbs import scoring
from wvc.verbs.averages import Averages
from wvc.verbs.candidates import Candidate
from wvc.verbs.judge import Judge
from wvc.verbs.terms import Criteria, Row

Look = tuple[Counts, Record]


def explained(judge: Judge, averages: Averages, rows: Sequence[Row]) -> tuple[Row, ...]:
    """`rows` of a greedy selection with the criteria of each candidate against the soup before it; the first has none.

    Three passes for each candidate at most: over the soup, where it is new, the candidate, and the point between.
    """
    kept: list[Candidate] = []
    soup: Look | None = None
    found = []
    for row in rows:
        criteria_of_row = None
        if kept:
            mean, own = averages.of(kept), averages.of([row.candidate])
            soup = soup or _look(judge, kept[0], mean)
            criteria_of_row = _criteria(judge, row.candidate, soup, own, mean)
        found.append(replace(row, criteria=criteria_of_row))
        if row.accepted:
            kept.append(row.candidate)
            soup = None
    return tuple(found)


def _criteria(
    judge: Judge, candidate: Candidate, soup: Look, own: Mapping[str, Tensor], mean: Mapping[str, Tensor]
) -> Criteria:
    alone = _look(judge, candidate, own)
    middle = _look(judge, candidate, dict(linear.merge(Models.of([mean, own]))))
    metric = judge.options.metric
    ends = [accuracy(look[0], metric) for look in (soup, alone)]
    gap: Fraction = criteria.barrier(accuracy(middle[0], metric), *ends)
    return Criteria(criteria.ratio_error(criteria.pair(_right(soup[1]), _right(alone[1]))), gap)


def _look(judge: Judge, like: Candidate, tensors: Mapping[str, Tensor]) -> Look:
    """A whole pass over the validation images."""
    spec = scoring.spec_of(like.manifest)
    return judge.count(Network.of(architectures.load(spec, tensors), spec))


def _right(record: Record) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.concatenate([record[domain] == 1 for domain in sorted(record)])
