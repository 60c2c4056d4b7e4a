"""Ranks in rows, against counting how many magnitudes come before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wvc.strategies._models import Chunk, Models, Stack
from wvc.strategies._rows import LONG, Ranks, Spans
from wvc.weights import Weights

SHAPES = [(), (1,), (7,), (5, 1), (4, 6), (3, 2, 2, 2), (300, 1000), (2, LONG), (LONG,)]


def stack_of(shape: tuple[int, ...], seed: int = 0, levels: int = 0) -> Stack:
    """A tensor that was changed from 0; to one of so many numbers, if levels are given."""
    generator = np.random.default_rng(seed)
    values = generator.integers(-levels, levels + 1, shape) if levels else generator.normal(size=shape)
    model, base = {"w": torch.as_tensor(values, dtype=torch.float32)}, {"w": torch.zeros(shape)}
    return Models.of([model]).stacks(Weights.holding(base))["w"]


def by_place(row: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1 by magnitude, and then by place."""
    ranks = np.empty(len(row))
    ranks[np.argsort(np.abs(row), kind="stable")] = np.arange(len(row))
    return ranks / (len(row) - 1) if len(row) > 1 else np.full(1, 0.5)


def ranks_of(stack: Stack) -> np.ndarray:
    ranks = Ranks(stack)
    return np.concatenate([ranks.of(0, chunk.start, chunk.deltas[0]) for chunk in ranks.chunks()])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [0, 3])
def test_ranks_are_those_in_each_row(shape, levels):
    stack = stack_of(shape, levels=levels)

    found = ranks_of(stack)

    rows = stack.tensors[0].load().reshape(shape[0] if len(shape) > 1 else 1, -1).numpy()
    np.testing.assert_allclose(found, np.concatenate([by_place(row) for row in rows]), atol=1e-12)


@pytest.mark.parametrize("shape", [(LONG + 1,), (2, LONG + 77), (2 * LONG + 5,)])
def test_long_rows_share_ranks_within_one_percent(shape):
    stack = stack_of(shape)

    found = ranks_of(stack)

    rows = stack.tensors[0].load().reshape(shape[0] if len(shape) > 1 else 1, -1).numpy()
    exact = np.concatenate([by_place(row) for row in rows])
    assert np.abs(found - exact).max() < 0.01
    assert found.mean() == pytest.approx(0.5)
    magnitudes = np.abs(rows.reshape(-1))
    first = slice(0, rows.shape[1])
    order = np.argsort(magnitudes[first])
    assert np.all(np.diff(found[first][order]) >= 0)


@pytest.mark.parametrize("shape", [*SHAPES, (LONG + 1,), (2, LONG + 77)])
def test_spans_are_the_whole_tensor_once(shape):
    ranks = Ranks(stack_of(shape))

    chunks = list(ranks.chunks())

    lengths = [len(chunk.origin) for chunk in chunks]
    assert [chunk.start for chunk in chunks] == [sum(lengths[:i]) for i in range(len(chunks))]
    assert sum(lengths) == np.prod(shape) and max(lengths) <= LONG
    for chunk in chunks:
        assert ranks.span(chunk.start) == ranks.span(chunk.start + len(chunk.origin) - 1)


def test_pieces_are_cut_out_of_spans_that_are_made_once():
    stack = stack_of((700, 1000))
    made = []

    def make(chunk: Chunk) -> np.ndarray:
        made.append(chunk.start)
        return chunk.deltas[0]

    spans = Spans(stack, Ranks(stack), make)
    pieces = [spans.read(start, min(start + 99_999, 700_000)) for start in range(0, 700_000, 99_999)]

    assert np.array_equal(np.concatenate(pieces), stack.tensors[0].read(0, 700_000))
    assert made == [0, 262_000, 524_000]


def test_what_is_cut_out_is_a_copy():
    stack = stack_of((4,))
    spans = Spans(stack, Ranks(stack), lambda chunk: chunk.deltas[0])

    spans.read(0, 4).fill(0)

    assert np.array_equal(spans.read(0, 4), stack.tensors[0].read(0, 4))
