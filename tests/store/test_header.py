"""The header of a safetensors file: what the library writes is taken, everything odd is refused."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wvc.errors import BadFile
from wvc.store.header import BITS, Header, parse_header, read_header

LIBRARY = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "U16": torch.uint16, "I16": torch.int16,
    "U32": torch.uint32, "I32": torch.int32, "U64": torch.uint64, "I64": torch.int64, "F64": torch.float64,
    "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
NAMES = st.text("abc.θé0_/", min_size=1, max_size=8)
SHAPES = st.lists(st.integers(0, 3), max_size=3)


def packed(header: str | bytes | dict[str, Any], body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def one(**changes: Any) -> dict[str, Any]:
    """A header of one tensor of four bytes, with changes."""
    return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


def read(tmp_path: Path, data: bytes) -> Header:
    path = tmp_path / "file"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_header(fd, path)
    finally:
        os.close(fd)


def field(start: int, stop: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "no header": packed(""),
    "cut short": packed(one(), b"\0" * 3),
    "trailing bytes": packed(one(), b"\0" * 5),
    "length beyond the file": packed(one(), b"\0" * 4, length=10**6),
    "length of 2^64-1": packed(one(), b"\0" * 4, length=2**64 - 1),
    "length too small": packed(one(), b"\0" * 4, length=10),
    "not JSON": packed("{nonsense"),
    "not UTF-8": packed(b'{"\xff":1}'),
    "leading blank": packed(" " + json.dumps(one()), b"\0" * 4),
    "an array": packed("[]"),
    "two objects": packed("{}{}"),
    "duplicate tensors": packed('{{"a":{0},"a":{0}}}'.format(json.dumps(field(0, 1))), b"\0"),
    "duplicate fields": packed('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
    "duplicate metadata": packed('{"__metadata__":{"x":"1","x":"2"}}'),
    "metadata a list": packed('{"__metadata__":[]}'),
    "metadata null": packed('{"__metadata__":null}'),
    "metadata text": packed('{"__metadata__":"x"}'),
    "metadata of numbers": packed('{"__metadata__":{"x":1}}'),
    "overlapping": packed({"a": field(0, 4), "b": field(2, 6)}, b"\0" * 6),
    "same range twice": packed({"a": field(0, 4), "b": field(0, 4)}, b"\0" * 4),
    "gap": packed({"a": field(0, 2), "b": field(3, 4)}, b"\0" * 4),
    "gap in front": packed({"a": field(1, 4)}, b"\0" * 4),
    "unknown field": packed(one(extra=1), b"\0" * 4),
    "missing field": packed({"a": {"dtype": "U8", "shape": [1]}}, b"\0"),
    "fields a list": packed({"a": ["dtype", "shape", "data_offsets"]}),
    "fields null": packed({"a": None}),
    "fields a number": packed({"a": 5}),
    "unknown dtype": packed(one(dtype="F33"), b"\0" * 4),
    "dtype a list": packed(one(dtype=["F32"]), b"\0" * 4),
    "dtype a number": packed(one(dtype=32), b"\0" * 4),
    "dtype null": packed(one(dtype=None), b"\0" * 4),
    "shape of booleans": packed(one(shape=[True]), b"\0" * 4),
    "shape of floats": packed(one(shape=[1.0]), b"\0" * 4),
    "shape of NaN": packed('{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', b"\0"),
    "shape negative": packed(one(shape=[-1]), b"\0" * 4),
    "shapes negative twice": packed(one(shape=[-1, -1]), b"\0" * 4),
    "shape null": packed(one(shape=None), b"\0" * 4),
    "shape text": packed(one(shape=""), b"\0" * 4),
    "shape an object": packed(one(shape={}), b"\0" * 4),
    "shape too large": packed(one(shape=[2**62, 4]), b"\0" * 4),
    "shape overflows": packed(one(shape=[2**32, 2**32]), b"\0" * 4),
    "shape of 10,000 digits": packed('{"a":{"dtype":"U8","shape":[%s],"data_offsets":[0,1]}}' % ("9" * 10**4), b"\0"),
    "shape of 300,000 dimensions": packed(one(shape=[2**47] * 300_000), b"\0" * 4),
    "offsets negative": packed(one(data_offsets=[-4, 0]), b"\0" * 4),
    "offsets reversed": packed(one(data_offsets=[4, 0]), b"\0" * 4),
    "offsets of booleans": packed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [False, True]}}, b"\0"),
    "one offset": packed(one(data_offsets=[4]), b"\0" * 4),
    "three offsets": packed(one(data_offsets=[0, 4, 4]), b"\0" * 4),
    "offsets an object": packed(one(data_offsets={"0": 0, "4": 4}), b"\0" * 4),
    "bytes that the shape does not need": packed(one(shape=[2]), b"\0" * 4),
    "F4 that ends within a byte": packed({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, b"\0" * 2),
    "F6 that ends within a byte": packed({"a": {"dtype": "F6_E2M3", "shape": [3], "data_offsets": [0, 3]}}, b"\0" * 3),
    "nested objects": packed('{"a":' * 1_000_000),
    "nested arrays": packed('{"a":' + "[" * 1_000_000),
    "name of nothing": packed({"": field(0, 1)}, b"\0"),
    "name of 513 bytes": packed({"n" * 513: field(0, 1)}, b"\0"),
    "name with NUL": packed({"a\0b": field(0, 1)}, b"\0"),
    "name with newline": packed({"a\nb": field(0, 1)}, b"\0"),
    "name with escape": packed({"a\x1b[31m": field(0, 1)}, b"\0"),
    "name with C1 control": packed({"a\x9b": field(0, 1)}, b"\0"),
    "name with bidi override": packed({"a\u202eb": field(0, 1)}, b"\0"),
    "name not NFC": packed({"e\u0301": field(0, 1)}, b"\0"),
    "name with lone surrogate": packed('{"\\ud800":' + json.dumps(field(0, 1)) + "}", b"\0"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_quickly_and_with_nothing_but_badfile(tmp_path, case):
    began = time.perf_counter()

    with pytest.raises(BadFile):
        read(tmp_path, HOSTILE[case])

    assert time.perf_counter() - began < 1


def test_a_header_of_100_mb_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write((100_000_000).to_bytes(8, "little") + b"{")
        file.truncate(100_000_100)
    began = time.perf_counter()

    with path.open("rb") as file, pytest.raises(BadFile, match="100000000"):
        read_header(file.fileno(), path)

    assert time.perf_counter() - began < 0.2


@pytest.mark.parametrize("name", ["../../etc/passwd", "/root/x", "C:\\x", "a b", "..", "模型.権重", "n" * 512])
def test_a_name_is_data_and_may_look_like_a_path(tmp_path, name):
    header = read(tmp_path, packed({name: field(0, 1)}, b"\0"))

    assert [entry.name for entry in header.entries] == [name]


def test_files_without_tensors_and_without_metadata_are_taken(tmp_path):
    assert read(tmp_path, packed("{}")).entries == ()
    assert read(tmp_path, packed('{"__metadata__":{}}   ')).metadata == {}


def test_empty_tensors_may_stand_anywhere(tmp_path):
    fields = {"z": field(0, 0), "a": field(0, 4), "y": field(4, 4), "b": field(4, 5), "x": field(5, 5, shape=[3, 0])}

    header = read(tmp_path, packed(fields, b"\0" * 5))

    assert {entry.name for entry in header.entries} == set(fields)


def test_sub_byte_dtypes_count_bits(tmp_path):
    fields = {"a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]},
              "b": {"dtype": "F6_E3M2", "shape": [2, 2], "data_offsets": [2, 5]}}  # fmt: skip

    header = read(tmp_path, packed(fields, b"\0" * 5))

    assert [(e.name, e.stop - e.start) for e in header.entries] == [("a", 2), ("b", 3)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(NAMES, st.tuples(st.sampled_from(sorted(LIBRARY)), SHAPES), max_size=5),
    st.none() | st.dictionaries(st.text("ab é\n\u202e"), st.text("ab é\n\u202e"), min_size=1, max_size=3),
)
def test_every_file_that_the_library_writes_is_taken(tmp_path, tensors, metadata):
    sizes = {name: math.prod(shape) * BITS[dtype] // 8 for name, (dtype, shape) in tensors.items()}
    made = {name: torch.zeros(shape, dtype=LIBRARY[dtype]) for name, (dtype, shape) in tensors.items()}

    header = read(tmp_path, safetensors.torch.save(made, metadata))

    assert {e.name: (e.dtype, list(e.shape)) for e in header.entries} == tensors
    assert {e.name: e.stop - e.start for e in header.entries} == sizes
    assert header.metadata == (metadata or {})


@settings(deadline=None)
@given(st.data())
def test_mutated_headers_are_refused_or_describe_every_byte(data):
    text = json.dumps({"__metadata__": {"k": "v"}, "a": field(0, 4, "F32", [1]), "b": field(4, 6)}).encode()
    position = data.draw(st.integers(0, len(text) - 1))
    piece = data.draw(st.binary(max_size=3) | st.sampled_from([b"null", b"[]", b"{}", b"-1", b'""', b"1e9", b"true"]))
    stop = data.draw(st.integers(position, min(len(text), position + 8)))
    raw = packed(text[:position] + piece + text[stop:])

    try:
        header = parse_header(raw, len(raw) + 6)
    except (ValueError, TypeError, KeyError, RecursionError):
        return

    assert sum(entry.stop - entry.start for entry in header.entries) == 6


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**65) | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["__metadata__", "dtype", "shape", "data_offsets", "a"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_refused_or_is_a_header(value):
    raw = packed(json.dumps({"__metadata__": value, "t": value}))

    with pytest.raises((ValueError, TypeError, KeyError)):
        parse_header(raw, len(raw) + 1)


def test_many_tensors_are_read_in_reasonable_time(tmp_path):
    data = packed({f"layers.{i}.weight": field(0, 0) for i in range(50_000)})
    began = time.perf_counter()

    header = read(tmp_path, data)

    assert len(header.entries) == 50_000
    assert time.perf_counter() - began < 5
