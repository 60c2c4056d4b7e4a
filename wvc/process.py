"""What a process of wvc asks of the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc keep what was freed. To give back each chunk of weights and ask for it again is a third of the work."""
    with contextlib.suppress(OSError, AttributeError):
        for parameter, size in ((M_TRIM_THRESHOLD, 256 << 20), (M_MMAP_THRESHOLD, 64 << 20)):
            ctypes.CDLL(None).mallopt(parameter, size)


def end_with(parent: int) -> None:
    """Have this process told to end (SIGTERM) when process `parent`, its own, ends, however that happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)
