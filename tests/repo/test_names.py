"""Names of refs: what the grammar takes, and how refs are spelled in short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import BadName
from wvc.repo import names
from wvc.store.records import REF


@pytest.mark.parametrize("name", ["main", "run/0", "aux/15-105", "v1.0", "a_b", "0", "x" * 128, "a/b/c/d", "deadbeef"])
def test_ordinary_names_are_taken(name):
    assert names.branch(name) == f"refs/heads/{name}"
    assert names.tag(name) == f"refs/tags/{name}"
    assert names.short(names.branch(name)) == names.short(names.tag(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", "HEAD", "@", "-f", "--force", "/a", "a/", "a//b", ".", "..", "../x", "a/../b", ".a", "a.", "a/.b", "a b",
     "a\n", "a\0", "é", "a~1", "a^", "a@{1}", "a:b", "a\\b", "a*", "a?", "[a]", "a..b", "a" * 40, "b" * 64, "x" * 129,
     "a\u202eb"],
    ids=ascii,
)  # fmt: skip
def test_names_that_a_revision_or_a_path_could_mistake_are_refused(name):
    for make in (names.branch, names.tag):
        with pytest.raises(BadName):
            make(name)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".a", "-a", "_a", "é", "a b", "x" * 129, "a\n"], ids=ascii)
def test_a_task_is_called_by_one_word(name):
    with pytest.raises(BadName):
        names.task(name)


@given(st.text(max_size=12) | st.text("ab./-@{}~^", max_size=12))
def test_what_is_taken_is_always_a_ref_of_the_log(name):
    try:
        ref = names.branch(name)
    except BadName:
        return

    assert REF.fullmatch(ref)
    assert not set(name) & set("~^:*?[]{} \\") and ".." not in name
