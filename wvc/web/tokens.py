"""Tokens: who may do what on a server. The file holds their hashes only, and never leaves the machine."""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wvc.errors import BadFile, BadName, UsageError
from wvc.repo.names import HEADS, WORD
from wvc.store.durable import disk, replace
from wvc.store.header import unique

FILE = "tokens.json"
FORMAT = "wvc tokens 1"
PREFIX = "wvc_"
SCOPES = ("read", "push", "admin")  # each may do what those before it may
DAY = 86_400  # seconds
LARGEST = 1 << 22  # bytes of the file


@dataclass(frozen=True)
class Token:
    """Somebody who may come in.

    hash: SHA-256 of the secret, in hexadecimal.
    scope: one of SCOPES.
    refs: globs of the full names of refs that it may move.
    actors: globs of the names that it may write into the log, besides its own.
    created, expires: seconds since 1970 on the server's clock; None for never.
    """

    name: str
    hash: str
    scope: str
    refs: tuple[str, ...] = ("refs/*",)
    actors: tuple[str, ...] = ()
    created: int = 0
    expires: int | None = None

    def may(self, scope: str) -> bool:
        """True if it may do what `scope` stands for."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def may_move(self, ref: str) -> bool:
        """True if it may move `ref`, a full name."""
        return self.may("push") and matches(ref, self.refs)

    def may_claim(self, actor: str) -> bool:
        """True if it may write as `actor`."""
        return actor == self.name or matches(actor, self.actors)


# Who comes in where there are no tokens: to a server that only this machine can reach.
ANYBODY = Token("anybody", "", "push", actors=("*",))


class Door:
    """Looks at the tokens of the repository in `folder`, and sees it at once when they change. For several threads."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """folder: the .wvc folder."""
        self._path, self._clock = folder / FILE, clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    @property
    def is_open(self) -> bool:
        """True where nobody ever made a token. Who revokes the last one shuts the door."""
        return not os.path.lexists(self._path)

    def find(self, text: str | None) -> Token | None:
        """The token whose secret is `text`, if it has not expired. Takes the same time whichever it is, or none."""
        if self.is_open:
            return ANYBODY
        wanted, found = hash_of(text or ""), None
        for token in self._current():
            if hmac.compare_digest(token.hash, wanted):
                found = token
        expired = found is not None and found.expires is not None and found.expires <= self._clock()
        return None if expired else found

    def _current(self) -> tuple[Token, ...]:
        with self._lock:
            try:
                about = self._path.stat()
                seen = (about.st_ino, about.st_size, about.st_mtime_ns)
                if seen != self._seen:
                    self._tokens, self._seen = tuple(read(self._path.parent)), seen
            except (OSError, BadFile):  # what cannot be read lets nobody in
                self._tokens, self._seen = (), None
            return self._tokens


def create(
    folder: Path, name: str, scope: str, refs: Sequence[str] = (), actors: Sequence[str] = (), days: float | None = None
) -> tuple[Token, str]:
    """A new token and its secret, which is stored nowhere. Raises UsageError where the name is taken, BadName."""
    if not WORD.fullmatch(name):
        raise BadName("token", name)
    if scope not in SCOPES:
        raise UsageError(f"no scope {scope!r}", "there are " + ", ".join(SCOPES))
    if days is not None and not 0 < days < 100_000:
        raise UsageError("a token expires after some days", "for example --expires 30")
    secret, now = PREFIX + secrets.token_urlsafe(32), int(time.time())
    globs = tuple(full(glob) for glob in refs) or Token.refs
    token = Token(
        name, hash_of(secret), scope, globs, tuple(actors), now, None if days is None else int(now + days * DAY)
    )
    with _changing(folder) as tokens:
        if any(other.name == name for other in tokens):
            raise UsageError(f"there is a token {name!r} already", f"revoke it first: wvc token revoke {name}")
        tokens.append(token)
    return token, secret


def revoke(folder: Path, name: str) -> Token:
    """Remove the token `name`; a running server sees it at once. Raises UsageError."""
    with _changing(folder) as tokens:
        for token in tokens:
            if token.name == name:
                tokens.remove(token)
                return token
    raise UsageError(f"there is no token {name!r}", "run `wvc token list`")


def read(folder: Path) -> list[Token]:
    """All tokens, oldest first. Raises BadFile."""
    path = folder / FILE
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return []
    try:
        value = json.loads(data, object_pairs_hook=unique)
        if len(data) > LARGEST or value["format"] != FORMAT:
            raise ValueError("a format that this wvc does not know")
        return [_token(item) for item in value["tokens"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(path, f"not a list of tokens: {error}", "restore it, or remove it and make new tokens") from None


def hash_of(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def full(glob: str) -> str:
    """A glob of full names of refs: one that does not begin with refs/ is of branches."""
    return glob if glob.startswith("refs/") else HEADS + glob


def matches(name: str, globs: Sequence[str]) -> bool:
    """True if one of `globs` fits; `*` crosses `/`."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _token(item: dict[str, Any]) -> Token:
    token = Token(**{**item, "refs": tuple(item["refs"]), "actors": tuple(item["actors"])})
    texts = (token.name, token.hash, token.scope, *token.refs, *token.actors)
    if not all(isinstance(text, str) for text in texts) or token.scope not in SCOPES or len(token.hash) != 64:
        raise ValueError("a token that is none")
    if not all(type(n) is int for n in (token.created, token.expires or 0)):
        raise ValueError("a time that is none")
    return token


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[list[Token]]:
    """The tokens, written back where the `with` ends without an error; one process at a time."""
    with disk(folder):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            tokens = read(folder)
            yield tokens
            items = [{field.name: asdict(token)[field.name] for field in fields(Token)} for token in tokens]
            data = json.dumps({"format": FORMAT, "tokens": items}, indent=1) + "\n"
            replace(folder / FILE, data.encode(), folder / "tmp", 0o600)
        finally:
            os.close(fd)
