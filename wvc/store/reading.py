"""One pass over a blob on its way in: hash it, compare it with its base, encode it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from wvc.errors import BadFile
from wvc.store.blobs import Blob, Bytes
from wvc.store.choice import Choice
from wvc.store.codecs import CHUNK, encode, unchanged
from wvc.store.copies import Copy


class Reading:
    """What to store of a blob, made in one pass. What else is known of it is known once that has been taken to its end.

    id: of the bytes that were read.
    whole: the base is what its id promises; True without a base.
    same: the blob is equal to the base, and there is nothing to store.
    size, hash: of what is to be stored.
    """

    def __init__(self, blob: Blob, choice: Choice | None, expected: str | None = None) -> None:
        """expected: the id that an earlier reading found. choice: None to store the bytes as they are."""
        self._blob, self._choice, self._expected = blob, choice, expected
        self.id, self.hash, self.size = "", "", 0
        self.whole, self.same = True, False

    def entry(self) -> Iterator[Bytes]:
        """Raises BadFile at the end if the id is not the expected one, and Damage if the base cannot be decoded."""
        if self._choice is None:
            yield from self._raw()
            return
        hasher, table = hashlib.sha256(), bytearray()
        for chunk in self._plain() if self._choice.base is None else self._delta(self._choice.base):
            hasher.update(chunk)
            table += len(chunk).to_bytes(4, "little")
            self.size += len(chunk)
            yield chunk
        hasher.update(table)
        self.size += len(table)
        self.hash = hasher.hexdigest()
        yield bytes(table)

    def _raw(self) -> Iterator[Bytes]:
        hasher = hashlib.sha256()
        for chunk in _chunks(self._blob):
            hasher.update(chunk)
            yield chunk
        self._end(hasher.hexdigest())
        self.hash, self.size = self.id, self._blob.size

    def _plain(self) -> Iterator[bytes]:
        assert self._choice is not None
        hasher = hashlib.sha256()
        for chunk in _chunks(self._blob):
            hasher.update(chunk)
            yield encode(chunk, None, self._choice.plan)
        self._end(hasher.hexdigest())

    def _delta(self, base: Copy) -> Iterator[bytes]:
        assert self._choice is not None
        own, theirs, waiting = hashlib.sha256(), None, 0
        vouched = base.id in self._blob.vouched
        for number, chunk in enumerate(_chunks(self._blob)):
            under = base.chunk(number)
            if theirs is None and _equal(chunk, under):
                own.update(chunk)
                waiting += 1
                continue
            if theirs is None:  # the first difference: until here, both have the same hash
                theirs = own.copy()
                yield from [unchanged(self._blob.dtype)] * waiting
            own.update(chunk)
            if not vouched:
                theirs.update(under)
            yield encode(chunk, under, self._choice.plan)
        self.same = theirs is None
        self.whole = vouched or (theirs or own).hexdigest() == base.id
        self._end(own.hexdigest())

    def _end(self, id: str) -> None:
        self._blob.check()
        self.id = id
        if self._expected not in (None, id):
            raise BadFile("the weights", "they changed while they were read", "try again when nobody writes to them")


def equals(blob: Blob, copy: Copy) -> bool:
    """True if `copy` holds the bytes of `blob`: comparing is faster than hashing. Raises Damage."""
    if copy.stored.raw != blob.size:
        return False
    return all(_equal(chunk, copy.chunk(number)) for number, chunk in enumerate(_chunks(blob)))


def _chunks(blob: Blob) -> Iterator[Bytes]:
    for start in range(0, blob.size, CHUNK):
        yield blob.read(start, min(start + CHUNK, blob.size))


def _equal(one: Bytes, two: Bytes) -> bool:
    return len(one) == len(two) and bool((np.frombuffer(one, np.uint8) == np.frombuffer(two, np.uint8)).all())
