"""A repository behind `wvc serve`, over HTTP or HTTPS."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from urllib3.exceptions import HTTPError

from wvc.errors import MissingObject, Refused, RemoteProblem, Unclear
from wvc.remotes import Kind, Remote, _credentials
from wvc.remotes._calls import LOOKING, Broken, Calls, Response, is_loopback, pause
from wvc.repo.location import FORMAT
from wvc.repo.names import WORD
from wvc.store.log import LARGEST
from wvc.store.packs import NAME, SUFFIX

PIECE = 1 << 20
PART = 16 << 20  # bytes of one PUT: what is sent in vain at most, where a server refuses it
LIST_BYTES = 4 << 20
TRIES = 10  # in a row in which nothing gets further: longer than a server waits for a connection that hangs
RECORD = re.compile(r"[0-9]{12}\.json")
LENGTH = re.compile(r"[0-9]{1,15}")


def open(url: str, *, token: str | None = None) -> Remote:
    """The repository at `url`. Raises Unreachable, Refused, RemoteProblem.

    token: where the caller knows better than the environment and the file of credentials.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RemoteProblem(f"{url} is no address of a server", "for example https://host:8420")
    if parts.username is not None or parts.password is not None:
        raise RemoteProblem("a secret in an address would be seen by others", "put it into WVC_TOKEN")
    if parts.query or parts.fragment:
        raise RemoteProblem(f"{url} has a query, which no address of a repository has", "leave it out")
    secret = _credentials.token(url) if token is None else token
    if secret is not None and not re.fullmatch(r"[\x21-\x7e]{1,500}", secret):
        raise RemoteProblem("the token for this server has characters that no token has", "look at WVC_TOKEN")
    if secret and parts.scheme == "http" and not is_loopback(parts.hostname) and os.environ.get("WVC_INSECURE") != "1":
        raise RemoteProblem(f"http would show the token to everybody on the way to {parts.hostname}", "use https")
    return Http(Calls(url, secret))


class Http(Remote):
    """Packs and log of a repository behind a server.

    actor: the only name that the token may write into the log; None where it may write others.
    """

    actor: str | None = None

    def __init__(self, calls: Calls) -> None:
        """Ask once whether it is one. Raises as `open` does."""
        self.url, self._calls = calls.url, calls
        answer = calls.again(lambda: calls.once("GET", "/format"))
        if answer.status == 404:
            calls.end(answer)
            raise Refused(f"there is no repository at {self.url}, or not for you", "look at the address and WVC_TOKEN")
        if answer.status != 200:
            calls.again(lambda: calls.refuse(answer))
        text = self._bytes(answer, 100)
        if text.strip() != FORMAT.encode():
            raise calls.nonsense(f"its format is {text[:40]!r}")
        name = answer.headers.get("Wvc-Actor", "")
        self.actor = name if WORD.fullmatch(name) else None

    def close(self) -> None:
        self._calls.close()

    def names(self, kind: Kind, after: str = "") -> list[str]:
        found: list[str] = []
        while True:
            page, more = self._page(kind, found[-1] if found else after)
            found += page
            if not more:
                return found

    def _page(self, kind: Kind, after: str) -> tuple[list[str], bool]:
        def work() -> bytes:
            answer = self._calls.once("GET", f"/{kind}?after={quote(after, safe='')}")
            if answer.status != 200:
                self._calls.refuse(answer)
            return self._bytes(answer, LIST_BYTES)

        try:
            value = json.loads(self._calls.again(work))
            page, more = value["names"], value["more"] is True
            if not all(_is_name(kind, name) for name in page) or page != sorted(set(page)):
                raise ValueError("names that are none")
            if (page and page[0] <= after) or (more and not page):
                raise ValueError("names that were not asked for")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._calls.nonsense(str(error)) from None
        return page, more

    def size(self, kind: Kind, name: str) -> int | None:
        """Bytes of a file; of a pack that this client is sending, those that are there."""
        answer = self._about(kind, name)
        return None if answer is None else self._length(answer)

    def _about(self, kind: Kind, name: str, *, digest: bool = False) -> Response | None:
        def work() -> Response | None:
            headers = {"Want-Repr-Digest": "sha-256=1"} if digest else {}
            answer = self._calls.once("HEAD", _path(kind, name), headers, wait=LOOKING if digest else 60.0)
            if answer.status not in (200, 404):
                self._calls.refuse(answer)
            self._calls.end(answer)
            return answer if answer.status == 200 else None

        return self._calls.again(work) if _is_name(kind, name) else None

    def read(self, kind: Kind, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if not _is_name(kind, name):
            raise MissingObject(name, kind)
        if stop is not None and stop <= start:
            return
        position, failures = start, 0
        while stop is None or position < stop:
            try:
                for data in self._part(kind, name, position, stop):
                    yield data
                    position, failures = position + len(data), 0
                return
            except Broken as problem:
                failures += 1
                if failures == TRIES:
                    raise self._calls.unreachable(problem) from None
                pause(failures)

    def _part(self, kind: Kind, name: str, start: int, stop: int | None) -> Iterator[bytes]:
        """Bytes start..stop, or as many as come. Raises Broken where fewer come than promised."""
        headers = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        answer = self._calls.once("GET", _path(kind, name), headers)
        if answer.status == 404:
            self._calls.end(answer)
            raise MissingObject(name, kind)
        if answer.status == 416:  # it ends before
            self._calls.end(answer)
            return
        if answer.status != (206 if headers else 200):
            self._calls.refuse(answer)
        if headers and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise self._calls.nonsense("it sends another part than was asked for")
        left = self._length(answer)
        if stop is not None and left > stop - start:
            raise self._calls.nonsense("it sends more than was asked for")
        try:
            while left:
                data = answer.read(min(PIECE, left))
                if not data:
                    raise Broken("the connection broke", sent=False)
                yield data
                left -= len(data)
        except (HTTPError, OSError) as error:
            raise Broken(str(error)[:200], sent=False) from None
        finally:
            self._calls.end(answer)

    def put(self, kind: Kind, name: str, source: BinaryIO, size: int) -> bool:
        if not _is_name(kind, name):
            raise Refused(f"{name[:80]!r} is no name of a file there")
        return self._put_record(name, source, size) if kind == "log" else self._put_pack(name, source, size)

    def ask(self, name: str, record: bytes) -> None:
        def work() -> None:
            answer = self._calls.once("PUT", _path("log", name), {"Wvc-Ask": "?1"}, record)
            if answer.status not in (200, 409):  # who was first with this number is for the next attempt to see
                self._calls.refuse(answer)
            self._calls.end(answer)

        self._calls.again(work)

    def _put_record(self, name: str, source: BinaryIO, size: int) -> bool:
        if size > LARGEST:
            raise Refused(f"a record of {size} bytes is too large")
        data = source.read(size)
        for attempt in range(TRIES):
            try:
                answer = self._calls.once("PUT", _path("log", name), body=data, wait=LOOKING)
                if answer.status in (200, 201, 409):
                    self._calls.end(answer)
                    return answer.status != 409
                self._calls.refuse(answer)
            except Broken as error:
                problem = error
                if problem.sent:
                    raise Unclear(f"{self.url} did not say whether it took {name}: {problem}") from None
            pause(attempt)
        raise self._calls.unreachable(problem)

    def _put_pack(self, name: str, source: BinaryIO, size: int) -> bool:
        """Send what is not there yet, and go on where it broke off."""
        begin, failures, here = source.tell(), 0, self._begin("packs", name, size)
        if size == 0:
            raise Refused(f"{name[:12]} is empty")
        if here is None:
            return self._is_same(name, source, size)
        while here < size:
            try:
                source.seek(begin + here)
                data = source.read(min(PART, size - here))
                if not data:
                    raise Refused(f"{name[:12]} ended after {here} of {size} bytes")
                here, failures = self._send(name, data, here, size), 0
            except Broken as problem:
                failures += 1
                if failures == TRIES:
                    raise Unclear(f"the connection to {self.url} broke again and again: {problem}") from None
                pause(failures)
                there = self._begin("packs", name, size)
                here = size if there is None else there
        return True

    def _begin(self, kind: Kind, name: str, size: int) -> int | None:
        """Where to go on; None if something whole is there."""
        answer = self._about(kind, name)
        if answer is None:
            return 0
        whole = answer.headers.get("Upload-Complete") != "?0"
        return None if whole else min(self._length(answer), size)

    def _send(self, name: str, data: bytes, start: int, size: int) -> int:
        """Send one part; bytes that are there then. Raises Broken, Refused."""
        headers = {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{size}"}
        answer = self._calls.once("PUT", _path("packs", name), headers, data, wait=LOOKING)
        offset = answer.headers.get("Upload-Offset", "")
        if answer.status not in (200, 201) and not (answer.status == 409 and offset):
            self._calls.refuse(answer)
        self._calls.end(answer)
        if answer.status == 409 or not LENGTH.fullmatch(offset) or not start < int(offset) <= size:
            raise Broken("it does not go on", sent=False)
        return int(offset)

    def _is_same(self, name: str, source: BinaryIO, size: int) -> bool:
        """Whether what is there has the bytes of `source`: the server hashes its own."""
        answer = self._about("packs", name, digest=True)
        hasher, left = hashlib.sha256(), size
        while left and (data := source.read(min(PIECE, left))):
            hasher.update(data)
            left -= len(data)
        wanted = f"sha-256=:{base64.b64encode(hasher.digest()).decode()}:"
        return answer is not None and left == 0 and answer.headers.get("Repr-Digest") == wanted

    def probe(self) -> list[tuple[str, bool]]:
        """Whether the server answers, and keeps names for those who have them."""
        first = "000000000001.json"
        found = [("ask what it is", True), ("list the log", first in self.names("log"))]
        data = b"".join(self.read("log", first))
        found.append(("read a part of it", b"".join(self.read("log", first, 1, 9)) == data[1:9]))
        found.append(("take a name only once", self._refuses(first, data)))
        return found

    def _refuses(self, name: str, data: bytes) -> bool:
        """True if another record is refused where there is one. Raises Refused where this token may not push."""
        try:
            answer = self._calls.again(lambda: self._calls.once("PUT", _path("log", name), body=data + b" "))
        except Refused as error:
            raise Refused(
                f"only who may push can try whether {self.url} keeps names: {error.message}", error.hint
            ) from None
        self._calls.end(answer)
        return answer.status == 409

    def _length(self, answer: Response) -> int:
        length = answer.headers.get("Content-Length", "")
        if not LENGTH.fullmatch(length):
            raise self._calls.nonsense("it does not say how long its answer is")
        return int(length)

    def _bytes(self, answer: Response, most: int) -> bytes:
        """All of a short answer. Raises Broken, RemoteProblem."""
        try:
            data = answer.read(most + 1)
        except (HTTPError, OSError) as error:
            raise Broken(str(error)[:200], sent=False) from None
        finally:
            self._calls.end(answer)
        if len(data) > most:
            raise self._calls.nonsense("an answer that is far too long")
        return data


def _path(kind: Kind, name: str) -> str:
    return f"/{kind}/{name}"


def _is_name(kind: Kind, name: object) -> bool:
    if not isinstance(name, str):
        return False
    if kind == "log":
        return RECORD.fullmatch(name) is not None
    return name.endswith(SUFFIX) and NAME.fullmatch(name.removesuffix(SUFFIX)) is not None
