"""Gathering elements: numpy's own strides say what must come out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.repo import strided
from wvc.repo.strided import gather, is_plain, reach

SIDES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 12)), max_size=5)


@settings(max_examples=400)
@given(
    SIDES,
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([8, 24, 100, 1000, 1 << 20]),
    st.sampled_from([0, 16, 1 << 20]),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_any_range_of_any_strides(sides, width, span, skip, shares):
    shape, stride = tuple(n for n, _ in sides), tuple(step for _, step in sides)
    data = np.random.default_rng(0).integers(0, 256, reach(shape, stride) * width, np.uint8).tobytes()
    view = np.lib.stride_tricks.as_strided(
        np.frombuffer(data, f"u{width}"), shape, [step * width for step in stride], writeable=False
    )
    whole = np.ascontiguousarray(view).tobytes()
    start, stop = sorted(round(share * len(whole)) for share in shares)
    asked = []

    def read(first: int, last: int) -> bytes:
        assert 0 <= first <= last <= len(data)
        asked.append(last - first)
        return data[first:last]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strided, "SPAN", span)
        patch.setattr(strided, "SKIP", skip)
        found = gather(read, width, shape, stride, start, stop)

    assert found == whole[start:stop]
    assert max(asked, default=0) <= max(span, width)


@given(SIDES)
def test_plain_is_what_numpy_calls_contiguous(sides):
    shape, stride = tuple(n for n, _ in sides), tuple(step for _, step in sides)
    view = np.ndarray(shape, "u1", bytes(reach(shape, stride)), 0, stride)

    assert is_plain(shape, stride) == view.flags.c_contiguous


def test_reach_counts_from_the_first_element_to_the_last():
    assert reach((), ()) == 1
    assert reach((3, 0), (10, 10)) == 0
    assert reach((2, 3), (10, 2)) == 15


def test_a_large_transposed_matrix_is_read_in_little_memory():
    rows, columns = 2000, 40_000  # of 4 bytes: 320 MB that are never there
    largest = 0

    def read(first: int, last: int) -> bytes:
        nonlocal largest
        largest = max(largest, last - first)
        return np.arange(first // 4, last // 4, dtype="<u4").tobytes()

    found = gather(read, 4, (columns, rows), (1, columns), 4 * rows, 4 * (2 * rows + 3))

    expected = [*range(1, rows * columns, columns), 2, 2 + columns, 2 + 2 * columns]
    assert np.frombuffer(found, "<u4").tolist() == expected
    assert largest <= strided.SPAN
