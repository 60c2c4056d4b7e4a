"""Objects: named by their hash, written in one way, and nothing that is not one is taken for one."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import Damage
from wvc.repo.objects import Attachment, Commit, Manifest, ModelSpec, Parent, TaskDescription, Tensor, parse
from wvc.store.canonical import dumps

A, B = "a" * 64, "b" * 64
SPEC = ModelSpec("torchvision/mobilenet_v2", 2, ("cat", "dog"), "classifier.1", image_size=64)
MANIFEST = Manifest((Tensor("a", "F32", (2, 3), A), Tensor("b", "BF16", (), B)), (("config.json", A),), SPEC)
COMMIT = Commit(
    manifest=A,
    weights=B,
    parents=(Parent(A), Parent(B, Fraction(1, 3)), Parent("c" * 64, Fraction(0))),
    author="Zoë",
    created=1_700_000_000,
    generation=2,
    message="subject\n\nbody",
    how={"kind": "merge", "nested": {"list": [1, "2", None, True]}},
)
ATTACHMENT = Attachment("score", A, {"domains": [["art", 1, 2]]})
TASK = TaskDescription("pets", "folder", (("ink", 3), ("oil", 4)), ("cat", "dog"), B, parameters={"rotations": [0]})
ALL = [MANIFEST, COMMIT, ATTACHMENT, TASK]
PINNED = [
    "9eb036b5ed3398abb48091dcde5fda3d8d334d081fde982c84e1e0f9fe609f38",
    "2dd647eae48097d41d6d34646bca633d0ae45d9fafd8c7409bc58a47c353117e",
    "e0979048b7724dd66b2429ed06f822421d2b2133358306ad76ef4d3fedf2d016",
    "9cc9ef6ddd093a0985da5998bf4029a19a26c8e146cc84b465d863d7fad3c9d4",
]
WEIGHTS = "004caadc2dfd12ca224178e3adc92f672fa0e87d4c90ad9536984c6ba2a02901"


@pytest.mark.parametrize("item", ALL, ids=lambda item: type(item).__name__)
def test_objects_come_back_from_their_bytes(item):
    again = parse(item.data)

    assert again == item
    assert again.id == item.id
    assert json.loads(item.data) == {"_type": item.TYPE, **item.json()}


def test_ids_never_change_because_repositories_hold_them():
    assert [item.id for item in ALL] == PINNED
    assert MANIFEST.weights == WEIGHTS


def test_the_identity_of_weights_does_not_depend_on_files_or_spec():
    bare = Manifest(MANIFEST.tensors)

    assert bare.id != MANIFEST.id
    assert bare.weights == MANIFEST.weights


@pytest.mark.parametrize(
    "other", [Tensor("a", "F32", (3, 2), A), Tensor("a", "F32", (2, 3), B), Tensor("c", "F32", (2, 3), A)]
)
def test_the_identity_of_weights_depends_on_names_shapes_and_bytes(other):
    tensors = tuple(sorted((other, MANIFEST.tensors[1]), key=lambda tensor: tensor.name))

    assert Manifest(tensors).weights != MANIFEST.weights


def changed(item: Any, **fields: Any) -> bytes:
    return dumps({k: v for k, v in ({"_type": item.TYPE, **item.json()} | fields).items() if v is not ...})


BAD: list[tuple[Any, dict[str, Any]]] = [
    *((item, {"_type": kind}) for item in ALL for kind in ("wvc.commit/2", 5, None, ["x"], ..., "")),
    *((item, {"more": 1}) for item in ALL),
    *((MANIFEST, {"tensors": value}) for value in (
        None, 5, "x", {}, [[]], [["a", "F32", [1]]], [["a", "F32", [1], "x"]], [["a", "F32", ["1"], A]],
        [["a", "F32", [-1], A]], [["a", "F32", [True], A]], [["a", "F33", [1], A]], [["a", "F4", [3], A]],
        [["a", 5, [1], A]], [["a", ["F32"], [1], A]], [[5, "F32", [1], A]], [["a", "F32", None, A]],
        [["b", "F32", [1], A], ["a", "F32", [1], A]], [["a", "F32", [1], A], ["a", "F32", [1], A]],
        [["a", "F32", [1], "../../x"]],
    )),
    *((MANIFEST, {"files": value}) for value in (None, [["a"]], [["a", "x"]], [[5, A]], {"a": A})),
    *((MANIFEST, {"files": [[name, A] for name in found]}) for found in (
        ["../x"], ["/x"], ["a//b"], [""], [".git"], ["a."], ["nul"], ["a b"], ["a\nb"], ["a/b/c/d/e"], ["é"],
        ["x" * 129], ["b", "a"], ["a", "a"], ["A", "a"], ["a", "a/b"], ["A/x", "a/y"], ["a/Com1.txt"], ["C:x"],
        ["a\\b"],
    )),
    *((MANIFEST, {"spec": value}) for value in (
        5, [], {}, SPEC.json() | {"mean": ["x"]}, SPEC.json() | {"outputs": "2"}, SPEC.json() | {"classes": [1]},
        SPEC.json() | {"architecture": None}, SPEC.json() | {"mean": ["0.50"]}, SPEC.json() | {"image_size": -1},
        SPEC.json() | {"more": 1}, SPEC.json() | {"classes": "cat"},
    )),
    *((COMMIT, {"parents": value}) for value in (None, 5, [A], [{"commit": A}])),
    *((COMMIT, {"parents": [{"commit": A, "coefficient": share}]}) for share in (1, "1/0", "2/4", "x", "1.0", "")),
    (COMMIT, {"parents": [{"commit": "x", "coefficient": "1"}]}),
    (COMMIT, {"parents": [{"commit": A, "coefficient": "1", "x": 1}]}),
    *((COMMIT, {key: value}) for key, value in (
        ("manifest", "x"), ("manifest", 5), ("weights", None), ("author", 5), ("author", ["x"]), ("created", "now"),
        ("created", None), ("created", True), ("generation", "1"), ("generation", -1), ("message", {}),
        ("how", {}), ("how", []), ("how", None), ("how", {"kind": 5}), ("how", ...),
        ("message", ...),
    )),
    *((ATTACHMENT, {key: value}) for key, value in (
        ("kind", ["x"]), ("kind", None), ("subject", "x"), ("subject", 5), ("body", 5), ("body", [1]), ("body", None),
    )),
    *((TASK, {key: value}) for key, value in (
        ("name", 5), ("kind", None), ("domains", 5), ("domains", [["a"]]), ("domains", [["a", "3"]]),
        ("domains", [[5, 3]]), ("classes", None), ("classes", [1]), ("classes", "ab"), ("fingerprint", 5),
        ("metric", None), ("parameters", 5), ("parameters", None),
    )),
]  # fmt: skip


@pytest.mark.parametrize("position", range(len(BAD)))
def test_an_object_with_a_wrong_field_is_damage_and_nothing_else(position):
    item, fields = BAD[position]

    with pytest.raises(Damage):
        parse(changed(item, **fields))


@pytest.mark.parametrize("share", ["1e999999999", "1e-99999999", "9" * 10**6, "1/" + "9" * 10**6])
def test_a_coefficient_that_would_fill_the_memory_is_refused_at_once(share):
    data = changed(COMMIT, parents=[{"commit": A, "coefficient": share}])
    began = time.perf_counter()

    with pytest.raises(Damage):
        parse(data)

    assert time.perf_counter() - began < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**40) | st.sampled_from(["", "x", A, "1/2", "F32"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["commit", "kind", "x"]), inner),
    max_leaves=6,
)


@given(st.sampled_from(ALL), st.data())
def test_mutated_objects_are_damage_or_objects(item, data):
    value = {"_type": item.TYPE, **item.json()}
    key = data.draw(st.sampled_from(sorted(value)))
    mutated = dumps(value | {key: data.draw(JSON)})

    try:
        again = parse(mutated)
    except Damage:
        return

    assert again.data == mutated


@given(st.binary(max_size=80))
def test_garbage_is_damage(data):
    with pytest.raises(Damage):
        parse(data)


@given(
    st.lists(st.tuples(st.text("abcé.", min_size=1), st.sampled_from(["F32", "BF16"]), st.lists(st.integers(0, 9)))),
    st.fractions(),
    st.text("ab é\n"),
)
def test_any_commit_and_manifest_come_back(tensors, share, text):
    unique = {name: Tensor(name, dtype, tuple(shape), A) for name, dtype, shape in tensors}
    manifest = Manifest(tuple(unique[name] for name in sorted(unique)))
    commit = Commit(manifest.id, manifest.weights, (Parent(A, share),), text, 0, 2, text, {"kind": "import", "x": text})

    assert parse(manifest.data) == manifest
    assert parse(commit.data) == commit
