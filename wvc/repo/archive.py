"""Find the members of a zip archive that were stored without compression, as PyTorch's checkpoints are.

Stricter than the format, so that no two readers can disagree about what a file holds: nothing before the first member,
nothing behind the last record, no comment, no name twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Read = Callable[[int, int], bytes]

END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
WIDE = 0x0001  # tag of the extra field with sizes and positions of 64 bits
SHORT, LONG = 0xFFFF, 0xFFFFFFFF  # what stands in narrow fields where a wide one holds the number
HIDDEN = 0x0001 | 0x0040 | 0x2000  # flags: encrypted, strongly encrypted, header masked
MAX_DIRECTORY = 64 << 20


class Archive:
    """The directory of a zip archive. Members are checked when they are asked for."""

    def __init__(self, read: Read, size: int) -> None:
        """read: bytes start..stop of the archive, which has `size` bytes. Raises ValueError."""
        self._read = read
        self._end, count, length = _directory(read, size)  # members end where the directory begins
        self._records = read(self._end, self._end + length)
        self._places: dict[str, int] = {}
        for position, name in _entries(self._records, count):
            if name in self._places:
                raise ValueError(f"the zip archive holds {name[:80]!a} twice")
            self._places[name] = position
        self.names = tuple(self._places)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def find(self, name: str) -> tuple[int, int]:
        """Where the bytes of a member begin and end. Raises KeyError if there is none, ValueError if it is no good."""
        position = self._places[name]
        _, _, _, flags, method, *_, packed, size, n, e, _, disk, _, _, place = ENTRY.unpack_from(
            self._records, position
        )
        if flags & HIDDEN:
            raise ValueError(f"zip member {name[:80]!a} is encrypted")
        if method:
            raise ValueError(f"zip member {name[:80]!a} is compressed")
        extra = self._records[position + ENTRY.size + n : position + ENTRY.size + n + e]
        size, packed, place = _widened(extra, (size, packed, place))
        if size != packed or disk not in (0, SHORT):
            raise ValueError(f"zip member {name[:80]!a} has two sizes, or lies in another file")
        start = self._data(name, place)
        if start + size > self._end:
            raise ValueError(f"zip member {name[:80]!a} reaches beyond the archive")
        return start, start + size

    def _data(self, name: str, place: int) -> int:
        """Where the bytes begin, behind the member's own header at `place`, which must agree with the directory."""
        text = name.encode("utf-8")
        stop = place + LOCAL.size + len(text)
        if stop > self._end:
            raise ValueError(f"zip member {name[:80]!a} lies beyond the archive")
        head = self._read(place, stop)
        mark, _, flags, method, *_, n, e = LOCAL.unpack_from(head)
        wrong = mark != b"PK\3\4" or flags & HIDDEN or method or n != len(text) or stop + e > self._end
        if wrong or head[LOCAL.size :] != text:
            raise ValueError(f"zip member {name[:80]!a} differs from its entry in the directory")
        return stop + int(e)


def _directory(read: Read, size: int) -> tuple[int, int, int]:
    """Where the directory begins, how many entries it has, and its length."""
    last = size - END.size
    if last < 0:
        raise ValueError("cut short: the zip archive has no directory")
    mark, disk, first, here, count, length, start, comment = END.unpack(read(last, size))
    if mark != b"PK\5\6" or comment:
        raise ValueError("cut short, or something follows the zip archive: its directory is not at the end")
    wide = last - LOCATOR.size
    if wide >= 0 and (found := LOCATOR.unpack(read(wide, last)))[0] == b"PK\6\7":
        narrow = (here, count, length, start)
        last = wide - END64.size
        if found[2] != last or last < 0:
            raise ValueError("the zip archive's directory is not where it should be")
        mark, _, _, _, disk, first, here, count, length, start = END64.unpack(read(last, wide))
        most = (SHORT, SHORT, LONG, LONG)
        same = all(a in (b, m) for a, b, m in zip(narrow, (here, count, length, start), most, strict=True))
        if mark != b"PK\6\6" or not same:
            raise ValueError("the zip archive has two directories that disagree")
    if disk or first or here != count:
        raise ValueError("the zip archive is one part of several")
    if length > MAX_DIRECTORY or start + length != last:
        raise ValueError("the zip archive's directory is not where it should be")
    return start, count, length


def _entries(records: bytes, count: int) -> Iterator[tuple[int, str]]:
    """Position and name of every entry. Raises ValueError unless there are `count` and nothing else."""
    position = 0
    for _ in range(count):
        if position + ENTRY.size > len(records) or records[position : position + 4] != b"PK\1\2":
            raise ValueError("the zip archive's directory is damaged")
        name, extra, comment = struct.unpack_from("<3H", records, position + 28)
        text = records[position + ENTRY.size : position + ENTRY.size + name]
        yield position, text.decode("utf-8")
        position += ENTRY.size + name + extra + comment
    if position != len(records):
        raise ValueError("the zip archive's directory is damaged")


def _widened(extra: bytes, fields: tuple[int, int, int]) -> Iterator[int]:
    """Size, packed size and place, each from the wide extra field where the narrow one is full."""
    wide = b""
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<2H", extra)
        if tag == WIDE and not wide:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    for field in fields:
        if field == LONG:
            if len(wide) < 8:
                raise ValueError("the zip archive's directory lacks a number of 64 bits")
            field, wide = int.from_bytes(wide[:8], "little"), wide[8:]  # noqa: PLW2901
        yield field
