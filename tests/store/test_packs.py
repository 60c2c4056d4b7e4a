"""Packs: valid safetensors files whose names vouch for every byte."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.errors import CorruptObject, CorruptPack, Damage, MissingObject
from wvc.store.batch import Batch
from wvc.store.canonical import digest, dumps
from wvc.store.header import BITS
from wvc.store.pack_writer import PackWriter, room
from wvc.store.packs import MAX_ENTRIES, SUFFIX, Pack
from wvc.store.reader import Reader

Tensors = list[tuple[str, tuple[int, ...], bytes]]
TENSORS: Tensors = [
    ("F32", (2, 3), bytes(range(24))),
    ("U8", (5,), b"hello"),
    ("BF16", (), b"\x80\x3f"),
    ("F32", (0, 4), b""),
    ("BOOL", (3,), b"\x01\x00\x01"),
]
OBJECTS = [dumps({"_type": "note", "n": i}) for i in range(3)]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "packs").mkdir()
    return tmp_path / "packs"


@pytest.fixture
def write(folder: Path) -> Callable[..., str]:
    """Function (tensors, objects) that makes one pack and returns its name."""

    def make(tensors: Tensors = TENSORS, objects: list[bytes] = OBJECTS) -> str:
        shapes = [shape for _, shape, _ in tensors]
        writer = PackWriter(folder, folder.parent / "tmp", room=room(shapes, 200 * len(objects)))
        for tensor in tensors:
            writer.write([tensor[2]])
            writer.keep(sha(tensor[2]), *tensor[:2])
        for data in objects:
            writer.put(data)
        assert writer.fits()
        name = writer.publish()
        writer.close()
        return name

    return make


def read_all(folder: Path, name: str) -> dict[str, bytes]:
    pack = Pack(folder, name)
    pack.check_padding()
    return {id: bytes(pack.read(id)) for id in pack.ids()}


def forge(folder: Path, header: bytes | dict[str, Any], body: bytes = b"", nonce: str = "0" * 16) -> str:
    """A pack with any header at all, under the name that the header deserves."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    raw = len(text).to_bytes(8, "little") + text
    name = f"{sha(raw)}.{nonce}"
    (folder / (name + SUFFIX)).write_bytes(raw + body)
    return name


def test_what_went_in_comes_out_under_its_hash(folder, write):
    name = write()

    found = read_all(folder, name)

    assert found == {sha(data): data for data in [*OBJECTS, *(data for _, _, data in TENSORS)]}
    assert Pack(folder, name).objects() == [sha(data) for data in OBJECTS]


def test_the_safetensors_library_opens_a_pack_and_gives_every_entry(folder, write):
    path = folder / (write() + SUFFIX)

    tensors = safetensors.torch.load_file(path)

    for dtype, shape, data in TENSORS:
        tensor = tensors[sha(data)]
        assert tuple(tensor.shape) == shape
        assert tensor.nbytes == math.prod(shape) * BITS[dtype] // 8
        assert not data or bytes(tensor.reshape(-1).view(torch.uint8).numpy()) == data
    assert bytes(tensors[sha(OBJECTS[0])].numpy()) == OBJECTS[0]


def test_tensors_begin_at_multiples_of_64_bytes_and_objects_stand_in_front(folder, write):
    pack = Pack(folder, write())
    sizes = {sha(data): len(data) for _, _, data in TENSORS}

    assert all(pack.entries[id].start % 64 == 0 for id, size in sizes.items() if size)
    assert max(pack.entries[id].stop for id in pack.objects()) <= min(pack.entries[id].start for id in sizes)


@settings(max_examples=30)
@given(st.data())
def test_any_tensors_and_objects_make_a_pack_that_the_library_opens(tmp_path_factory, data):
    shapes = data.draw(st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=6))
    dtypes = [data.draw(st.sampled_from(["F32", "U8", "BF16", "I64", "BOOL"])) for _ in shapes]
    sizes = [math.prod(shape) * BITS[dtype] // 8 for shape, dtype in zip(shapes, dtypes, strict=True)]
    values = [data.draw(st.binary(min_size=n, max_size=n)) for n in sizes]
    objects = data.draw(st.lists(st.text("ab", max_size=4).map(dumps), max_size=4))
    folder = tmp_path_factory.mktemp("packs")

    with Batch(folder, folder / "tmp", Reader(folder, lambda _: ()), shapes, 400) as batch:
        ids = [batch.add(d, s, [v]) for d, s, v in zip(dtypes, shapes, values, strict=True)]
        ids += [batch.put(object) for object in objects]
        names = batch.publish()
    found: dict[str, bytes] = {}
    for name in names:
        found |= read_all(folder, name)
        safetensors.torch.load_file(folder / (name + SUFFIX))

    assert ids == [sha(value) for value in [*values, *objects]]
    assert found == {sha(value): value for value in [*values, *objects]}


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_every_changed_byte_is_noticed(folder, write, mask):
    name = write(TENSORS[:3], OBJECTS[:2])
    path = folder / (name + SUFFIX)
    good = path.read_bytes()
    path.unlink()
    unnoticed = []

    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ mask]) + good[i + 1 :])
        try:
            read_all(folder, name)
        except Damage:
            continue
        unnoticed.append(i)

    assert len(good) < 4096
    assert unnoticed == []


def test_truncations_and_additions_are_noticed(folder, write):
    name = write(TENSORS[:2], OBJECTS[:1])
    path = folder / (name + SUFFIX)
    good = path.read_bytes()
    path.unlink()

    for data in [*(good[:i] for i in range(0, len(good), 3)), good + b"\0", good + good]:
        path.write_bytes(data)
        with pytest.raises(Damage):
            read_all(folder, name)


def test_a_pack_under_a_name_that_is_not_its_own_is_refused(folder, write):
    name, other = write(), write(objects=OBJECTS[:1])
    (folder / (name + SUFFIX)).rename(folder / (other + SUFFIX))

    with pytest.raises(CorruptPack, match="hash to its name"):
        Pack(folder, other)


def test_a_missing_pack_is_missing(folder):
    with pytest.raises(MissingObject):
        Pack(folder, "0" * 64 + "." + "0" * 16)


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_what_is_no_file_in_the_place_of_a_pack_is_damage(folder, tmp_path, write, what):
    path = folder / (write() + SUFFIX)
    name = path.name.removesuffix(SUFFIX)
    path.rename(tmp_path / "elsewhere")
    if what == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    with pytest.raises(CorruptPack):
        Pack(folder, name)


HEADERS: dict[str, bytes | dict[str, Any]] = {
    "a stranger's": {},
    "another format": {"__metadata__": {"wvc": "pack 2", "objects": "0", "codecs": "{}"}},
    "objects no number": {"__metadata__": {"wvc": "pack 1", "objects": "-1", "codecs": "{}"}},
    "objects of 5000 digits": {"__metadata__": {"wvc": "pack 1", "objects": "9" * 5000, "codecs": "{}"}},
    "codecs no JSON": {"__metadata__": {"wvc": "pack 1", "objects": "0", "codecs": "{"}},
    "codecs a list": {"__metadata__": {"wvc": "pack 1", "objects": "0", "codecs": "[]"}},
    "codecs nested": {"__metadata__": {"wvc": "pack 1", "objects": "0", "codecs": "[" * 100_000}},
    "nested": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_forged_header_is_damage_and_nothing_else(folder, case):
    name = forge(folder, HEADERS[case])

    with pytest.raises(CorruptPack):
        Pack(folder, name)


def test_an_entry_that_lies_about_its_bytes_is_corrupt(folder):
    id = sha(b"other")
    fields = {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}
    name = forge(folder, {"__metadata__": {"wvc": "pack 1", "objects": "0", "codecs": "{}"}, id: fields}, b"abc")

    with pytest.raises(CorruptObject):
        Pack(folder, name).read(id)


def test_reading_changes_no_file(folder, write):
    name = write()
    path = folder / (name + SUFFIX)
    before = path.read_bytes()

    view = Pack(folder, name).read(sha(TENSORS[0][2]))
    torch.frombuffer(view, dtype=torch.uint8).fill_(7)

    assert path.read_bytes() == before


# Batch


@pytest.fixture
def batch(folder: Path) -> Callable[..., Batch]:
    """Function (packs that are known, shapes, objects) that opens a batch."""

    def make(known: Sequence[str] = (), shapes: Any = ((9,),) * 9, objects: int = 0) -> Batch:
        reader = Reader(folder, lambda id: [name for name in known if id in Pack(folder, name)])
        return Batch(folder, folder.parent / "tmp", reader, shapes, objects)

    return make


def test_equal_bytes_are_stored_once_whatever_their_shape(folder, batch):
    with batch() as new:
        ids = [new.add("U8", (4,), [b"abcd"]), new.add("F32", (1,), [b"ab", b"cd"]), new.add("U8", (2, 2), [b"abcd"])]
        (name,) = new.publish()

    assert len(set(ids)) == 1
    assert list(Pack(folder, name).ids()) == ids[:1]


def test_what_a_pack_holds_already_is_left_out_and_relied_on(folder, batch, write):
    known = write([("U8", (5,), b"known")], [])
    with batch([known]) as new:
        new.add("U8", (5,), [b"known"])
        new.add("U8", (3,), [b"new"])
        (name,) = new.publish()

    assert list(Pack(folder, name).ids()) == [sha(b"new")]
    assert new.needs == {name, known}


def test_what_a_pack_holds_damaged_is_stored_again(folder, batch, write):
    known = write([("U8", (5,), b"known")], [])
    path = folder / (known + SUFFIX)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"N")
    with batch([known]) as new:
        new.add("U8", (5,), [b"known"])
        (name,) = new.publish()

    assert read_all(folder, name) == {sha(b"known"): b"known"}
    assert new.needs == {name}


@pytest.mark.parametrize("sizes", [(1000, 10, 10), (10, 1000, 10), (1000, 1, 500), (500, 1000, 1)])
def test_an_entry_that_was_given_up_leaves_only_zeros(folder, sizes):
    entries = [bytes([byte]) * size for byte, size in zip(b"\x01\xff\x03", sizes, strict=True)]
    writer = PackWriter(folder, folder.parent / "tmp", room=room([(9,)] * 3, 0))
    for data in entries:
        writer.write([data])
        if data[0] != 255:
            writer.keep(sha(data), "U8", (len(data),))
    name = writer.publish()

    assert b"\xff" not in (folder / (name + SUFFIX)).read_bytes()
    assert set(read_all(folder, name)) == {sha(entries[0]), sha(entries[2])}


def test_only_known_entries_make_no_pack(folder, batch, write):
    known = write([("U8", (5,), b"known")], [])
    with batch([known]) as new:
        new.add("U8", (5,), [b"known"])
        names = new.publish()

    assert names == ()
    assert new.needs == {known}
    assert len(list(folder.iterdir())) == 1


def test_objects_that_do_not_fit_the_room_get_a_pack_of_their_own(folder, batch):
    objects = [dumps("x" * 300 + str(i)) for i in range(40)]
    with batch() as new:
        id = new.add("U8", (3,), [b"abc"])
        for data in objects:
            new.put(data)
        names = new.publish()

    found = [read_all(folder, name) for name in names]
    assert found == [{id: b"abc"}, {sha(data): data for data in objects}]
    assert Pack(folder, names[1]).objects() == [sha(data) for data in objects]


def test_entries_that_nobody_announced_never_make_a_broken_pack(folder, batch):
    with batch(shapes=()) as new:
        for i in range(60):
            new.add("U8", (100,), [bytes([i]) * 100])

        with pytest.raises(ValueError, match="room"):
            new.publish()

    assert not list(folder.iterdir())


def test_publishing_again_with_nothing_new_names_the_same_packs(folder, batch):
    with batch() as new:
        new.add("U8", (3,), [b"abc"])
        new.put(OBJECTS[0])
        first = new.publish()
        new.put(OBJECTS[0])
        second = new.publish()

    assert first == second
    assert len(list(folder.iterdir())) == 1


def test_what_was_published_stays_as_it_is_when_more_comes(folder, batch):
    with batch() as new:
        new.add("U8", (3,), [b"abc"])
        new.put(OBJECTS[0])
        first = new.publish()
        new.add("U8", (3,), [b"def"])
        new.put(OBJECTS[1])
        both = new.publish()

    assert set(first) < set(both)
    found = [read_all(folder, name) for name in both]
    assert found == [
        {sha(OBJECTS[0]): OBJECTS[0], sha(b"abc"): b"abc"},
        {sha(OBJECTS[1]): OBJECTS[1], sha(b"def"): b"def"},
    ]


@pytest.mark.parametrize("first", ["tensor", "object"])
def test_a_tensor_with_the_bytes_of_an_object_does_not_spoil_the_pack(folder, batch, first):
    data = OBJECTS[0]
    steps = [lambda: new.add("U8", (len(data),), [data]), lambda: new.put(data)]
    with batch() as new:
        for step in steps if first == "tensor" else reversed(steps):
            step()
        new.add("U8", (3,), [b"end"])
        (name,) = new.publish()

    assert read_all(folder, name) == {sha(data): data, sha(b"end"): b"end"}
    assert Pack(folder, name).objects() == [sha(data)]


def test_two_copies_of_the_same_pack_have_two_names(folder, write):
    first, second = write(), write()

    assert first != second
    assert first.split(".")[0] == second.split(".")[0]


def test_a_batch_that_was_given_up_leaves_nothing(folder, batch):
    with pytest.raises(KeyboardInterrupt), batch() as new:
        new.add("U8", (3,), [b"abc"])
        raise KeyboardInterrupt

    assert not list(folder.iterdir())
    assert not list((folder.parent / "tmp").iterdir())


def test_no_pack_has_more_entries_than_allowed(folder, batch):
    n = MAX_ENTRIES // 2 + 10
    with batch(shapes=[(2,)] * n) as new:
        ids = {new.add("U8", (2,), [i.to_bytes(2, "little")]) for i in range(n)}
        names = new.publish()

    packs = [Pack(folder, name) for name in names]
    assert len(packs) == 2
    assert all(len(pack.entries) <= MAX_ENTRIES for pack in packs)
    assert {id for pack in packs for id in pack.ids()} == ids


def test_one_fsync_of_data_and_one_of_the_folder_make_a_pack(folder, write, monkeypatch):
    calls = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(fd), fsync(fd))[1])

    write()

    assert len(calls) == 2


def test_ids_are_plain_sha256_so_other_tools_can_check_them(folder, write):
    assert digest(b"hello") in Pack(folder, write()).entries


def test_an_empty_tensor_in_front_is_no_object(folder, write):
    for objects in ([], OBJECTS):
        pack = Pack(folder, write([("F32", (0, 4), b""), ("U8", (3,), b"abc")], objects))

        assert pack.objects() == [sha(data) for data in objects]


@pytest.mark.parametrize("dimensions", [1, 33, 64])
def test_room_for_more_than_a_header_may_have_does_no_harm(folder, dimensions):
    shapes = [(1,) * dimensions] * (MAX_ENTRIES // 2 - 2)
    writer = PackWriter(folder, folder.parent / "tmp", room=room(shapes, 0))
    writer.write([bytes(1000)])
    writer.keep(sha(bytes(1000)), "U8", (1000,))
    writer.put(OBJECTS[0])
    name = writer.publish()

    assert read_all(folder, name) == {sha(bytes(1000)): bytes(1000), sha(OBJECTS[0]): OBJECTS[0]}
    assert (folder / (name + SUFFIX)).stat().st_size < 4096


def test_more_packs_than_a_process_may_have_open(folder, write):
    packs = [Pack(folder, write([("U8", (3,), n.to_bytes(3, "little"))])) for n in range(200)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, limits[1]))
    try:
        found = [bytes(pack.read(sha(n.to_bytes(3, "little")))) for n, pack in enumerate(packs)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert found == [n.to_bytes(3, "little") for n in range(200)]
