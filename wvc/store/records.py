"""Records: what one transaction says, and what all of them say in sum."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from wvc.errors import CorruptLog
from wvc.store.canonical import Json, loads
from wvc.store.packs import ID, NAME

TYPE = "wvc.transaction/1"
REF = re.compile(r"refs(/(?!\.)[A-Za-z0-9_.-]{1,128}(?<!\.)){1,16}")


@dataclass(frozen=True)
class Move:
    """A ref that goes from one object to another; None is 'not there'."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Transaction:
    """One record of the log.

    number: 1, 2, 3 ... without gaps.
    previous: SHA-256 of the record before, None for the first.
    nonce: random; tells whose record it is when a reply was lost.
    repository: random id of the repository, the same in all its records.
    created: seconds since 1970, informational.
    packs: names of packs that now count.
    attachments: ids of attachments that now count.
    condemned: names of packs that nobody may rely on any more.
    default_branch: set in the first record, or when it changes.
    """

    number: int
    previous: str | None
    nonce: str
    repository: str
    created: int
    actor: str
    message: str
    moves: tuple[Move, ...] = ()
    packs: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    condemned: tuple[str, ...] = ()
    default_branch: str | None = None

    def json(self) -> dict[str, Json]:
        names = ("number", "previous", "nonce", "repository", "created", "actor", "message", "default_branch")
        return {
            "_type": TYPE,
            **{name: getattr(self, name) for name in names},
            "moves": [[m.ref, m.old, m.new] for m in self.moves],
            "packs": list(self.packs),
            "attachments": list(self.attachments),
            "condemned": list(self.condemned),
        }


@dataclass(frozen=True)
class State:
    """What the log says in sum, up to and including transaction `number` with hash `hash`."""

    repository: str
    number: int = 0
    hash: str | None = None
    refs: Mapping[str, str] = field(default_factory=dict)
    packs: frozenset[str] = frozenset()
    condemned: frozenset[str] = frozenset()
    default_branch: str | None = None

    def after(self, transaction: Transaction, hash: str) -> State:
        """The state once `transaction` has happened. Raises CorruptLog where it cannot follow this one."""
        if transaction.number != self.number + 1 or transaction.previous != self.hash:
            raise CorruptLog(transaction.number, "it does not follow the one before it")
        if self.number and transaction.repository != self.repository:
            raise CorruptLog(transaction.number, "it belongs to another repository")
        refs = dict(self.refs)
        for move in transaction.moves:
            if refs.pop(move.ref, None) != move.old:
                raise CorruptLog(transaction.number, f"it moves {move.ref} from where it was not")
            if move.new is not None:
                refs[move.ref] = move.new
        return State(
            repository=transaction.repository,
            number=transaction.number,
            hash=hash,
            refs=refs,
            packs=(self.packs | set(transaction.packs)) - set(transaction.condemned),
            condemned=self.condemned | set(transaction.condemned),
            default_branch=transaction.default_branch or self.default_branch,
        )

    def json(self) -> Json:
        return {
            "refs": dict(self.refs),
            "packs": sorted(self.packs),
            "condemned": sorted(self.condemned),
            "default_branch": self.default_branch,
        }


@dataclass(frozen=True)
class Draft:
    """What a transaction shall say; the log adds number, chain and nonce.

    needs: names of packs that the new objects rely on, added or reused; none of them may be condemned.
    """

    message: str
    actor: str
    created: int
    moves: tuple[Move, ...] = ()
    packs: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    default_branch: str | None = None


def parse(data: bytes, number: int) -> tuple[Transaction, Json]:
    """The transaction in `data`, and the full state if it carries one."""
    try:
        value = loads(data)
        full = value.pop("state", None)
        if value.pop("_type") != TYPE or value["number"] != number:
            raise ValueError("not the transaction that its name says")
        lists = {key: _list(value.pop(key)) for key in ("moves", "packs", "attachments", "condemned")}
        moves = tuple(Move(ref, old, new) for ref, old, new in lists.pop("moves"))
        transaction = Transaction(**{**value, **{key: tuple(items) for key, items in lists.items()}, "moves": moves})
        _check_names(transaction)
        _check_types(transaction)
        check_full(full)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptLog(number, str(error)) from None
    return transaction, full


def _check_names(transaction: Transaction) -> None:
    """Names from a log become file names and refs: only those of the grammar."""
    ids = [id for move in transaction.moves for id in (move.old, move.new) if id is not None]
    if not all(ID.fullmatch(id) for id in (*ids, *transaction.attachments)):
        raise ValueError("an id that is none")
    if not all(NAME.fullmatch(name) for name in (*transaction.packs, *transaction.condemned)):
        raise ValueError("a pack name that is none")
    if not all(REF.fullmatch(move.ref) for move in transaction.moves):
        raise ValueError("a ref name that is none")


def _check_types(transaction: Transaction) -> None:
    texts = (transaction.nonce, transaction.repository, transaction.actor, transaction.message)
    if not all(isinstance(text, str) for text in texts) or type(transaction.created) is not int:
        raise ValueError("a field of the wrong type")
    _check_branch(transaction.default_branch)


def check_full(full: Json) -> None:
    """A full state is taken at its word until `verify`, so it must at least be one."""
    if full is None:
        return
    if set(full) != {"refs", "packs", "condemned", "default_branch"}:
        raise ValueError("a full state with unknown or missing fields")
    if not all(NAME.fullmatch(name) for name in (*_list(full["packs"]), *_list(full["condemned"]))):
        raise ValueError("a pack name that is none")
    if not all(REF.fullmatch(ref) and ID.fullmatch(id) for ref, id in full["refs"].items()):
        raise ValueError("a ref that is none")
    _check_branch(full["default_branch"])


def _check_branch(name: Json) -> None:
    if name is not None and not (isinstance(name, str) and REF.fullmatch(f"refs/heads/{name}")):
        raise ValueError("a default branch that is none")


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value
