"""Which bytes a request asks for, and which it brings."""

from __future__ import annotations

import re

from wvc.web.problems import Problem

RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")
LAST = re.compile(r"bytes=-([0-9]{1,15})")
CONTENT = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
LENGTH = re.compile(r"[0-9]{1,15}")


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """Bytes start..stop of `size` that a Range header asks for; None for all. Raises Problem.

    One range at most: many small ones cost a server more than a client.
    """
    if header is None:
        return None
    if "," in header:
        raise Problem(416, "one range at a time")
    if match := RANGE.fullmatch(header):
        start, end = int(match[1]), int(match[2]) if match[2] else size - 1
        if start <= end and start < size:
            return start, min(end + 1, size)
    elif (match := LAST.fullmatch(header)) and int(match[1]) and size:
        return max(0, size - int(match[1])), size
    raise Problem(416, f"there are {size} bytes")


def brought(content_range: str | None, content_length: str | None) -> tuple[int, int, int]:
    """(start, bytes, total) of what a PUT brings. Raises Problem."""
    if content_length is None or not LENGTH.fullmatch(content_length):
        raise Problem(411, "say how many bytes come", "send Content-Length")
    length = int(content_length)
    if content_range is None:
        return 0, length, length
    match = CONTENT.fullmatch(content_range)
    if match is None:
        raise Problem(400, "a Content-Range that is none", "bytes START-LAST/TOTAL")
    start, last, total = (int(text) for text in match.groups())
    if last + 1 - start != length or last >= total:
        raise Problem(400, "Content-Range and Content-Length do not agree")
    return start, length, total
