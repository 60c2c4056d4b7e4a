"""Read every byte of packs, and say what is wrong.

Entries that rest on one another are looked at side by side, chunk by chunk: fine-tunes of one model are differences to
the same base, which is decoded once for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from wvc.errors import CorruptObject, Damage
from wvc.store import recent, threads
from wvc.store.packs import Pack, chunks_of
from wvc.store.reader import Reader

MOST = 32  # entries that are looked at side by side

Place = tuple[Pack, str]  # an entry: where it lies, and its id


def verify(reader: Reader, places: Iterable[Place]) -> Iterator[tuple[Pack, str, Damage | None]]:
    """Each entry, in any order, and what is wrong with it.

    Its stored bytes must be what the header says, and of what is coded, raw bytes what the id says, with some base that
    `reader` finds.
    """
    groups = _groups(list(places))
    for group, problems in zip(groups, threads.spread(lambda group: _problems(reader, group), groups), strict=True):
        for (pack, id), problem in zip(group, problems, strict=True):
            yield pack, id, problem


def verify_stored(places: Iterable[Place]) -> Iterator[tuple[Pack, str, Damage | None]]:
    """Each entry in its order, and what is wrong with its stored bytes: what was written is what lies there."""
    known = list(places)
    for (pack, id), problem in zip(known, threads.spread(_stored, known), strict=True):
        yield pack, id, problem


def _stored(place: Place) -> Damage | None:
    pack, id = place
    try:
        pack.check(id)
    except Damage as error:
        return error
    return None


def _groups(places: Sequence[Place]) -> list[list[Place]]:
    """Entries that rest on the same entry in the end, the least deep first."""
    bases = {id: base for pack, id in places if (base := pack.stored(id).base) is not None}
    found: dict[str, list[Place]] = {}
    for pack, id in places:
        root, seen = id, {id}
        while (base := bases.get(root)) is not None and base not in seen:
            root = base
            seen.add(base)
        found.setdefault(root, []).append((pack, id))
    together = [sorted(group, key=lambda place: place[0].stored(place[1]).depth) for group in found.values()]
    return [group[start : start + MOST] for group in together for start in range(0, len(group), MOST)]


def _problems(reader: Reader, group: Sequence[Place]) -> list[Damage | None]:
    try:
        _check(reader, group)
    except Damage:  # somewhere among them: each is looked at alone, and finds another copy of its base if there is one
        return [_problem(reader, *place) for place in group]
    return [None] * len(group)


def _check(reader: Reader, group: Sequence[Place]) -> None:
    for pack, id in group:
        pack.check(id)
    coded = [reader.copy(pack, id) for pack, id in group if pack.stored(id).codec != "raw"]
    hashers = [hashlib.sha256() for _ in coded]
    with recent.kept():
        for number in range(max((chunks_of(copy.stored.raw) for copy in coded), default=0)):
            for copy, hasher in zip(coded, hashers, strict=True):
                if number < chunks_of(copy.stored.raw):
                    hasher.update(copy.chunk(number))
    for copy, hasher in zip(coded, hashers, strict=True):
        if hasher.hexdigest() != copy.id:
            raise CorruptObject(copy.id)


def _problem(reader: Reader, pack: Pack, id: str) -> Damage | None:
    try:
        pack.check(id)
        if pack.stored(id).codec != "raw":
            reader.check(pack, id)
    except Damage as error:
        return error
    return None
