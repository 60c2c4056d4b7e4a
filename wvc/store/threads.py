"""Do the same thing to many items in a few threads: hashing, compressing and file access all release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# More would not be faster: memory and disks are shared, and each thread keeps a few dozen MB.
MOST = 8


def workers() -> int:
    """How many threads to use: one for each core that this process may run on, and not too many."""
    return max(1, min(MOST, len(os.sched_getaffinity(0))))


def spread(
    work: Callable[[T], R], items: Iterable[T], count: int | None = None, stop: Callable[[], None] = lambda: None
) -> Iterator[R]:
    """Results of `work` in the order of `items`, which are taken as threads become free: one waits at most.

    What an item raises is raised in its turn; items that were not begun are then left alone.
    stop: called where the work ends early, before those that run are waited for.
    """
    count = count or workers()
    todo = iter(items)
    with ThreadPoolExecutor(count, "wvc") as pool:
        pending: list[Future[R]] = [pool.submit(work, item) for item in islice(todo, count + 1)]
        try:
            while pending:
                yield pending.pop(0).result()
                pending += [pool.submit(work, item) for item in islice(todo, 1)]
        except BaseException:
            stop()
            raise
        finally:
            for future in pending:
                future.cancel()
