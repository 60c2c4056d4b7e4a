"""Canonical JSON: one value has one spelling."""

from __future__ import annotations

import json
import time
import unicodedata
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc.store.canonical import digest, dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"])).map(lambda s: unicodedata.normalize("NFC", s))
KEYS = st.text(st.characters(max_codepoint=127))
LEAVES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)
SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def spelled(value: Any) -> str:
    """RFC 8785, written out by hand."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        inner = "".join(SHORT.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in value)
        return f'"{inner}"'
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return "{" + ",".join(f"{spelled(k)}:{spelled(value[k])}" for k in sorted(value)) + "}"


@given(VALUES)
def test_a_value_comes_back_from_the_spelling_that_the_rfc_gives_it(value):
    data = dumps(value)

    assert data == spelled(value).encode()
    assert loads(data) == value


@given(st.dictionaries(KEYS, LEAVES, min_size=2))
def test_the_order_in_which_keys_were_added_leaves_no_trace(value):
    backwards = dict(reversed(value.items()))

    assert dumps(backwards) == dumps(value)


@pytest.mark.parametrize(
    "value",
    [1.5, float("nan"), 2**53, -(2**53), "e\u0301", {"\u00e9": 1}, {1: 2}, b"bytes", {1, 2}, "\ud800", object()],
    ids=lambda value: ascii(value)[:12],
)
def test_what_has_no_spelling_is_refused(value):
    with pytest.raises(ValueError):
        dumps([value])


@pytest.mark.parametrize(
    "value", [range(3), memoryview(b"ab"), {}.keys(), MappingProxyType({})], ids=lambda v: type(v).__name__
)
def test_containers_that_are_not_json_are_refused_like_everything_else(value):
    with pytest.raises(ValueError):
        dumps({"list": value})


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}', '{"a":1,"a":2}', '{"b":1,"a":2}', '{"a": 1}', ' {"a":1}', '{"a":1}\n', "[1.0]", "[1e3]",
        "[NaN]", "[Infinity]", "[-0]", "[01]", "[+1]", '["\\u0041"]', '["\\/"]', '["\\u000A"]', '["\\u001F"]',
        '["e\u0301"]', '{"\u00e9":1}', "9007199254740992", "[" + "9" * 5000 + "]", '["\\ud800"]', "", "{", "[1,]",
        "'a'", "\ufeff{}",
    ],
    ids=lambda text: ascii(text)[:16],
)  # fmt: skip
def test_any_other_spelling_is_refused(text):
    with pytest.raises(ValueError):
        loads(text.encode())


@pytest.mark.parametrize("data", [b"\xff\xfe", b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\x00"])
def test_bytes_that_are_no_utf8_are_refused(data):
    with pytest.raises(ValueError):
        loads(data)


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda s: s.encode("utf-8", "surrogatepass")))
def test_garbage_is_refused_or_is_the_one_spelling(data):
    try:
        value = loads(data)
    except ValueError:
        return

    assert dumps(value) == data


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"":'])
def test_a_million_brackets_are_refused_at_once(opening):
    began = time.perf_counter()

    with pytest.raises(ValueError):
        loads(opening * 1_000_000)

    assert time.perf_counter() - began < 1


def test_depth_ends_where_it_is_said_to_end():
    deep: Any = 1
    for _ in range(63):
        deep = [deep]

    assert loads(dumps(deep)) == deep
    with pytest.raises(ValueError, match="deep"):
        dumps([deep])


def test_the_digest_is_plain_sha256():
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(VALUES)
def test_ordinary_json_libraries_read_it(value):
    assert json.loads(dumps(value)) == value
