"""Every byte of packs is looked at, each base decoded once, and what is wrong is told of just those that it touches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from wvc.errors import Damage
from wvc.store import copies
from wvc.store.codecs import CHUNK
from wvc.store.packs import Pack
from wvc.store.verify import MOST, verify, verify_stored

from .test_reader import Shelf, coding, entry, sha, walk


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf(tmp_path)


def tuned(base: bytes, seed: int) -> bytes:
    """A fine-tune of `base`."""
    numbers = np.frombuffer(base, "<f4")
    return (numbers + np.random.default_rng(seed).normal(0, 1e-4, len(numbers))).astype("<f4").tobytes()


def places(shelf: Shelf) -> list[tuple[Pack, str]]:
    packs = [Pack(shelf.packs, name) for name in sorted({name for names in shelf.index.values() for name in names})]
    return [(pack, id) for pack in packs for id in pack.ids()]


def wrong(found: Iterable[tuple[Pack, str, Damage | None]]) -> set[str]:
    return {id for _, id, problem in found if problem is not None}


def family(shelf: Shelf, count: int = 200) -> list[bytes]:
    """A base, three fine-tunes of it, one of the third, and something that stands alone."""
    base = walk(0, count)[0]
    some = [tuned(base, seed) for seed in range(3)]
    last = tuned(some[2], 3)
    shelf.store(base)
    for new in some:
        shelf.store(new, bases=[base])
    shelf.store(last, bases=[some[2]])
    shelf.store(b"alone" * 9, dtype="U8")
    assert [shelf.stored(new).depth for new in (base, *some, last)] == [0, 1, 1, 1, 2]
    return [base, *some, last, b"alone" * 9]


def test_what_is_whole_is_found_so_and_a_base_is_decoded_once(shelf, monkeypatch):
    base = walk(0, CHUNK // 4 + 100)[0]
    shelf.store(base)
    for seed in range(5):
        shelf.store(tuned(base, seed), bases=[base])
    decoded = []
    monkeypatch.setattr(copies, "decode", lambda *args, do=copies.decode: (decoded.append(1), do(*args))[1])

    found = list(verify(shelf.reader, places(shelf)))

    assert sorted(id for _, id, _ in found) == sorted(id for _, id in places(shelf))
    assert not wrong(found)
    assert len(decoded) == 6 * 2  # six tensors of two chunks


def test_more_than_are_looked_at_together_are_all_looked_at(shelf):
    base = walk(0, 200)[0]
    shelf.store(base)
    for seed in range(MOST + 5):
        shelf.store(tuned(base, seed), bases=[base])
    last = tuned(base, MOST + 4)
    shelf.damage(last)

    found = list(verify(shelf.reader, places(shelf)))

    assert len(found) == MOST + 6 and wrong(found) == {sha(last)}


@pytest.mark.parametrize("hurt", range(6))
def test_damage_is_told_of_what_it_touches_and_of_nothing_else(shelf, hurt):
    values = family(shelf)
    shelf.damage(values[hurt])

    touched = {0: {0, 1, 2, 3, 4}, 3: {3, 4}}.get(hurt, {hurt})
    assert wrong(verify(shelf.reader, places(shelf))) == {sha(values[i]) for i in touched}
    assert wrong(verify_stored(places(shelf))) == {sha(values[hurt])}


def test_another_copy_of_a_base_helps(shelf):
    values = family(shelf)
    shelf.damage(values[0])
    shelf.store(values[0])

    found = list(verify(shelf.reader, places(shelf)))

    assert [id for _, id, problem in found if problem is not None] == [sha(values[0])]
    assert len(found) == 7


def test_an_entry_that_decodes_to_something_else_is_wrong_whatever_its_stored_bytes(shelf):
    one, two = walk(1, 300)
    data = entry(one, None)
    shelf.announce(shelf.forge({sha(two): (data, coding(data, len(one), 0, None, "plain"))}))

    assert wrong(verify(shelf.reader, places(shelf))) == {sha(two)}
    assert not wrong(verify_stored(places(shelf)))


def test_circles_and_missing_bases_are_wrong(shelf):
    one, two, three = walk(2, 300)
    data = [entry(two, one), entry(one, two), entry(three, two)]
    circle = {
        sha(two): (data[0], coding(data[0], len(one), 1, sha(one))),
        sha(one): (data[1], coding(data[1], len(one), 1, sha(two))),
        sha(three): (data[2], coding(data[2], len(one), 2, sha(b"nowhere"))),
    }
    shelf.announce(shelf.forge(circle))

    assert wrong(verify(shelf.reader, places(shelf))) == set(circle)
