"""Which commits set a tensor: the definition, on any history."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.errors import WvcError
from wvc.repo.blame import blame
from wvc.repo.contents import Contents
from wvc.repo.graph import Graph
from wvc.repo.touching import Touching, check, matching, meant, nearest

from .histories import plans, planted

GLOBS = (["*"], ["a"], ["b.*"], ["*a*"], ["a", "b.bias"], ["nothing"])


def test_a_star_crosses_dots_and_case_counts():
    names = ["head.weight", "features.0.weight", "Head.bias"]

    assert matching(names, ["f*t"]) == ["features.0.weight"]
    assert matching(names, ["head.*", "?eatures*"]) == ["head.weight", "features.0.weight"]
    assert matching(names, ["weight"]) == []


@pytest.mark.parametrize(
    ("glob", "hint"),
    [
        ("layer.0.wieght", "did you mean 'layer.0.weight'"),
        ("layer.0", "'layer.0.*'"),
        ("layer.", "'layer.*'"),
        ("layer.0.weights.*", "did you mean 'layer.0.weight'"),
        ("9999999", "there are head, layer.0.bias, layer.0.weight ..."),
    ],
)
def test_a_glob_that_fits_nothing_is_answered_with_what_may_have_been_meant(glob, hint):
    with pytest.raises(WvcError) as info:
        check(["layer.0.weight", "layer.0.bias", "head"], ["head", glob])

    assert repr(glob) in info.value.message
    assert info.value.hint is not None and hint in info.value.hint


def test_what_may_be_meant_for_a_name():
    names = ["layer.0.weight", "head"]

    assert [meant(names, text) for text in ("head", "layer", "layer.*", "lay", "", "*")] == [
        "head", "layer.*", "layer.*", None, None, "*",
    ]  # fmt: skip


@settings(max_examples=60)
@given(plan=plans(), globs=st.sampled_from(GLOBS))
def test_any_history_is_filtered_as_the_definition_filters_it(tmp_path_factory, plan, globs):
    repository, made = planted(tmp_path_factory.mktemp("any") / "zoo", plan)
    graph, contents = Graph(repository), Contents(repository)

    touching = Touching(contents, globs)
    found = {node.id for node in contents.along(graph.nodes.values()) if touching(node)}

    models = {c.id: {t.name: t.id for t in repository.manifest(c).tensors} for c in made}
    for commit in made:
        own, before = models[commit.id], [models[p.commit] for p in commit.parents if p.coefficient != 0]
        names = {n for model in (own, *before) for n in model if any(fnmatch.fnmatchcase(n, g) for g in globs)}
        expected = any(all(own.get(n) != model.get(n) for model in before) for n in names)
        assert (commit.id in found) == expected


@settings(max_examples=30)
@given(plan=plans())
def test_whoever_is_blamed_for_a_tensor_is_in_the_log_of_it(tmp_path_factory, plan):
    repository, made = planted(tmp_path_factory.mktemp("any") / "zoo", plan)
    graph, contents = Graph(repository), Contents(repository)

    for line in blame(repository, made[-1].id):
        assert Touching(contents, [line.tensor.name])(graph.nodes[line.commit.id])


@settings(max_examples=60)
@given(plan=plans(), data=st.data())
def test_lines_lead_to_all_that_is_reached_without_passing_another_that_is_shown(tmp_path_factory, plan, data):
    repository, made = planted(tmp_path_factory.mktemp("any") / "zoo", plan)
    ids = [commit.id for commit in made]
    shown = data.draw(st.sets(st.sampled_from(ids)))
    nodes = list(Graph(repository).ordered(ids))

    found = nearest(nodes, shown)

    parents = {commit.id: [p.commit for p in commit.parents] for commit in made}

    def reached(id: str) -> set[str]:
        return {end for p in parents[id] for end in ([p] if p in shown else reached(p))}

    assert {id: set(below) for id, below in found.items()} == {id: reached(id) for id in ids}
    assert all(len(set(below)) == len(below) for below in found.values())
