"""Gather elements that do not lie side by side in a file: transposed, sliced and expanded tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Read = Callable[[int, int], bytes]
Numbers = tuple[int, ...]

# Bytes held at once besides the result. Several threads may gather at the same time.
SPAN = 32 << 20
# Below this many bytes between elements, reading all of it is quicker than skipping: a call costs microseconds.
SKIP = 32 << 10


def is_plain(shape: Numbers, stride: Numbers) -> bool:
    """True if the elements lie side by side in row-major order."""
    expected = 1
    for n, step in zip(reversed(shape), reversed(stride), strict=True):
        if n > 1 and step != expected:
            return False
        expected *= n
    return True


def reach(shape: Numbers, stride: Numbers) -> int:
    """How many elements of the storage lie between the first and the last, both included; 0 for an empty tensor."""
    return 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))


def gather(read: Read, width: int, shape: Numbers, stride: Numbers, start: int, stop: int) -> bytes:
    """Bytes start..stop of the tensor in row-major order.

    read: bytes of the storage, counted from the tensor's first element. width: bytes of an element, 1, 2, 4 or 8.
    shape, stride: in elements, no stride negative, at most 32 dimensions longer than 1.
    """
    kept = [(n, step) for n, step in zip(shape, stride, strict=True) if n > 1]
    shape, stride = tuple(n for n, _ in kept), tuple(step for _, step in kept)
    first, last = start // width, -(-stop // width)
    out = np.empty(last - first, f"u{width}")
    done = 0
    for place, sides, steps in _boxes(shape, stride, first, last):
        count = math.prod(sides)
        _fill(out[done : done + count].reshape(sides), read, place * width, steps)
        done += count
    return out.tobytes()[start - first * width : stop - first * width]


def _boxes(shape: Numbers, stride: Numbers, start: int, stop: int) -> Iterator[tuple[int, Numbers, Numbers]]:
    """Boxes that together are elements start..stop, in their order: place of the first element, shape, stride."""
    if start == stop:
        return
    if not shape:
        yield 0, (), ()
        return
    row = math.prod(shape[1:])
    (first, head), (last, tail) = divmod(start, row), divmod(stop, row)
    if head:
        yield from _moved(first * stride[0], _boxes(shape[1:], stride[1:], head, tail if first == last else row))
        first += 1
    if first < last:
        yield first * stride[0], (last - first, *shape[1:]), stride
    if tail and first <= last:
        yield from _moved(last * stride[0], _boxes(shape[1:], stride[1:], 0, tail))


def _moved(by: int, boxes: Iterator[tuple[int, Numbers, Numbers]]) -> Iterator[tuple[int, Numbers, Numbers]]:
    return ((by + place, shape, stride) for place, shape, stride in boxes)


def _fill(out: npt.NDArray[np.unsignedinteger], read: Read, place: int, stride: Numbers) -> None:
    """Fill `out` with the elements that lie `stride` apart from byte `place` on."""
    width = out.itemsize
    size = reach(out.shape, stride) * width
    if size <= SPAN:
        # numpy refuses strides that lead out of the buffer.
        out[...] = np.ndarray(out.shape, out.dtype, read(place, place + size), 0, [step * width for step in stride])
        return
    axis = max((i for i in range(out.ndim) if out.shape[i] > 1), key=lambda i: stride[i])
    step = stride[axis] * width
    inner = size - (out.shape[axis] - 1) * step
    many = max(1, (SPAN - inner) // step + 1) if step < SKIP else 1
    for i in range(0, out.shape[axis], many):
        _fill(out[(slice(None),) * axis + (slice(i, i + many),)], read, place + i * step, stride)
