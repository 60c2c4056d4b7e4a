"""How to store a tensor: raw, compressed by itself, or as its difference to which other tensor, judged on a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wvc.errors import Damage
from wvc.store.blobs import Blob, Bytes
from wvc.store.codecs import CHUNK, STEPS, Plan, encode, plan
from wvc.store.copies import Copy
from wvc.store.packs import chunks_of
from wvc.store.reader import Reader

# Reading a difference of depth n decodes n + 1 tensors.
MAX_DEPTH = 4
MOST_BASES = 3
SAMPLE = 1 << 16  # bytes, from the beginning of each of two or three chunks
FEW = 8  # chunks of which two are looked at

# Smaller tensors stay raw: what the header says of a coded entry would take more than is saved.
SMALL = 512
WORTH = 0.98  # of the raw size: what saves less is not worth decoding

# Groups cost time whenever they are read: each step must save so much of the sample. Where models are made of small
# tensors, nobody waits for them.
MODEST = 4 << 20
PAYS_LARGE, PAYS_MODEST = (1.0, 0.983, 0.97), (1.0, 0.995, 0.995)


@dataclass(frozen=True)
class Choice:
    """base: the copy to subtract, or None. plan: how chunks are coded."""

    plan: Plan
    base: Copy | None


def choose(blob: Blob, reader: Reader) -> Choice | None:
    """The best way to store `blob`, or None if that is raw. A base is not checked here, only looked at."""
    if blob.size < SMALL:
        return None
    last = chunks_of(blob.size) - 1
    numbers = [0] if blob.costly else sorted({0, last} if last < FEW else {0, last // 2, last})
    sample = [bytes(blob.read(n * CHUNK, min(n * CHUNK + SAMPLE, blob.size))) for n in numbers]
    raw = sum(map(len, sample))
    best: Choice | None = None
    size = raw
    for base in _bases(blob, reader):
        try:
            under = [bytes(base.chunk(n)[: len(part)]) for n, part in zip(numbers, sample, strict=True)]
        except Damage:
            continue
        if under == sample:
            return Choice(Plan(blob.dtype, delta=True), base)
        found, taken = _grouped(blob, sample, under)
        if taken < size:
            best, size = Choice(found, base), taken
    # What has become much smaller is not tried alone, which seldom saves so much.
    if size > 0.6 * raw and (alone := _size(sample, None, Plan(blob.dtype, delta=False))) < size:
        best, size = Choice(Plan(blob.dtype, delta=False), None), alone
    return best if size < WORTH * raw else None


def _bases(blob: Blob, reader: Reader) -> Iterator[Copy]:
    """Copies that a difference may be taken to; where one is too deep, what it is itself a difference to."""
    for id in blob.bases[:MOST_BASES]:
        try:
            copy: Copy | None = reader.best(id)
        except Damage:
            continue
        while copy is not None and copy.stored.depth >= MAX_DEPTH:
            copy = copy.base
        if copy is not None and copy.stored.raw == blob.size:
            yield copy


def _grouped(blob: Blob, sample: Sequence[Bytes], under: Sequence[Bytes]) -> tuple[Plan, int]:
    """The plan with the fewest groups that pay, and the bytes that the sample takes with it."""
    best, size = Plan(blob.dtype, delta=True), 0
    for steps, pays in zip(STEPS, PAYS_LARGE if blob.size > MODEST else PAYS_MODEST, strict=True):
        found = plan(blob.dtype, under[0], steps)
        taken = _size(sample, under, found)
        if steps and taken > pays * size:
            break
        best, size = found, taken
    return best, size


def _size(sample: Sequence[Bytes], under: Sequence[Bytes] | None, plan: Plan) -> int:
    bases: Sequence[Bytes | None] = under if under is not None else [None] * len(sample)
    return sum(len(encode(part, base, plan)) for part, base in zip(sample, bases, strict=True))
