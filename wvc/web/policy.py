"""Which refs may be moved, by whom and how. Pure: knows records and names, no repository."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from wvc.errors import BadName
from wvc.repo import names
from wvc.store.records import Move, State, Transaction
from wvc.web.problems import Problem
from wvc.web.tokens import Token, matches

PROBE = re.compile(r"refs/probes/[0-9a-f]{12}")
NONCE = re.compile(r"[0-9a-f]{32}")
MOST_MOVES, MOST_PACKS = 10_000, 500  # of one record
LONGEST = 1_000  # characters of a message


def check_record(transaction: Transaction, caller: Token) -> None:
    """Raises Problem where `caller` may not write such a record, whatever the repository holds."""
    if not NONCE.fullmatch(transaction.nonce) or not 0 <= transaction.created < 2**53:
        raise Problem(422, "the record has a nonce or a time that is none")
    if not _is_line(transaction.message) or not _is_line(transaction.actor):
        raise Problem(422, "message and actor of a record are one line of text")
    if transaction.condemned:
        raise Problem(403, "packs are condemned only where the repository lies", "run it there")
    if len({move.ref for move in transaction.moves}) < len(transaction.moves):
        raise Problem(422, "one record cannot move a ref twice")
    if len(set(transaction.packs)) < len(transaction.packs):
        raise Problem(422, "one record cannot announce a pack twice")
    if len(transaction.moves) > MOST_MOVES or len(transaction.packs) > MOST_PACKS:
        raise Problem(422, f"one record moves at most {MOST_MOVES} refs and announces at most {MOST_PACKS} packs")
    if not caller.may_claim(transaction.actor):
        raise Problem(
            403,
            f"this token writes as {caller.name!r}, not as {transaction.actor!r}",
            f"set WVC_AUTHOR={caller.name}, or ask for a token with --actor",
        )


def check_moves(moves: Sequence[Move], caller: Token) -> None:
    """Raises Problem for a ref that `caller` may not move, or that nobody may move from elsewhere."""
    for move in moves:
        if not _is_shared(move.ref):
            raise Problem(403, f"{move.ref} is not a ref that can be pushed", "push branches, tags, tasks and probes")
        # What commits mention goes along with them, whatever branches a token is for; what is there stays as it is.
        along = move.old is None and caller.may("push") and move.ref.startswith((names.TASKS, names.PROBES))
        if not along and not caller.may_move(move.ref):
            raise Problem(403, f"this token may not move {names.short(move.ref)}", f"it may move {_listed(caller)}")


def check_protected(
    moves: Sequence[Move], caller: Token, protected: Sequence[str], leads_to: Callable[[str, str], bool]
) -> None:
    """Raises Problem where a protected ref would lose something, unless an administrator wants it so.

    leads_to: True if the second commit is in the history of the first.
    """
    for move in moves:
        if move.old is None or caller.may("admin") or not matches(move.ref, protected):
            continue
        if move.new is None:
            raise Problem(403, f"{names.short(move.ref)} is protected: it is not deleted", "ask an administrator")
        if move.ref.startswith(names.TASKS) or not leads_to(move.new, move.old):
            why = "it only moves to descendants of where it is"
            raise Problem(403, f"{names.short(move.ref)} is protected: {why}", "fetch, merge, then push")


def check_default(transaction: Transaction, caller: Token, state: State) -> None:
    """Raises Problem: the branch that clones begin on is for administrators to choose, among those that are there."""
    name = transaction.default_branch
    if name in (None, state.default_branch):
        return
    if not caller.may("admin"):
        raise Problem(403, "the default branch is for administrators to choose")
    there = {*state.refs, *(move.ref for move in transaction.moves if move.new is not None)}
    if names.HEADS + str(name) not in there - {move.ref for move in transaction.moves if move.new is None}:
        raise Problem(422, f"there is no branch {name!r}")


def _is_shared(ref: str) -> bool:
    """True for the names that commands would give."""
    try:
        if ref.startswith(names.HEADS):
            return names.branch(ref.removeprefix(names.HEADS)) == ref
        if ref.startswith(names.TAGS):
            return names.tag(ref.removeprefix(names.TAGS)) == ref
        if ref.startswith(names.TASKS):
            return names.task(ref.removeprefix(names.TASKS)) == ref
    except BadName:
        return False
    return PROBE.fullmatch(ref) is not None


def _is_line(text: str) -> bool:
    return len(text) <= LONGEST and not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def _listed(caller: Token) -> str:
    return ", ".join(caller.refs) if caller.may("push") else "none"
