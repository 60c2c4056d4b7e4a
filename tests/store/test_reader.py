"""Reading and storing differences: chains end, bases are checked, what is damaged is found and never built upon."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wvc.errors import BadFile, CorruptObject, CorruptPack, Damage, MissingObject
from wvc.store import batch as batches
from wvc.store.batch import Batch
from wvc.store.blobs import Blob, held
from wvc.store.choice import MAX_DEPTH
from wvc.store.codecs import Plan, encode
from wvc.store.packs import DEEPEST, SUFFIX, Pack
from wvc.store.reader import Reader


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def walk(steps: int, count: int = 5000, seed: int = 0) -> list[bytes]:
    """fp32 numbers, and again after each of some small steps."""
    random = np.random.default_rng(seed)
    values = [random.normal(0, 0.02, count).astype("<f4")]
    for _ in range(steps):
        values.append((values[-1] + random.normal(0, 1e-4, count)).astype("<f4"))
    return [value.tobytes() for value in values]


class Shelf:
    """A folder of packs and a record of which pack holds what."""

    def __init__(self, path: Path) -> None:
        self.packs, self.tmp = path / "packs", path / "tmp"
        self.packs.mkdir()
        self.index: dict[str, list[str]] = {}
        self.reader = Reader(self.packs, lambda id: self.index.get(id, []))

    def announce(self, *names: str) -> None:
        for name in names:
            for id in Pack(self.packs, name).ids():
                self.index.setdefault(id, []).append(name)

    def store(self, *datas: bytes, bases: Sequence[bytes] = (), dtype: str = "F32") -> set[str]:
        """Store data with the likely bases; return the packs that it relies on."""
        ids = tuple(sha(base) for base in bases)
        width = {"F32": 4, "BF16": 2, "U8": 1}[dtype]
        with Batch(self.packs, self.tmp, self.reader, [(9, 9)] * len(datas)) as batch:
            blobs = [replace(held(dtype, (len(data) // width,), data), bases=ids) for data in datas]
            assert batch.store(blobs) == [sha(data) for data in datas]
            self.announce(*batch.publish())
        return batch.needs

    def stored(self, data: bytes) -> Any:
        return self.reader.best(sha(data)).stored

    def damage(self, data: bytes) -> None:
        """Change a byte of every entry that stores `data`."""
        for name in self.index[sha(data)]:
            path = self.packs / (name + SUFFIX)
            place = Pack(self.packs, name).entries[sha(data)].start + 10
            raw = bytearray(path.read_bytes())
            raw[place] ^= 255
            path.chmod(0o600)
            path.write_bytes(raw)
        self.reader = Reader(self.packs, lambda id: self.index.get(id, []))

    def forge(self, entries: Mapping[str, tuple[bytes, Any]]) -> str:
        """A pack of coded entries: id -> (stored bytes, what `codecs` says of it)."""
        codecs = json.dumps({id: coding for id, (_, coding) in entries.items()})
        header: dict[str, Any] = {"__metadata__": {"wvc": "pack 1", "objects": "0", "codecs": codecs}}
        position = 0
        for id, (data, _) in entries.items():
            header[id] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [position, position + len(data)]}
            position += len(data)
        text = json.dumps(header).encode()
        raw = len(text).to_bytes(8, "little") + text
        name = f"{sha(raw)}.{'0' * 16}"
        (self.packs / (name + SUFFIX)).write_bytes(raw + b"".join(data for data, _ in entries.values()))
        return name


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def entry(new: bytes, base: bytes | None) -> bytes:
    """`new` as a coded entry of one chunk."""
    chunk = encode(new, base, Plan("F32", base is not None))
    return chunk + len(chunk).to_bytes(4, "little")


def coding(
    stored: bytes, raw: int, depth: int, base: str | None, codec: str = "delta", dtype: str = "F32"
) -> list[Any]:
    return [codec, dtype, raw, depth, base, sha(stored)]


# Storing


def test_a_fine_tune_is_stored_as_a_difference_and_comes_back(shelf):
    old, new = walk(1)
    first = shelf.store(old)

    needs = shelf.store(new, bases=[old])

    assert (shelf.stored(old).codec, shelf.stored(new).codec) == ("plain", "delta")
    assert shelf.stored(new).size < 0.65 * len(new)
    assert first < needs
    assert bytes(shelf.reader.read(sha(new))) == new == b"".join(shelf.reader.chunks(sha(new)))


def test_a_chain_of_fine_tunes_stays_shallow_and_comes_back(shelf):
    values = walk(3 * MAX_DEPTH)
    shelf.store(values[0])
    for old, new in itertools.pairwise(values):
        shelf.store(new, bases=[old])

    depths = [shelf.stored(value).depth for value in values]
    assert max(depths) == MAX_DEPTH
    assert {shelf.stored(value).codec for value in values[1:]} == {"delta"}
    assert [bytes(shelf.reader.read(sha(value))) for value in values] == values


def test_the_nearest_of_three_bases_is_taken(shelf):
    (near, new), far, other = walk(1), *(walk(0, seed=seed) for seed in (1, 2))
    shelf.store(near, far[0], other[0])

    shelf.store(new, bases=[far[0], near, other[0]])

    assert shelf.stored(new).base == sha(near)


@pytest.mark.parametrize("kind", ["noise", "tiny", "empty"])
def test_what_gains_nothing_stays_raw(shelf, kind):
    data = {"noise": np.random.default_rng(0).bytes(9000), "tiny": bytes(100), "empty": b""}[kind]

    shelf.store(data, dtype="U8")

    assert shelf.stored(data).codec == "raw"
    assert bytes(shelf.reader.read(sha(data))) == data


def test_one_changed_bit_of_a_large_tensor_takes_a_few_hundred_bytes(shelf):
    old = walk(0, 1 << 20)[0]
    new = old[:5000] + bytes([old[5000] ^ 1]) + old[5001:]
    shelf.store(old)

    shelf.store(new, bases=[old])

    assert shelf.stored(new).size < 400
    assert bytes(shelf.reader.read(sha(new))) == new


@pytest.mark.parametrize("size", [(1 << 20) - 4, 1 << 20, (1 << 20) + 4, (3 << 20) + 12])
def test_tensors_about_the_size_of_a_chunk_come_back(shelf, size):
    old, new = walk(1, size // 4)
    shelf.store(old)
    shelf.store(new, bases=[old])

    assert bytes(shelf.reader.read(sha(new))) == new
    assert bytes(shelf.reader.best(sha(new)).piece(7, size - 3)) == new[7 : size - 3]


def test_many_equal_tensors_are_stored_once_by_all_threads(shelf):
    old, new = walk(1)

    shelf.store(*[old, new] * 20)

    assert sorted(len(names) for names in shelf.index.values()) == [1, 1]


@pytest.mark.parametrize("fixed", [True, False])
def test_what_is_too_large_for_memory_is_written_as_it_comes(shelf, monkeypatch, fixed):
    monkeypatch.setattr(batches, "WINDOW", 1 << 12)
    old, new = walk(1, 1 << 19)
    noise = np.random.default_rng(0).bytes(1 << 20)
    for datas, bases in (([old, noise, walk(0)[0]], ()), ([new], (sha(old),))):
        with Batch(shelf.packs, shelf.tmp, shelf.reader, [(9,)] * 9) as batch:
            reads = [lambda a, b, d=data: d[a:b] for data in datas]
            batch.store(
                [Blob("F32", (len(d) // 4,), r, fixed, bases) for d, r in zip(datas, reads, strict=True)],
            )
            shelf.announce(*batch.publish())

    assert shelf.stored(new).codec == "delta"
    assert all(bytes(shelf.reader.read(sha(data))) == data for data in (old, new, noise))


@pytest.mark.parametrize("window", [1 << 12, 1 << 30])
def test_a_source_that_changes_while_it_is_read_is_stored_as_it_was_read(shelf, monkeypatch, window):
    monkeypatch.setattr(batches, "WINDOW", window)
    data = walk(0, 1 << 19)[0]
    given: dict[int, bytes] = {}

    def read(start: int, stop: int) -> bytes:
        given[start] = data[start:stop] if start not in given else bytes([7]) * (stop - start)
        return given[start]

    with Batch(shelf.packs, shelf.tmp, shelf.reader, [(9,)]) as batch:
        (id,) = batch.store([Blob("F32", (len(data) // 4,), read)])
        shelf.announce(*batch.publish())

    assert bytes(shelf.reader.read(id)) == b"".join(given[start] for start in sorted(given))


def test_a_source_that_changes_before_it_is_read_again_leaves_nothing(shelf):
    old, new = walk(1)
    shelf.store(old)
    shelf.damage(old)  # noticed at the end, when all has been read once
    reads = []

    def read(start: int, stop: int) -> bytes:
        reads.append(start)
        return (new if len(reads) < 3 else old)[start:stop]

    with Batch(shelf.packs, shelf.tmp, shelf.reader, [(9,)]) as batch:
        with pytest.raises(BadFile, match="changed"):
            batch.store([Blob("F32", (len(new) // 4,), read, bases=(sha(old),))])
        assert batch.publish() == ()


def test_a_damaged_base_is_not_built_upon(shelf):
    old, new = walk(1)
    shelf.store(old)
    shelf.damage(old)

    needs = shelf.store(new, bases=[old])

    assert shelf.stored(new).codec == "plain"
    assert bytes(shelf.reader.read(sha(new))) == new
    assert needs.isdisjoint(shelf.index[sha(old)])


def test_a_base_that_is_not_there_is_no_base(shelf):
    old, new = walk(1)

    shelf.store(new, bases=[old])

    assert shelf.stored(new).codec == "plain"


def test_what_is_stored_as_a_difference_is_relied_on_with_its_bases(shelf):
    values = walk(2)
    for old, new in zip([b"", *values], values, strict=False):
        shelf.store(new, bases=[old])

    assert len(shelf.store(values[2])) == 3


# Reading


def test_a_damaged_base_makes_what_rests_on_it_unreadable(shelf):
    old, new = walk(1)
    shelf.store(old)
    shelf.store(new, bases=[old])
    shelf.damage(old)

    for read in (shelf.reader.read, lambda id: list(shelf.reader.chunks(id)), shelf.reader.whole):
        with pytest.raises(Damage):
            read(sha(new))


def test_what_was_damaged_is_stored_at_depth_0_again(shelf):
    near, old, new = walk(2)
    shelf.store(near, old)
    shelf.store(new, bases=[old])
    shelf.damage(old)

    shelf.store(old, bases=[near])  # as a difference it would not help: `new` needs it at depth 0

    assert shelf.stored(old).codec == "plain"
    assert bytes(shelf.reader.read(sha(new))) == new


def test_another_copy_of_the_base_helps(shelf):
    old, new = walk(1)
    shelf.store(old)
    shelf.store(new, bases=[old])
    shelf.damage(old)
    shelf.store(old)  # what is damaged is stored again

    assert bytes(shelf.reader.read(sha(new))) == new
    assert b"".join(shelf.reader.chunks(sha(new))) == new


def test_a_missing_base_is_named(shelf):
    old, new = walk(1)
    shelf.store(old)
    shelf.store(new, bases=[old])
    del shelf.index[sha(old)]

    with pytest.raises(MissingObject, match=sha(old)[:12]):
        shelf.reader.read(sha(new))


def test_differences_that_go_round_in_a_circle_are_refused_at_once(shelf):
    one, two = walk(1)
    first, second = entry(one, two), entry(two, one)
    for depths in ((1, 2), (1, 1), (DEEPEST, DEEPEST)):
        name = shelf.forge({
            sha(one): (first, coding(first, len(one), depths[0], sha(two))),
            sha(two): (second, coding(second, len(two), depths[1], sha(one))),
        })  # fmt: skip
        shelf.index = {sha(one): [name], sha(two): [name]}
        shelf.reader = Reader(shelf.packs, lambda id: shelf.index.get(id, []))

        with pytest.raises(Damage):
            shelf.reader.read(sha(one))


def test_only_a_base_of_smaller_depth_is_used(shelf):
    old, new = walk(1)
    shelf.store(old)
    stored = entry(new, old)
    deep = shelf.forge({sha(new): (stored, coding(stored, len(new), 1, sha(old)))})
    shelf.announce(deep)
    plain = entry(old, None)
    other = shelf.forge({sha(old): (plain, coding(plain, len(old), 1, sha(new)))})
    shelf.index[sha(old)] = [other]

    with pytest.raises(Damage):
        shelf.reader.read(sha(new))


OLD, NEW = walk(1, 500)
STORED = entry(NEW, OLD)
CODINGS: dict[str, Any] = {
    "not a list": 7,
    "too short": ["delta"],
    "unknown codec": coding(STORED, 2000, 1, sha(OLD), codec="zip"),
    "unknown dtype": coding(STORED, 2000, 1, sha(OLD), dtype="F33"),
    "no depth": coding(STORED, 2000, 0, sha(OLD)),
    "too deep": coding(STORED, 2000, DEEPEST + 1, sha(OLD)),
    "no base": coding(STORED, 2000, 1, None),
    "a path for a base": coding(STORED, 2000, 1, "../../etc/passwd"),
    "plain with a base": coding(STORED, 2000, 0, sha(OLD), codec="plain"),
    "negative size": coding(STORED, -4, 1, sha(OLD)),
    "no size": coding(STORED, 0, 1, sha(OLD)),
    "a size that is no number": coding(STORED, True, 1, sha(OLD)),
    "an object for a list": {str(n): n for n in range(6)},
    "more chunks than fit": coding(STORED, 2**40, 1, sha(OLD)),
    "half a number": coding(STORED, 2001, 1, sha(OLD)),
    "a hash that is none": [*coding(STORED, 2000, 1, sha(OLD))[:5], "x"],
}


@pytest.mark.parametrize("case", CODINGS)
def test_a_header_that_says_nonsense_of_a_coded_entry_is_refused(shelf, case):
    name = shelf.forge({sha(NEW): (STORED, CODINGS[case])})

    with pytest.raises(CorruptPack, match="coded"):
        Pack(shelf.packs, name)


def test_a_coding_of_something_that_is_not_there_is_refused(shelf):
    name = shelf.forge({})
    text = json.dumps(
        {"__metadata__": {"wvc": "pack 1", "objects": "0", "codecs": json.dumps({"0" * 64: []})}}
    ).encode()
    raw = len(text).to_bytes(8, "little") + text
    name = f"{sha(raw)}.{'0' * 16}"
    (shelf.packs / (name + SUFFIX)).write_bytes(raw)

    with pytest.raises(CorruptPack):
        Pack(shelf.packs, name)


@pytest.mark.parametrize("claim", [1996, 2004, 4000])
def test_an_entry_that_decodes_to_another_size_is_damage(shelf, claim):
    shelf.store(OLD)
    shelf.announce(shelf.forge({sha(NEW): (STORED, coding(STORED, claim, 1, sha(OLD)))}))

    with pytest.raises(Damage):
        shelf.reader.read(sha(NEW))
    with pytest.raises(Damage):
        shelf.reader.read(sha(NEW), len(NEW))


def test_a_size_that_nobody_asked_for_is_not_decoded(shelf, monkeypatch):
    shelf.store(OLD)
    monkeypatch.setattr("wvc.store.copies.decode", lambda *_: pytest.fail("decoded"))

    with pytest.raises(CorruptObject):
        shelf.reader.read(sha(OLD), len(OLD) + 4)


@pytest.mark.parametrize("table", [b"\0\0\0\0", b"\xff\xff\xff\xff"])
def test_a_table_that_does_not_fit_is_damage(shelf, table):
    shelf.store(OLD)
    stored = STORED[:-4] + table
    shelf.announce(shelf.forge({sha(NEW): (stored, coding(stored, len(NEW), 1, sha(OLD)))}))

    with pytest.raises(CorruptPack, match="table"):
        shelf.reader.read(sha(NEW))


def test_every_changed_byte_of_a_coded_entry_is_noticed(shelf):
    shelf.store(OLD)
    shelf.store(NEW, bases=[OLD])
    (name,) = shelf.index[sha(NEW)]
    path = shelf.packs / (name + SUFFIX)
    good = path.read_bytes()
    place = Pack(shelf.packs, name).entries[sha(NEW)]
    path.chmod(0o600)

    for i in range(place.start, place.stop, 3):
        path.write_bytes(good[:i] + bytes([good[i] ^ 16]) + good[i + 1 :])
        with pytest.raises(CorruptObject):
            Pack(shelf.packs, name).check(sha(NEW))


def test_what_is_looked_for_as_an_object_is_never_decoded(shelf, monkeypatch):
    shelf.store(OLD)
    monkeypatch.setattr("wvc.store.copies.decode", lambda *_: pytest.fail("decoded"))

    with pytest.raises(CorruptPack):
        shelf.reader.object(sha(OLD))


def test_a_failure_in_one_thread_stops_the_others(shelf):
    def read(start: int, stop: int) -> bytes:
        if start:
            raise BadFile("x", "gone")
        return bytes(stop - start)

    endless = Blob("F32", (1 << 40,), lambda start, stop: bytes(stop - start))
    with Batch(shelf.packs, shelf.tmp, shelf.reader, [(9,)]) as batch, pytest.raises(BadFile):
        batch.store([Blob("F32", (1 << 20,), read), endless])


def test_any_function_may_find_packs(tmp_path):
    find: Callable[[str], Sequence[str]] = lambda _: ["0" * 64 + "." + "0" * 16]  # noqa: E731

    with pytest.raises(MissingObject, match="pack"):
        Reader(tmp_path, find).read("0" * 64)
