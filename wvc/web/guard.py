"""Refuse requests that nobody honest makes, and connections that stand in the way, before anything looks at them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wvc.errors import DiskProblem, WvcError
from wvc.web.problems import Problem, nothing_here

HEADERS = 64
HEADER_BYTES = 16 << 10
PATH_BYTES = 256
QUERY_BYTES = 256
PATH = re.compile(rb"(/[A-Za-z0-9._-]*)+")
METHODS = ("GET", "HEAD", "PUT")
CLOSING = (400, 405, 408, 413, 414, 431)  # after these, nobody knows what is a request and what a body
PAUSE = 1.0  # seconds without bytes of a body that nobody wants
DRAINED = 32 << 20  # bytes of a body that nobody wants, read so that the answer arrives


@dataclass(frozen=True)
class Patience:
    """Seconds for the next bytes of a body, and for those of an answer to go; bytes per second at least."""

    receive: float = 10.0
    send: float = 60.0
    rate: float = 1024.0


@dataclass
class Line:
    """One line of the request log. No header and no query is in it.

    caller: name of the token, if one was shown. milliseconds: until the last byte of the answer went.
    """

    client: str
    method: str
    path: str
    caller: str | None = None
    status: int = 0
    sent: int = 0
    received: int = 0
    milliseconds: float = 0.0
    problem: str | None = None


class Guard:
    """In front of the application: what it raises becomes an answer, and each request a line in the log."""

    def __init__(self, app: ASGIApp, say: Callable[[Line], None], patience: Patience = Patience()) -> None:
        self._app, self._say, self._patience = app, say, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.monotonic()
        line = Line((scope["client"] or ("-",))[0], scope["method"], scope["raw_path"].decode("ascii", "replace"))
        scope["state"] = {"line": line}
        exchange = _Exchange(receive, send, self._patience, line, body=scope["method"] == "PUT")
        try:
            check(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            line.problem = "the client does not read"
        except Exception as error:
            problem = problem_of(error)
            line.problem = problem.message if isinstance(error, WvcError) else f"{type(error).__name__} (a bug)"
            with contextlib.suppress(TimeoutError):
                await exchange.answer(scope, problem)
        finally:
            line.milliseconds = 1000 * (time.monotonic() - began)
            self._say(line)


class _Exchange:
    """receive and send of one request, watched."""

    def __init__(self, receive: Receive, send: Send, patience: Patience, line: Line, *, body: bool) -> None:
        """body: whether one comes."""
        self._receive, self._send, self._patience, self._line = receive, send, patience, line
        self._began = time.monotonic()
        self._whole, self._started = not body, False

    async def receive(self) -> Message:
        """The next part of the body. Raises Problem where it comes too slowly."""
        if self._whole:
            return await self._receive()
        patience, spent = self._patience, time.monotonic() - self._began
        left = patience.receive + self._line.received / patience.rate - spent
        try:
            async with asyncio.timeout(min(patience.receive, max(left, 0.001))):
                message = await self._receive()
        except TimeoutError:
            self._whole = True
            raise Problem(408, "the body comes too slowly", "try again") from None
        self._line.received += len(message.get("body", b""))
        self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Raises TimeoutError where the client does not take it."""
        if message["type"] == "http.response.start":
            self._started, self._line.status = True, message["status"]
            headers = [*message["headers"], (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
            if not self._whole or message["status"] in CLOSING:
                headers.append((b"connection", b"close"))  # what is left of the body must not be read as a request
            message = {**message, "headers": headers}
        self._line.sent += len(message.get("body", b""))
        async with asyncio.timeout(self._patience.send):
            await self._send(message)

    async def answer(self, scope: Scope, problem: Problem) -> None:
        """Say what is wrong, after a body that does not go on for ever: a client may not listen before it is sent."""
        if self._started:
            return
        if self._line.caller is not None:
            with contextlib.suppress(Problem, TimeoutError):
                while not self._whole and self._line.received < DRAINED:
                    async with asyncio.timeout(PAUSE):
                        await self.receive()
        headers = {} if problem.offset is None else {"Upload-Offset": str(problem.offset)}
        if problem.status in (423, 503):
            headers["Retry-After"] = "1"
        await JSONResponse(problem.json(), problem.status, headers)(scope, self.receive, self.send)


def check(scope: Scope) -> None:
    """Raises Problem for a request that no client of wvc makes."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if len(headers) > HEADERS or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
        raise Problem(431, f"more than {HEADERS} headers, or {HEADER_BYTES} bytes of them")
    names = [name for name, _ in headers]
    has_body = b"transfer-encoding" in names or any(v != b"0" for n, v in headers if n == b"content-length")
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Problem(400, "both Content-Length and Transfer-Encoding")
    if any(
        names.count(name) > 1 for name in (b"authorization", b"host", b"range", b"content-range", b"content-length")
    ):
        raise Problem(400, "a header that can be there only once is there twice")
    if scope["method"] not in METHODS:
        raise Problem(405, "a method that nothing here has")
    path: bytes = scope["raw_path"]
    if len(path) > PATH_BYTES or len(scope["query_string"]) > QUERY_BYTES:
        raise Problem(414, "an address that is far too long")
    if not PATH.fullmatch(path):  # nothing here needs a percent sign
        raise Problem(400, "an address with characters that none here has")
    if scope["method"] != "PUT" and has_body:
        raise Problem(413, "a body where none belongs")


def problem_of(error: Exception) -> Problem:
    """What to say of `error`: nothing about the inside of the server unless it was meant to be said."""
    if isinstance(error, Problem):
        return error
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or (isinstance(error, DiskProblem) and ("space" in error.message or "quota" in error.message)):
        return Problem(507, "the server's disk is full", "tell who runs it")
    if isinstance(error, WvcError):
        return Problem(500, "the repository of the server cannot be used", "tell who runs it: its log says more")
    return Problem(500, "something went wrong in the server", "tell who runs it: its log says more")


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """For an address that is none."""
    raise nothing_here()
