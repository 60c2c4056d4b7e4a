"""The graph of commits."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MissingObject
from wvc.repo.graph import Graph, Node


def graph(parents: dict[str, str], created: dict[str, int] | None = None) -> Graph:
    """A graph from {"c": "ab"}: c has the parents a and b."""
    made = Graph.__new__(Graph)
    generation: dict[str, int] = {}
    nodes = {}
    for id, names in parents.items():
        generation[id] = 1 + max((generation[p] for p in names), default=0)
        links = tuple((p, "1") for p in names)
        nodes[id] = Node(id, generation[id], (created or {}).get(id, 0), "", "", "import", "", links)
    made.nodes = nodes
    return made


DIAMOND = {"a": "", "b": "a", "c": "a", "d": "bc", "e": "d"}
CRISS_CROSS = {"r": "", "a": "r", "b": "r", "c": "ab", "d": "ba", "e": "c", "f": "d"}


def test_ancestors_and_descendants_include_the_commit_itself():
    diamond = graph(DIAMOND)

    assert diamond.ancestors(["d"]) == set("abcd")
    assert diamond.descendants("b") == set("bde")
    assert diamond.is_ancestor("a", "e") and diamond.is_ancestor("e", "e") and not diamond.is_ancestor("e", "a")


@pytest.mark.parametrize(
    ("ids", "expected"), [("bc", "a"), ("be", "b"), ("e", "e"), ("ee", "e"), ("bce", "a"), ("de", "d")]
)
def test_the_base_is_the_best_common_ancestor(ids, expected):
    assert graph(DIAMOND).bases(ids) == list(expected)


def test_a_criss_cross_has_two_bases():
    assert graph(CRISS_CROSS).bases("ef") == ["a", "b"]


def test_unrelated_commits_have_no_base():
    assert graph({"a": "", "b": ""}).bases("ab") == []


def test_a_commit_that_no_pack_holds_is_reported(repository, save):
    save(1)

    with pytest.raises(MissingObject):
        Graph(repository).check(["0" * 64])


def test_the_graph_of_a_repository_is_what_was_committed(repository, save):
    first = save(1)
    second = save(2, [first], branch="side")
    merged = save(3, [first, second])

    found = Graph(repository)

    assert [id for id, _ in found.nodes[merged.id].parents] == [first.id, second.id]
    assert [node.id for node in found.ordered(found.nodes)] == [merged.id, second.id, first.id]
    assert (found.nodes[merged.id].generation, found.nodes[merged.id].subject) == (3, "a message")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    n = draw(st.integers(1, 12))
    ids = [chr(97 + i) for i in range(n)]
    parents = {
        id: "".join(draw(st.lists(st.sampled_from(ids[:i]), max_size=3)) if i else []) for i, id in enumerate(ids)
    }
    return graph(parents, {id: draw(st.integers(0, 3)) for id in ids})


@given(graphs(), st.data())
def test_no_commit_comes_after_its_parent_whatever_the_clocks_said(made, data):
    wanted = data.draw(st.sets(st.sampled_from(sorted(made.nodes)), min_size=1))

    order = [node.id for node in made.ordered(wanted)]

    assert sorted(order) == sorted(wanted)
    for earlier, later in itertools.combinations(order, 2):
        assert earlier not in {parent for parent, _ in made.nodes[later].parents}


@given(graphs(), st.data())
def test_bases_are_common_ancestors_of_which_none_descends_from_another(made, data):
    ids = data.draw(st.lists(st.sampled_from(sorted(made.nodes)), min_size=1, max_size=3))

    bases = made.bases(ids)

    common = {id for id in made.nodes if all(made.is_ancestor(id, other) for other in ids)}
    best = {id for id in common if not any(other != id and made.is_ancestor(id, other) for other in common)}
    assert bases == sorted(best)
