"""The zip archives that torch writes, and those that nobody should."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import pytest
import torch

from wvc.repo.archive import Archive


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


def opened(data: bytes) -> Archive:
    def read(start: int, stop: int) -> bytes:
        assert 0 <= start <= stop <= len(data)
        return data[start:stop]

    return Archive(read, len(data))


def contents(data: bytes) -> dict[str, bytes]:
    archive = opened(data)
    return {name: data[slice(*archive.find(name))] for name in archive.names}


GOOD = {"a/data.pkl": b"pickle", "a/data/0": bytes(100), "a/é": b"", "a/data/1": b"x"}


def test_members_lie_where_zipfile_finds_them():
    assert contents(zipped(GOOD)) == GOOD


def test_torch_writes_such_archives(tmp_path):
    torch.save({"w": torch.arange(300.0), "v": torch.ones(3)}, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()

    with zipfile.ZipFile(tmp_path / "a.pt") as oracle:
        assert contents(data) == {name: oracle.read(name) for name in oracle.namelist()}


def entry(name: bytes, length: int, offset: int, **changes: int) -> bytes:
    field = {"flags": 0, "method": 0, "packed": length, "size": length, "disk": 0, "place": offset, **changes}
    return struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", 45, 45, field["flags"], field["method"], 0, 0, 0, field["packed"], field["size"],
        len(name), 0, 0, field["disk"], 0, 0, field["place"],
    ) + name  # fmt: skip


def local(name: bytes, data: bytes, **changes: int) -> bytes:
    field = {"flags": 0, "method": 0, "extra": 0, **changes}
    head = struct.pack(
        "<4s5H3L2H", b"PK\3\4", 45, field["flags"], field["method"], 0, 0, 0, 0, 0, len(name), field["extra"]
    )
    return head + name + bytes(field["extra"]) + data


def end(count: int, length: int, start: int, disk: int = 0) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", disk, disk, count, count, length, start, 0)


def end64(count: int, length: int, start: int, **changes: int) -> bytes:
    field = {"place": start + length, "count": count, "length": length, "start": start, **changes}
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, field["count"], field["length"], field["start"]
    )
    return record + struct.pack("<4sLQL", b"PK\6\7", 0, field["place"], 1)


HEAD = local(b"w", b"12345")
PLAIN = entry(b"w", 5, 0)


def archive(head: bytes = HEAD, entries: bytes = PLAIN, count: int = 1) -> bytes:
    return head + entries + end(count, len(entries), len(head))


def wide(**numbers: int) -> bytes:
    """An entry whose numbers all stand in the wide extra field."""
    values = {"size": 5, "packed": 5, "place": 0, **numbers}
    extra = b"\x99\x99\x02\x00xx" + struct.pack("<2H3Q", 1, 24, *values.values())
    full = bytearray(entry(b"w", 5, 0, size=0xFFFFFFFF, packed=0xFFFFFFFF, place=0xFFFFFFFF))
    full[30:32] = len(extra).to_bytes(2, "little")
    return bytes(full) + extra


def test_sizes_of_64_bits():
    entries = wide()
    data = HEAD + entries + end64(1, len(entries), len(HEAD)) + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)

    assert contents(data) == {"w": b"12345"}


def test_a_directory_of_64_bits_beside_one_that_says_the_same():
    assert contents(HEAD + PLAIN + end64(1, len(PLAIN), len(HEAD)) + end(1, len(PLAIN), len(HEAD))) == {"w": b"12345"}


L, H = len(PLAIN), len(HEAD)
BAD = {
    "nothing": b"",
    "no directory": HEAD + bytes(30),
    "bytes behind": archive() + b"x",
    "a comment": zipped(GOOD, comment=b"hello"),
    "a comment that is not there": archive()[:-2] + b"\x05\x00",
    "bytes in front": b"#!/bin/sh\n" + archive(),
    "bytes before the directory": HEAD + b"x" + PLAIN + end(1, L, H),
    "bytes behind the directory": HEAD + PLAIN + b"x" + end(1, L, H),
    "directory beyond the file": HEAD + PLAIN + end(1, L, 2**31),
    "directory longer than the file": HEAD + PLAIN + end(1, 2**31, H),
    "directory larger than any": HEAD + PLAIN + end64(1, 2**40, H) + end(1, 0xFFFFFFFF, H),
    "more entries than there are": archive(count=2),
    "fewer entries than there are": archive(count=0),
    "several parts": HEAD + PLAIN + end(1, L, H, disk=1),
    "two directories that disagree in number": HEAD + PLAIN + end64(1, L, H) + end(2, L, H),
    "two directories that disagree in place": HEAD + PLAIN + end64(1, L, H) + end(1, L, 0),
    "the second directory elsewhere": HEAD + PLAIN + end64(1, L, H, place=0) + end(1, L, H),
    "the second directory far beyond": HEAD + PLAIN + end64(1, L, H, place=2**63) + end(1, L, H),
    "a name twice": archive(entries=PLAIN * 2, count=2),
    "a name that is no text": archive(local(b"\xff", b""), entry(b"\xff", 0, 0)),
    "compressed": zipped({"w": bytes(10_000)}, zipfile.ZIP_DEFLATED),
    "compressed in its own header": archive(local(b"w", b"12345", method=8)),
    "encrypted": archive(entries=entry(b"w", 5, 0, flags=1)),
    "strongly encrypted": archive(entries=entry(b"w", 5, 0, flags=0x40)),
    "encrypted in its own header": archive(local(b"w", b"12345", flags=1)),
    "two sizes": archive(entries=entry(b"w", 5, 0, size=4)),
    "larger than the archive": archive(entries=entry(b"w", 6, 0)),
    "reaching into the directory": archive(entries=entry(b"w", 40, 0)),
    "beyond the archive": archive(entries=entry(b"w", 5, 2**31)),
    "at its end": archive(entries=entry(b"w", 5, H)),
    "where no member begins": archive(entries=entry(b"w", 1, 3)),
    "another name in its own header": archive(local(b"v", b"12345")),
    "a header that reaches beyond": archive(local(b"w", b"12345")[:28] + b"\xff\xff" + local(b"w", b"12345")[30:]),
    "wide size beyond": HEAD + wide(size=2**63, packed=2**63) + end(1, len(wide()), H),
    "wide place beyond": HEAD + wide(place=2**64 - 1) + end(1, len(wide()), H),
    "no wide numbers": archive(entries=entry(b"w", 5, 0, size=0xFFFFFFFF, packed=0xFFFFFFFF)),
}


@pytest.mark.parametrize("case", BAD)
def test_other_archives_are_refused(case):
    with pytest.raises(ValueError, match=r"zip|cut short|decode"):
        contents(BAD[case])


def test_a_name_that_is_not_there():
    with pytest.raises(KeyError):
        opened(zipped(GOOD)).find("a/data/../data.pkl")


def test_damage_is_noticed_or_harmless():
    good = [zipped(GOOD), HEAD + wide() + end64(1, len(wide()), H) + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)]
    choice = random.Random(0)

    for _ in range(4000):
        data = bytearray(choice.choice(good))
        for _ in range(choice.choice([1, 2, 8])):
            data[choice.randrange(len(data))] = choice.randrange(256)
        try:
            found = contents(bytes(data[: choice.choice([len(data), choice.randrange(len(data))])]))
        except ValueError:
            continue
        assert sum(map(len, found.values())) <= len(data) * len(found)


def test_many_entries_take_seconds_at_most():
    entries = b"".join(entry(b"%07d" % i, 0, 0) for i in range(200_000))

    data = HEAD + entries + end64(200_000, len(entries), H) + end(0xFFFF, len(entries), H)

    assert len(opened(data).names) == 200_000
