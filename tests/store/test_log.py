"""The log: numbered, hash-chained, put where nothing was before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import CorruptLog, DiskProblem, RefMoved, WvcError
from wvc.store.canonical import digest, dumps, loads
from wvc.store.log import EVERY, Log
from wvc.store.records import Draft, Move, State

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
MAIN = "refs/heads/main"
PACK = "d" * 64 + "." + "0" * 16

RACE = """
import sys
from pathlib import Path
from wvc.store.log import Log
from wvc.store.records import Draft, Move
folder, who = Path(sys.argv[1]), sys.argv[2]
log = Log(folder / "log", folder / "tmp")
MAIN = "refs/heads/main"
for i in range(25):
    new = f"{who}{i:02}".encode().hex().ljust(64, "0")
    made = log.append(lambda state: Draft(f"{who} {i}", who, 0, (Move(MAIN, state.refs.get(MAIN), new),)))
    print(made.number, made.message, flush=True)
"""


def draft(*moves: Move, **rest: Any) -> Callable[[State], Draft]:
    return lambda _: Draft("a message", "somebody", 7, moves, **rest)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A log with its first transaction."""
    (tmp_path / "log").mkdir()
    made = Log(tmp_path / "log", tmp_path / "tmp")
    made.append(draft(default_branch="main"), first="r" * 64)
    return made


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Log]:
    """Function that opens the same log as another process would."""
    return lambda: Log(tmp_path / "log", tmp_path / "tmp")


def path(tmp_path: Path, number: int) -> Path:
    return tmp_path / "log" / f"{number:012}.json"


def rewrite(tmp_path: Path, position: int, /, **changes: Any) -> None:
    """Replace fields of a record; ... removes one."""
    file = path(tmp_path, position)
    value = {k: v for k, v in (loads(file.read_bytes()) | changes).items() if v is not ...}
    file.unlink()
    file.write_bytes(dumps(value))


def test_refs_are_what_the_moves_add_up_to(log, fresh):
    log.append(draft(Move(MAIN, None, A), Move("refs/tags/v1", None, A)))
    log.append(draft(Move(MAIN, A, B), Move("refs/tags/v1", A, None), packs=(PACK,)))

    state = fresh().head()

    assert state.refs == {MAIN: B}
    assert (state.number, state.repository, state.default_branch) == (3, "r" * 64, "main")
    assert state.packs == {PACK}
    assert fresh().verify() == state


def test_records_are_numbered_and_hold_the_hash_of_the_one_before(log, tmp_path):
    for i in range(3):
        log.append(draft(Move(f"refs/heads/{i}", None, A)))

    records = [path(tmp_path, n).read_bytes() for n in (1, 2, 3, 4)]

    assert [json.loads(r)["number"] for r in records] == [1, 2, 3, 4]
    assert [json.loads(r)["previous"] for r in records] == [None, *(digest(r) for r in records[:-1])]


def test_a_ref_that_was_moved_by_somebody_else_stops_the_transaction(log, fresh):
    other = fresh()
    other.head()
    log.append(draft(Move(MAIN, None, A)))

    with pytest.raises(RefMoved, match="main"):
        other.append(draft(Move(MAIN, None, B)))

    assert fresh().head().refs == {MAIN: A}


def test_several_moves_happen_together_or_not_at_all(log, fresh):
    log.append(draft(Move(MAIN, None, A)))

    with pytest.raises(RefMoved):
        log.append(draft(Move("refs/heads/new", None, B), Move(MAIN, B, C)))

    assert fresh().head().refs == {MAIN: A}
    assert fresh().head().number == 2


def test_one_ref_may_not_be_moved_twice_from_the_same_place(log, fresh):
    with pytest.raises(WvcError):
        log.append(draft(Move(MAIN, None, A), Move(MAIN, None, B)))

    assert fresh().verify().number == 1


@pytest.mark.parametrize(
    "ref",
    ["", "main", "refs", "refs/", "refs/../x", "refs/heads/..", "refs/heads/.x", "refs/heads/x.", "refs//x", "/refs/x",
     "refs/heads/a b", "refs/heads/a\n", "refs/heads/é", "refs/heads/x/", "refs/heads/" + "x" * 129, "refs/heads/a\0",
     "refs" + "/x" * 17, "refs/heads/a\\b", "refs/heads/~", "refs/heads/@{1}"],
    ids=ascii,
)  # fmt: skip
def test_hostile_names_are_refused_on_the_way_in_and_on_the_way_out(log, fresh, tmp_path, ref):
    with pytest.raises(WvcError):
        log.append(draft(Move(ref, None, A)))
    log.append(draft(Move(MAIN, None, A)))
    rewrite(tmp_path, 2, moves=[[ref, None, A]])

    with pytest.raises(CorruptLog):
        fresh().head()


def test_what_relies_on_a_condemned_pack_is_not_recorded(log, fresh, tmp_path):
    log.append(draft(packs=(PACK,)))
    log.append(draft())
    rewrite(tmp_path, 3, condemned=[PACK])

    with pytest.raises(WvcError, match="condemned"):
        fresh().append(draft(needs=frozenset({PACK})))

    assert fresh().head().packs == set()


def test_eight_processes_race_and_nothing_is_lost(log, fresh, tmp_path):
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    racers = [subprocess.Popen([*command, f"p{i}"], stdout=subprocess.PIPE, text=True) for i in range(8)]
    told = [line for racer in racers for line in racer.communicate()[0].splitlines()]

    state = fresh().verify()

    assert [racer.returncode for racer in racers] == [0] * 8
    assert state.number == 201
    recorded = {f"{t.number} {t.message}" for t, _ in fresh().since(1)}
    assert recorded == set(told) and len(told) == 200
    assert not list((tmp_path / "tmp").iterdir())


def test_a_checkpoint_holds_what_all_records_add_up_to(log, fresh):
    for i in range(EVERY + 3):
        log.append(draft(Move(f"refs/heads/{i % 5}", fresh().head().refs.get(f"refs/heads/{i % 5}"), f"{i:064x}")))

    replayed, jumped = fresh().verify(), fresh().head()

    assert jumped == replayed == log.head()
    assert len(jumped.refs) == 5
    assert fresh().read(EVERY)[0].number == EVERY


@pytest.fixture
def long(log: Log, tmp_path: Path) -> Path:
    """A log of 258 records; the 256th holds the full state."""
    for i in range(EVERY + 1):
        log.append(draft(Move(MAIN, f"{i:064x}" if i else None, f"{i + 1:064x}")))
    return tmp_path


STATES: list[Any] = [
    ..., None, 5, [], {}, "x", {"refs": 5, "packs": [], "condemned": [], "default_branch": None},
    {"refs": {"../x": A}, "packs": [], "condemned": [], "default_branch": None},
    {"refs": {MAIN: "x"}, "packs": [], "condemned": [], "default_branch": None},
    {"refs": {}, "packs": ["../../x"], "condemned": [], "default_branch": None},
    {"refs": {}, "packs": 7, "condemned": [], "default_branch": None},
    {"refs": {}, "packs": [["x"]], "condemned": [], "default_branch": None},
    {"refs": {}, "packs": [], "condemned": [], "default_branch": 5},
    {"refs": {}, "packs": [], "condemned": [], "default_branch": None, "more": 1},
]  # fmt: skip


@pytest.mark.parametrize("position", range(len(STATES)))
def test_a_checkpoint_that_makes_no_sense_is_damage(long, fresh, position):
    path(long, EVERY + 1).unlink()
    path(long, EVERY + 2).unlink()
    rewrite(long, EVERY, state=STATES[position])

    with pytest.raises(CorruptLog):
        fresh().head()


def test_a_checkpoint_that_lies_is_found_by_verify(long, fresh):
    path(long, EVERY + 1).unlink()
    path(long, EVERY + 2).unlink()
    state = loads(path(long, EVERY).read_bytes())["state"]
    rewrite(long, EVERY, state=state | {"refs": {MAIN: A}})

    with pytest.raises(CorruptLog, match="256"):
        fresh().verify()


@pytest.fixture
def five(log: Log, tmp_path: Path) -> Path:
    """A log of five records."""
    for i in range(4):
        log.append(draft(Move(MAIN, f"{i:064x}" if i else None, f"{i + 1:064x}")))
    return tmp_path


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_changed_byte_of_every_record_is_noticed(five, fresh, number):
    file = path(five, number)
    good = file.read_bytes()
    file.unlink()
    unnoticed = []

    for i in range(len(good)):
        file.write_bytes(good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :])
        try:
            fresh().verify()
        except CorruptLog:
            continue
        unnoticed.append(i)

    assert unnoticed == []


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_missing_record_is_noticed_before_anything_is_written_in_its_place(five, fresh, number):
    path(five, number).unlink()

    with pytest.raises(CorruptLog, match=f"transaction {number}"):
        fresh().verify()
    with pytest.raises(CorruptLog):
        fresh().append(draft(Move("refs/heads/new", None, A)))
    assert not path(five, number).exists()


def test_records_in_another_order_are_noticed(five, fresh):
    two, three = path(five, 2), path(five, 3)
    two.rename(five / "x")
    three.rename(two)
    (five / "x").rename(three)

    with pytest.raises(CorruptLog):
        fresh().verify()
    with pytest.raises(CorruptLog):
        fresh().head()


def test_a_history_that_was_forked_does_not_fit_what_followed(five, fresh):
    rewrite(five, 3, message="another message")

    with pytest.raises(CorruptLog, match="4"):
        fresh().verify()


def test_records_of_another_repository_do_not_fit(five, fresh):
    rewrite(five, 5, repository="s" * 64)

    with pytest.raises(CorruptLog, match="another repository"):
        fresh().head()


WRONG: list[dict[str, Any]] = [
    {"_type": "wvc.transaction/2"}, {"number": 6}, {"number": True}, {"moves": 5}, {"moves": [[MAIN, None]]},
    {"moves": {MAIN: None}}, {"moves": [[5, None, A]]}, {"moves": [[MAIN, 5, A]]}, {"moves": [[MAIN, None, "x"]]},
    {"packs": ["../../etc/passwd"]}, {"packs": [5]}, {"packs": PACK}, {"packs": {PACK: 1}}, {"attachments": ["x"]},
    {"condemned": ["x"]}, {"message": 5}, {"message": {"a": "b"}}, {"message": ...}, {"actor": ["x"]}, {"actor": None},
    {"created": "now"}, {"created": None}, {"nonce": 5}, {"repository": ["x"]}, {"default_branch": 5},
    {"default_branch": "../x"}, {"more": "fields"}, {"previous": 5},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG, ids=repr)
def test_a_record_with_a_wrong_field_is_damage_and_nothing_else(five, fresh, change):
    rewrite(five, 5, **change)

    with pytest.raises(CorruptLog, match="5"):
        fresh().head()


JSON = st.recursive(st.none() | st.integers(-3, 3) | st.text(max_size=3) | st.just(A), st.lists, max_leaves=4)


@given(st.binary(max_size=40) | st.dictionaries(st.sampled_from(["_type", "number", "moves", "x"]), JSON).map(dumps))
def test_garbage_in_the_place_of_a_record_is_damage_and_nothing_else(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("log")
    (folder / f"{1:012}.json").write_bytes(data)

    with pytest.raises(CorruptLog):
        Log(folder, folder).head()


@pytest.mark.parametrize("what", ["link", "folder", "huge", "empty"])
def test_what_is_no_record_is_damage(five, fresh, what):
    file = path(five, 5)
    file.rename(five / "elsewhere")
    if what == "link":
        file.symlink_to(five / "elsewhere")
    elif what == "folder":
        file.mkdir()
    else:
        with file.open("wb") as empty:
            empty.truncate(2**40 if what == "huge" else 0)

    with pytest.raises((CorruptLog, DiskProblem)):
        fresh().head()


def test_strange_files_in_the_folder_are_left_alone(five, fresh):
    for name in ("notes.txt", "000000000006.json.tmp", "6.json", "0000000000007.json"):
        (five / "log" / name).write_text("x")

    assert fresh().verify().number == 5


def test_a_draft_is_asked_again_after_a_lost_race(log, fresh):
    seen = []
    other = fresh()

    def late(state: State) -> Draft:
        seen.append(state.number)
        if len(seen) == 1:
            other.append(draft(Move("refs/heads/other", None, A)))
        return Draft("late", "me", 0, (Move(MAIN, None, B),))

    made = log.append(late)

    assert seen == [1, 2]
    assert made.number == 3
    assert fresh().verify().refs == {"refs/heads/other": A, MAIN: B}
