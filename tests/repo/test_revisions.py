"""Revision syntax."""

from __future__ import annotations

import itertools

import pytest

from wvc.errors import AmbiguousRevision, NoCommitYet, UnknownRevision, WvcError
from wvc.repo import names, revisions
from wvc.repo.revisions import expand, resolve, span
from wvc.store.records import Move


def point(repository, ref: str, id: str | None) -> None:
    repository.record(None, [Move(ref, repository.refs.get(ref), id)], "moved")


@pytest.fixture
def history(save):
    """main: first, second, third (a merge of second and side)."""
    first = save(1)
    second = save(2, [first])
    side = save(9, [first], branch="run/0")
    third = save(3, [second, side])
    return first.id, second.id, third.id, side.id


@pytest.mark.parametrize(
    ("text", "position"),
    [("HEAD", 2), ("@", 2), ("main", 2), ("refs/heads/main", 2), ("heads/main", 2), ("HEAD~", 1), ("HEAD^", 1),
     ("HEAD~1", 1), ("HEAD~2", 0), ("HEAD^1~1", 0), ("HEAD^2", 3), ("HEAD^2~1", 0), ("HEAD~0", 2), ("HEAD^0", 2),
     ("main@{0}", 2), ("main@{1}", 1), ("@{2}", 0), ("HEAD@{1}~1", 0), ("run/0", 3), ("~1", 1)],
)  # fmt: skip
def test_revisions_mean_what_git_means(repository, history, text, position):
    assert resolve(repository, text) == history[position]


@pytest.mark.parametrize(
    "text",
    ["HEAD~3", "HEAD^3", "HEAD~99999999999", "HEAD~" + "9" * 5000, "HEAD^" + "9" * 30, "main@{3}", "nothing",
     "main@{99999999999999999999}", "main@{" + "9" * 5000 + "}", "HEAD~x", "HEAD@{-1}", "HEAD@{}", "main~1@{0}", "~~~~",
     "0" * 64, "dead", "", " main", "main\n", "refs/heads", "../main", "main..main"],
    ids=lambda text: ascii(text)[:24],
)  # fmt: skip
def test_revisions_that_name_nothing_are_unknown(repository, history, text):
    with pytest.raises(UnknownRevision):
        resolve(repository, text)


def test_a_branch_without_commits_is_told_apart_from_a_branch_that_is_not_there(repository):
    with pytest.raises(NoCommitYet, match="main"):
        resolve(repository, "HEAD")
    with pytest.raises(UnknownRevision):
        resolve(repository, "main")


def test_an_abbreviation_is_enough_where_it_fits_one_commit(repository, history):
    for id in history:
        assert resolve(repository, id[:12]) == resolve(repository, id) == id
        assert resolve(repository, f"{id[:12]}~0") == id


def test_an_abbreviation_that_fits_several_commits_lists_them(repository, save, monkeypatch):
    monkeypatch.setattr(revisions, "ABBREVIATION", revisions.re.compile(r"[0-9a-f]{1,64}"))
    ids = sorted(save(i, branch=f"b{i}").id for i in range(20))
    twins = next((a, b) for a, b in itertools.pairwise(ids) if a[0] == b[0])

    with pytest.raises(AmbiguousRevision) as caught:
        resolve(repository, twins[0][0])

    assert caught.value.hint is not None and twins[0][:12] in caught.value.hint


def test_a_near_miss_is_met_with_the_name_that_was_meant(repository, history):
    point(repository, "refs/heads/ratatouille", history[0])

    with pytest.raises(UnknownRevision) as caught:
        resolve(repository, "ratatuille")

    assert caught.value.hint == "did you mean 'ratatouille'?"


def test_a_tag_comes_before_a_branch_of_the_same_name(repository, history):
    point(repository, "refs/heads/v1", history[0])
    point(repository, "refs/tags/v1", history[1])

    assert resolve(repository, "v1") == history[1]
    assert resolve(repository, "heads/v1") == history[0]


def test_a_name_comes_before_an_abbreviation(repository, history):
    point(repository, "refs/heads/" + history[0][:6], history[1])

    assert resolve(repository, history[0][:6]) == history[1]


def test_a_deleted_branch_lives_on_in_the_reflog(repository, history):
    point(repository, "refs/heads/run/0", None)

    assert resolve(repository, "run/0@{1}") == history[3]
    with pytest.raises(UnknownRevision):
        resolve(repository, "run/0")
    with pytest.raises(UnknownRevision):
        resolve(repository, "run/0@{0}")


def test_globs_match_local_branches_sorted_and_across_slashes(repository, history):
    for name in ("run/1/a", "run/10", "walk"):
        point(repository, f"refs/heads/{name}", history[0])
    point(repository, "refs/remotes/origin/run/7", history[0])
    point(repository, "refs/tags/run/t", history[0])

    assert expand(repository, ["run/*"]) == ["refs/heads/run/0", "refs/heads/run/1/a", "refs/heads/run/10"]
    found = list(dict.fromkeys(names.short(name) for name in expand(repository, ["walk", "run/?", "*"])))
    assert found == ["walk", "run/0", "main", "run/1/a", "run/10"]
    assert expand(repository, ["main@{0}"]) == ["main@{0}"]


def test_a_glob_that_matches_nothing_is_unknown(repository, history):
    with pytest.raises(UnknownRevision):
        expand(repository, ["RUN/*"])


def test_a_range_is_what_the_right_has_and_the_left_has_not(repository, history):
    first, second, third, side = history

    assert span(repository, "run/0..main") == ([third], [side])
    assert span(repository, "HEAD~2..") == ([third], [first])
    assert span(repository, "..run/0") == ([side], [third])
    assert span(repository, "HEAD~1") == ([second], [])
    with pytest.raises(WvcError, match=r"\.\.\."):
        span(repository, "main...run/0")
