"""Codecs: any bit patterns come back, fine-tunes become small, and what is hostile is refused."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.store import codecs
from wvc.store.codecs import MANTISSA, STEPS, Plan, decode, encode, plan
from wvc.store.header import BITS

WIDTHS = {dtype: {"C64": 4, "F6_E2M3": 1, "F6_E3M2": 1, "F4": 1}.get(dtype, bits // 8) for dtype, bits in BITS.items()}


def back(data: bytes, base: bytes | None, dtype: str, size: int) -> bytes:
    out = bytearray(size)
    decode(data, base, Plan(dtype, base is not None), memoryview(out))
    return bytes(out)


def numbers(seed: int, count: int, width: int, scale: float, spread: float) -> tuple[bytes, bytes]:
    """Normal fp32 numbers, cut to their first `width` bytes, and the same fine-tuned."""
    random = np.random.default_rng(seed)
    old = random.normal(0, scale, count).astype("<f4")
    new = (old + random.normal(0, spread, count)).astype("<f4")
    cut = [x.view("u1").reshape(-1, 4)[:, 4 - width :].tobytes() for x in (old, new)]
    return cut[0], cut[1]


@settings(max_examples=300)
@given(st.data())
def test_any_pair_of_bit_patterns_comes_back(data):
    dtype = data.draw(st.sampled_from(sorted(BITS)))
    count = data.draw(st.integers(0, 60)) * WIDTHS[dtype]
    patterns = st.one_of(
        st.binary(min_size=count, max_size=count),
        st.sampled_from([b"\0", b"\xff", b"\x80", b"\x7f", b"\x01\0"]).map(lambda b: (b * count)[:count]),
    )
    new, base = data.draw(patterns), data.draw(st.one_of(st.none(), patterns))

    for steps in STEPS if base else STEPS[:1]:
        coded = encode(new, base, plan(dtype, base, steps))

        assert back(coded, base, dtype, count) == new


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_many_random_numbers_of_every_dtype_come_back(dtype):
    random = np.random.default_rng(1)
    new, base = (random.bytes(40_000 * WIDTHS[dtype]) for _ in range(2))

    for under, steps in [(None, ()), *((base, steps) for steps in STEPS)]:
        assert back(encode(new, under, plan(dtype, under, steps)), under, dtype, len(new)) == new


@pytest.mark.parametrize(("dtype", "width", "goal"), [("F32", 4, 0.62), ("BF16", 2, 0.30), ("F16", 2, 0.30)])
@pytest.mark.parametrize("steps", STEPS)
def test_a_fine_tune_becomes_small(dtype, width, goal, steps):
    base, new = numbers(0, 1 << 18, width, 0.02, 1e-4)

    coded = encode(new, base, plan(dtype, base, steps))

    assert len(coded) < goal * len(new)
    assert back(coded, base, dtype, len(new)) == new


def test_numbers_of_different_sizes_are_smaller_in_groups():
    base, new = numbers(0, 1 << 18, 2, 0.02, 1e-4)

    sizes = [len(encode(new, base, plan("BF16", base, steps))) for steps in STEPS]

    assert sizes[2] < 0.97 * sizes[1] < 0.95 * sizes[0]


def test_weights_alone_become_smaller_because_exponents_repeat():
    data, _ = numbers(0, 1 << 18, 4, 0.02, 0)

    assert len(encode(data, None, Plan("F32", delta=False))) < 0.84 * len(data)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "U8", "I64"])
def test_what_is_equal_or_differs_in_one_bit_takes_next_to_nothing(dtype):
    base = np.random.default_rng(0).bytes(1 << 20)
    flipped = bytes([base[0], base[1] ^ 16]) + base[2:]

    for new, most in [(base, 20), (flipped, 200), (bytes(1 << 20), 40)]:
        under = None if new == bytes(1 << 20) else base
        coded = encode(new, under, Plan(dtype, under is not None))
        assert len(coded) < most
        assert back(coded, under, dtype, len(new)) == new


# The format, read by somebody who has only the document


def spelled_out(data: bytes, base: bytes | None, dtype: str, size: int) -> bytes:
    """docs/design.md, "Encoded entries", one number at a time."""
    width, position = WIDTHS[dtype], 0

    def take(n: int) -> bytes:
        nonlocal position
        position += n
        return data[position - n : position]

    def frame() -> bytes:
        return zstandard.decompress(take(int.from_bytes(take(4), "little")))

    count = size // width
    bounds = list(take(take(1)[0]))
    under = [int.from_bytes(base[i * width :][:width], "little") for i in range(count)] if base is not None else []
    group = [sum((n >> MANTISSA[dtype]) % 256 >= bound for bound in bounds) for n in under] if bounds else [0] * count
    code = [0] * count
    for plane in range(width):
        kind = take(1)[0]
        if kind == 0:
            values = list(take(count))
        elif kind == 1:
            values = [take(1)[0]] * count
        elif kind == 2:
            values = list(frame())
        else:
            values = [0] * count
            for wanted in range(len(bounds) + 1):
                places = [i for i in range(count) if group[i] == wanted]
                for place, value in zip(places, frame(), strict=True):
                    values[place] = value
        code = [n + (value << 8 * plane) for n, value in zip(code, values, strict=True)]
    assert position == len(data)
    bits = 8 * width
    if base is not None:
        differences = [(n >> 1) ^ -(n & 1) for n in code]
        words = [(n + d) % 2**bits for n, d in zip(under, differences, strict=True)]
    elif dtype in MANTISSA:
        words = [(n >> 1) + ((n & 1) << bits - 1) for n in code]
    else:
        words = code
    return b"".join(word.to_bytes(width, "little") for word in words)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F64", "U8", "I32", "F8_E4M3"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("based", [True, False])
def test_the_document_describes_what_is_written(dtype, steps, based):
    random = np.random.default_rng(2)
    width = WIDTHS[dtype]
    old = random.normal(0, 0.02, 5000).astype("<f4")
    both = [
        x.astype("<f8").view("u1").reshape(-1, 8)[:, 8 - width :].tobytes()
        if width == 8
        else np.repeat(x.view("u1").reshape(-1, 4)[:, 4 - width :], 1, axis=0).tobytes()
        for x in (old, (old * 1.001).astype("<f4"))
    ]
    base = both[0] if based else None

    coded = encode(both[1], base, plan(dtype, base, steps))

    assert spelled_out(coded, base, dtype, len(both[1])) == both[1]


# Hostile


def framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "little") + frame


BOMB = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
NO_SIZE = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
HOSTILE = {
    "empty": b"",
    "unknown kind": b"\0" + b"\x09",
    "bomb": b"\0" + b"\x02" + framed(BOMB),
    "a frame without its size": b"\0" + b"\x02" + framed(NO_SIZE),
    "a frame of another size": b"\0" + b"\x02" + framed(zstandard.compress(bytes(99))),
    "no frame at all": b"\0" + b"\x02" + framed(b"junk" * 9),
    "a frame and something": b"\0" + b"\x02" + framed(zstandard.compress(bytes(100)) + b"x"),
    "a length beyond the end": b"\0" + b"\x02" + b"\xff\xff\xff\xff",
    "groups without a base": b"\1\x10" + b"\x01\0",
    "grouped without groups": b"\0" + b"\x03" + framed(zstandard.compress(bytes(100))),
    "something behind the end": b"\0" + b"\x01\0" + b"more",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_chunk_is_refused(case):
    with pytest.raises(ValueError, match=r"\w"):
        back(HOSTILE[case], None, "U8", 100)


@pytest.mark.parametrize("bounds", [b"\2\x70\x70", b"\2\x70\x10"])
def test_bounds_that_do_not_ascend_are_refused(bounds):
    with pytest.raises(ValueError, match="ascend"):
        back(bounds + b"\x01\0" * 2, bytes(100), "BF16", 100)


def test_groups_of_what_has_no_exponent_are_refused():
    with pytest.raises(ValueError, match="exponent"):
        back(b"\1\x10" + b"\x01\0", bytes(100), "U8", 100)


def test_every_damaged_byte_is_refused_or_gives_bytes_and_nothing_worse():
    base, new = numbers(0, 3000, 2, 0.02, 1e-4)
    good = encode(new, base, plan("BF16", base, (1, 2, 4)))
    choice = random.Random(0)
    refused = 0

    for i in itertools.chain(range(0, 60), range(60, len(good), 7)):
        bad = good[:i] + bytes([good[i] ^ choice.randrange(1, 256)]) + good[i + 1 :]
        try:
            back(bad, base, "BF16", len(new))
        except ValueError:
            refused += 1
    for i in range(0, len(good), 5):
        with pytest.raises(ValueError, match=r"\w"):
            back(good[:i], base, "BF16", len(new))

    assert refused > 10


def test_chunks_hold_whole_numbers_of_every_dtype():
    assert all(codecs.CHUNK % width == 0 for width in WIDTHS.values())
