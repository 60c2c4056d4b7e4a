"""Make Ctrl-C and SIGTERM wait until the work can stop safely."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C was pressed, or SIGTERM sent, which interrupts nothing in the block.

    A second one is handled as it would have been outside. Only the main thread can wait so; elsewhere nothing changes,
    and the answer is always no. Ctrl-C stays ignored where it was (a job in the background).
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
        asked.append(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
