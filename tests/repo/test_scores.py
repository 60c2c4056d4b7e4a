"""Scores are reused only where every circumstance is the same."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import pytest

from wvc.repo.scores import Circumstances, Score, find, of_commit, read

WANTED = Circumstances("weights", "task", 0, "val", 64)
SCORE = Score(WANTED, {"art": (3, 4), "photo": (1, 10)})


def test_a_score_comes_back_from_its_attachment():
    attachment = SCORE.attachment("a" * 64)

    assert attachment.kind == "score"
    assert read(attachment.body) == SCORE


def test_micro_pools_the_images_and_macro_the_domains():
    assert SCORE.micro == SCORE.by("micro") == Fraction(4, 14)
    assert SCORE.macro == SCORE.by("macro") == Fraction(3, 4) / 2 + Fraction(1, 10) / 2


def test_a_score_is_found_under_its_own_circumstances(repository, save):
    commit = save(1, said=[("score", SCORE.json())])

    assert find(repository, WANTED, ["art", "photo"]) == SCORE
    assert find(repository, WANTED, ["art"]) == Score(WANTED, {"art": (3, 4)})
    assert of_commit(repository, commit.id) == [SCORE]


@pytest.mark.parametrize("field", [field.name for field in fields(Circumstances)])
def test_where_one_circumstance_differs_nothing_is_found(repository, save, field):
    save(1, said=[("score", SCORE.json())])
    value = getattr(WANTED, field)

    other = replace(WANTED, **{field: value + "x" if isinstance(value, str) else (value or 0) + 1})

    assert find(repository, other, ["art"]) is None


def test_a_domain_that_nobody_measured_is_not_made_up(repository, save):
    save(1, said=[("score", SCORE.json())])

    assert find(repository, WANTED, ["art", "sketch"]) is None


def test_domains_measured_at_different_times_are_put_together(repository, save):
    halves = [Score(WANTED, {name: value}).json() for name, value in SCORE.domains.items()]
    first = save(1, said=[("score", halves[0])])
    save(2, [first], said=[("score", halves[1])])

    assert find(repository, WANTED, ["art", "photo"]) == SCORE


def test_a_score_that_no_transaction_lists_does_not_count(repository, save):
    commit = save(1)
    attachment = SCORE.attachment(commit.id)
    with repository.batch(objects=len(attachment.data)) as batch:
        batch.put(attachment.data)
        repository.record(batch, [], "slipped in")

    assert find(repository, WANTED, ["art"]) is None
