"""blame follows what the weights were made of, and measures as float64 arithmetic does."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from wvc.errors import MissingObject, WvcError
from wvc.repo.blame import blame, measure
from wvc.repo.objects import Commit

from .histories import plans, planted


def setters(repository, commit: Commit, globs=()) -> dict[str, str]:
    return {line.tensor.name: line.commit.subject for line in blame(repository, commit.id, globs)}


def test_each_tensor_is_the_work_of_the_commit_that_last_changed_it(tmp_path):
    plan = [
        ({"a": 0, "b": 0, "c": 0}, []),
        ({"a": 0, "b": 1, "c": 0}, [(0, "1")]),
        ({"a": 0, "b": 1, "c": 2}, [(1, "1")]),
    ]
    repository, made = planted(tmp_path / "zoo", plan)

    assert setters(repository, made[2]) == {"a": "c0", "b": "c1", "c": "c2"}
    assert setters(repository, made[1]) == {"a": "c0", "b": "c1", "c": "c0"}
    assert setters(repository, made[2], ["[ab]"]) == {"a": "c0", "b": "c1"}


def test_a_parent_with_coefficient_0_has_set_nothing(tmp_path):
    plan = [({"a": 5}, []), ({"a": 5}, []), ({"a": 5}, [(0, "0"), (1, "1")]), ({"a": 5}, [(0, "0")])]
    repository, made = planted(tmp_path / "zoo", plan)

    assert setters(repository, made[2]) == {"a": "c1"}
    assert setters(repository, made[3]) == {"a": "c3"}


def test_of_several_parents_that_have_it_the_first_is_followed(tmp_path):
    plan = [({"a": 1, "b": 1}, []), ({"a": 1, "b": 2}, []), ({"a": 1, "b": 2}, [(0, "1/2"), (1, "1/2")])]
    repository, made = planted(tmp_path / "zoo", plan)

    assert setters(repository, made[2]) == {"a": "c0", "b": "c1"}


def test_what_came_back_was_set_by_who_brought_it_back(tmp_path):
    plan = [({"a": 1}, []), ({"a": 2}, [(0, "1")]), ({"a": 1}, [(1, "1")])]
    repository, made = planted(tmp_path / "zoo", plan)

    assert setters(repository, made[2]) == {"a": "c2"}


def test_another_shape_of_the_same_bytes_is_another_tensor(save, repository):
    first = save({"a": np.arange(6, dtype=np.float32)})
    second = save({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, [first])

    (line,) = blame(repository, second.id)

    assert line.commit.id == second.id


def slow(repository, commit: Commit, name: str) -> Commit:
    """One tensor at a time, from manifests: the definition."""
    for parent in commit.parents:
        before = repository.commit(parent.commit)
        same = repository.manifest(before).by_name.get(name) == repository.manifest(commit).by_name[name]
        if parent.coefficient != 0 and same:
            return slow(repository, before, name)
    return commit


@settings(max_examples=60)
@given(plan=plans())
def test_any_history_is_told_as_the_definition_tells_it(tmp_path_factory, plan):
    repository, made = planted(tmp_path_factory.mktemp("any") / "zoo", plan)

    for commit in made:
        expected = {t.name: slow(repository, commit, t.name).id for t in repository.manifest(commit).tensors}
        assert {line.tensor.name: line.commit.id for line in blame(repository, commit.id)} == expected


def test_no_pack_is_opened(tmp_path):
    repository, made = planted(tmp_path / "zoo", [({"a": 1}, []), ({"a": 1}, [(0, "1")])])
    for path in (repository.folder / "packs").iterdir():
        path.unlink()

    assert setters(repository, made[1]) == {"a": "c0"}


def test_a_glob_that_fits_nothing_is_refused_with_what_may_have_been_meant(tmp_path):
    repository, made = planted(tmp_path / "zoo", [({"layer.weight": 1, "layer.bias": 1}, [])])

    with pytest.raises(WvcError, match=r"no tensor is called 'layer\.wieght'") as info:
        blame(repository, made[0].id, ["layer.wieght"])

    assert info.value.hint is not None and "'layer.weight'" in info.value.hint


def test_a_commit_that_is_not_there_is_missing(repository):
    with pytest.raises(MissingObject):
        blame(repository, "0" * 64)


def test_shares_are_those_of_the_squared_norm_of_all_that_the_commit_changed(save, repository):
    rng = np.random.default_rng(0)
    old = {name: rng.normal(size=50).astype(np.float32) for name in "abc"}
    new = {**old, "b": old["b"] + 1, "c": (old["c"] + rng.normal(size=50)).astype(np.float32), "d": old["a"]}
    first = save(old)
    second = save(new, [first])
    b, c = (new[name].astype(np.float64) - old[name] for name in "bc")

    lines, (total,) = measure(repository, blame(repository, second.id))

    shares = {line.tensor.name: line.share for line in lines}
    assert shares["a"] is None  # of a root, and "d" has nothing to be subtracted from
    assert shares["d"] is None
    assert shares["b"] == pytest.approx(float(b @ b / (b @ b + c @ c)), rel=1e-9)
    assert shares["b"] + shares["c"] == pytest.approx(1)
    assert (total.commit.id, total.source, total.tensors, total.numbers) == (second.id, first.id, 3, 100)
    assert total.changed == int((new["b"] != old["b"]).sum() + (new["c"] != old["c"]).sum())
    assert total.l2 == pytest.approx(float(np.sqrt(b @ b + c @ c)), rel=1e-12)
    norm = np.linalg.norm(np.concatenate([old["b"], old["c"]]).astype(np.float64))
    assert total.relative == pytest.approx(total.l2 / float(norm), rel=1e-9)


def test_a_merge_is_measured_against_the_first_parent_that_has_a_part_in_it(save, repository):
    head = save(100)
    one, two = save(1, [head], branch="one"), save(3, [head], branch="two")
    merge = save(2, [(head, Fraction(0)), (one, Fraction(1, 2)), (two, Fraction(1, 2))])

    (line,), (total,) = measure(repository, blame(repository, merge.id))

    assert total.source == one.id
    assert line.change is not None and line.change.l2 == pytest.approx(np.sqrt(3))
    assert line.share == 1


def test_huge_numbers_have_shares_too(save, repository):
    first = save({"a": np.zeros(1), "b": np.zeros(1)})
    second = save({"a": np.full(1, 1e150), "b": np.full(1, 1e150)}, [first])

    lines, (total,) = measure(repository, blame(repository, second.id))

    assert [line.share for line in lines] == pytest.approx([0.5, 0.5])
    assert total.relative == float("inf")


def test_bits_that_change_no_number_have_no_share(save, repository):
    first = save({"a": np.zeros(2, np.float32)})
    second = save({"a": -np.zeros(2, np.float32)}, [first])

    (line,), (total,) = measure(repository, blame(repository, second.id))

    assert (line.commit.id, line.share, total.l2, total.relative) == (second.id, None, 0, 0)
