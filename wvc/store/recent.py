"""Chunks that were decoded a moment ago, for as long as one thread works on one tensor.

Several tensors that are blended are differences to one base, and the result becomes a difference to one of them: each
chunk of these is wanted several times in a row.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from wvc.store import threads

MOST = max(6, 64 // threads.workers())  # chunks, of at most 1 MiB each, in a thread

Key = tuple[str, str, int]  # pack, id, number


class _Kept(threading.local):
    chunks: OrderedDict[Key, memoryview] | None = None


_kept = _Kept()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep the chunks that this thread decodes, until the end."""
    if _kept.chunks is not None:
        yield
        return
    _kept.chunks = OrderedDict()
    try:
        yield
    finally:
        _kept.chunks = None


def chunk(key: Key, decode: Callable[[], memoryview]) -> memoryview:
    """What `decode` gives, or gave a moment ago. It must not be written to."""
    chunks = _kept.chunks
    if chunks is None:
        return decode()
    if key in chunks:
        chunks.move_to_end(key)
        return chunks[key]
    found = chunks[key] = decode()
    if len(chunks) > MOST:
        chunks.popitem(last=False)
    return found
