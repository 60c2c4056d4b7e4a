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


@pytest.mark.parametrize(
    "name", ["config.json", "1_Pooling/config.json", "a/b/c/d", "x" * 128, "A-b_c.0", "console", "com"]
)
def test_ordinary_names_of_files_are_taken(name):
    names.check_files([name])


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a/.b", "a.", "a./b", "_a", "-a", "a b",
     "a\n", "a\0", "é", "a\\b", "C:a", "~a", "a*", "a?", "x" * 129, "a/b/c/d/e", "con", "CON", "nul.txt",
     "a/Aux.tar.gz", "com1", "LPT9.x", "prn/a", "a\u202eb"],
    ids=ascii,
)  # fmt: skip
def test_names_that_some_file_system_would_mistake_are_refused(name):
    with pytest.raises(ValueError, match="file name"):
        names.check_files(["fine", name])


@pytest.mark.parametrize(
    "files",
    [["a", "a"], ["a", "A"], ["x/a", "X/b"], ["x/a", "X/a"], ["a", "a/b"], ["a/b", "a"], ["a", "A/b"],
     ["a/b/c", "a/b"]],
    ids=ascii,
)  # fmt: skip
def test_names_that_cannot_lie_side_by_side_are_refused(files):
    with pytest.raises(ValueError, match="file name"):
        names.check_files(files)


def test_names_that_only_begin_alike_lie_side_by_side():
    names.check_files(["a", "ab", "b/a", "b/ab", "b/c/a", "a.b", "c-d"])


@given(st.lists(st.text("abAB/.", min_size=1, max_size=6), max_size=4))
def test_what_is_taken_can_be_made_on_a_file_system_that_ignores_case(files):
    try:
        names.check_files(files)
    except ValueError:
        return

    made: dict[str, bool] = {}  # place -> whether it is a file
    for name in files:
        parts = name.lower().split("/")
        assert all(part.strip(".") for part in parts)
        assert not any(made.get("/".join(parts[:i])) for i in range(1, len(parts)))
        assert name.lower() not in made
        made |= {"/".join(parts[:i]): False for i in range(1, len(parts))} | {name.lower(): True}


@given(st.text(max_size=12) | st.text("ab./-@{}~^", max_size=12))
def test_what_is_taken_is_always_a_ref_of_the_log(name):
    try:
        ref = names.branch(name)
    except BadName:
        return

    assert REF.fullmatch(ref)
    assert not set(name) & set("~^:*?[]{} \\") and ".." not in name
