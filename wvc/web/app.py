"""What the server answers. docs/design.md, "Sharing: the server", is the contract."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from wvc.repo.location import FORMAT
from wvc.store.log import LARGEST
from wvc.store.packs import NAME, SUFFIX
from wvc.web import ranges, upload
from wvc.web.guard import METHODS, Guard, Line, Patience, nobody
from wvc.web.problems import Problem, conflict, nothing_here
from wvc.web.receive import Receiver
from wvc.web.shelf import PAGE, RECORD, Shelf, open_file
from wvc.web.tokens import Door, Token

PIECE = 1 << 20
SMALL = 1 << 16  # bytes of a file that is answered at once
RECEIVERS = 2  # records that are looked at at once: each may read gigabytes
Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


def build(
    receiver: Receiver, say: Callable[[Line], None], *, loopback: bool = True, patience: Patience = Patience()
) -> ASGIApp:
    """The application for the repository of `receiver`.

    say: takes the lines of the request log. loopback: nobody but this machine can reach it.
    """
    site = _Site(receiver)
    endpoints = {
        "/format": site.methods(GET=site.format),
        "/log": site.methods(GET=site.records),
        "/log/{name}": site.methods(GET=site.record, PUT=site.put_record),
        "/packs": site.methods(GET=site.packs),
        "/packs/{name}": site.methods(GET=site.pack, PUT=site.put_pack),
    }
    routes = [Route(path, endpoint, methods=METHODS) for path, endpoint in endpoints.items()]
    inside = Router(routes, redirect_slashes=False, default=nobody)
    return Guard(_Doorkeeper(inside, Door(receiver.folder), loopback), say, patience)


class _Doorkeeper:
    """Lets in who may come in. Nobody else learns anything but that the server is there."""

    def __init__(self, app: ASGIApp, door: Door, loopback: bool) -> None:
        self._app, self._door, self._loopback = app, door, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if scope["path"] == "/healthz" and scope["method"] != "PUT":
            await JSONResponse({"ok": True})(scope, receive, send)
            return
        caller = self._door.find(_bearer(request))
        if caller is None or (self._door.is_open and not self._loopback):
            raise nothing_here()
        if self._door.is_open and not _is_here(request.headers.get("host", "")):
            # A page on the web may have its name point to this machine, and a browser here would ask for it.
            raise Problem(
                421, "without tokens, this server answers to localhost only", "make a token, or use 127.0.0.1"
            )
        scope["state"]["caller"] = caller
        scope["state"]["line"].caller = caller.name
        await self._app(scope, receive, send)


class _Site:
    """The endpoints. Everything that may wait for a disk is done in threads."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._shelf = receiver, Shelf(receiver.folder)
        self._receivers: CapacityLimiter | None = None

    def methods(self, **handlers: Endpoint) -> Endpoint:
        """One endpoint out of one for each method; HEAD is GET without the bytes."""

        async def endpoint(request: Request) -> Response:
            handler = handlers.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                raise Problem(405, "a method that this address does not have")
            return await handler(request)

        return endpoint

    async def format(self, request: Request) -> Response:
        state = await to_thread.run_sync(self._shelf.state)
        caller, headers = _caller(request), {"Wvc-Repository": state.repository}
        if not caller.actors:
            headers["Wvc-Actor"] = caller.name
        return PlainTextResponse(FORMAT + "\n", headers=headers)

    async def records(self, request: Request) -> Response:
        return await _names(self._shelf.records, request)

    async def packs(self, request: Request) -> Response:
        return await _names(self._shelf.packs, request)

    async def record(self, request: Request) -> Response:
        name = request.path_params["name"]
        return await _file(request, name, await to_thread.run_sync(_begun, self._shelf.open_record, name))

    async def pack(self, request: Request) -> Response:
        """One that counts, or what is there of one that the caller is sending."""
        name = request.path_params["name"]
        found = await to_thread.run_sync(_begun, self._shelf.open_pack, name)
        if found is not None:
            return await _file(request, name, found)
        quarantine = self._receiver.quarantine(_caller(request))
        path = quarantine.path(_pack(name))
        found = await to_thread.run_sync(_begun, open_file, path)
        whole = found is not None and await to_thread.run_sync(quarantine.is_whole, _pack(name))
        return await _file(request, name, found, {"Upload-Complete": "?1" if whole else "?0"})

    async def put_pack(self, request: Request) -> Response:
        caller, name = _pusher(request), request.path_params["name"]
        start, length, total = ranges.brought(
            request.headers.get("content-range"), request.headers.get("content-length")
        )
        bare = _pack(name)
        fd = await to_thread.run_sync(self._shelf.open_pack, name)
        if fd is not None:
            os.close(fd)
            raise conflict(f"pack {bare[:12]} is there already")
        body = _body(request.receive, length)
        here = await upload.take(self._receiver.quarantine(caller), bare, body, start, length, total)
        headers = {"Upload-Offset": str(here)}
        return JSONResponse({"size": here, "whole": here == total}, 201 if here == total else 200, headers)

    async def put_record(self, request: Request) -> Response:
        caller, name = _pusher(request), request.path_params["name"]
        _, length, _ = ranges.brought(None, request.headers.get("content-length"))
        if not RECORD.fullmatch(name):
            raise nothing_here()
        if length > LARGEST:
            raise Problem(413, f"a record has at most {LARGEST} bytes")
        data = bytearray()
        async for chunk in _body(request.receive, length):
            data += chunk
        if request.headers.get("wvc-ask") == "?1":
            await to_thread.run_sync(self._receiver.ask, int(name[:12]), bytes(data), caller)
            return JSONResponse({"number": int(name[:12])})
        self._receivers = self._receivers or CapacityLimiter(RECEIVERS)
        take = partial(self._receiver.take, int(name[:12]), bytes(data), caller)
        new = await to_thread.run_sync(take, limiter=self._receivers)
        return JSONResponse({"number": int(name[:12])}, 201 if new else 200)


async def _names(find: Callable[[str], list[str]], request: Request) -> Response:
    names = await to_thread.run_sync(find, request.query_params.get("after", ""))
    return JSONResponse({"names": names, "more": len(names) == PAGE})


@dataclass(frozen=True)
class _Begun:
    """A file that is open. data: all of it, if it is small."""

    fd: int
    size: int
    data: bytes | None


def _begun(find: Callable[[T], int | None], place: T) -> _Begun | None:
    """What `find` finds, with its bytes if they are few: one wait for the disk instead of two."""
    fd = find(place)
    if fd is None:
        return None
    try:
        size = os.fstat(fd).st_size
        return _Begun(fd, size, os.pread(fd, size, 0) if size <= SMALL else None)
    except OSError:
        os.close(fd)
        raise


async def _file(request: Request, name: str, found: _Begun | None, headers: dict[str, str] | None = None) -> Response:
    """The open file, or the part of it that is asked for. Raises Problem."""
    if found is None:
        raise nothing_here()
    fd, size, data = found.fd, found.size, found.data
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, fd)
        told = {"ETag": f'"{name}"', "Accept-Ranges": "bytes", **(headers or {})}
        only_if = request.headers.get("if-range")
        part = ranges.wanted(request.headers.get("range") if only_if in (None, told["ETag"]) else None, size)
        start, stop = part or (0, size)
        told["Content-Length"] = str(stop - start)
        if part:
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        status = 206 if part else 200
        if request.method == "HEAD":
            if "sha-256" in request.headers.get("want-repr-digest", ""):
                digest = await to_thread.run_sync(_digest, fd, size)
                told["Repr-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
            return Response(b"", status, told)
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        if data is not None:
            return Response(data[start:stop], status, told, kind)
        stack.pop_all()  # what is sent closes it
        return StreamingResponse(_sent(fd, start, stop), status, told, kind)


async def _sent(fd: int, start: int, stop: int) -> AsyncIterator[bytes]:
    with os.fdopen(fd, "rb", buffering=0) as file:
        while start < stop:
            data = await to_thread.run_sync(os.pread, file.fileno(), min(PIECE, stop - start), start)
            if not data:
                raise OSError("a file became shorter")
            yield data
            start += len(data)


async def _body(receive: Receive, length: int) -> AsyncIterator[bytes]:
    """The bytes that come, at most `length`. Raises Problem where the connection breaks."""
    here, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection broke", "go on from what is there")
        data, more = message.get("body", b""), message.get("more_body", False)
        here += len(data)
        if here > length:
            raise Problem(413, "more bytes than Content-Length says")
        yield data
    if here < length:
        raise Problem(400, "fewer bytes than Content-Length says")


def _digest(fd: int, size: int) -> bytes:
    hasher = hashlib.sha256()
    for data in _blocks(fd, size):
        hasher.update(data)
    return hasher.digest()


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    return (os.pread(fd, PIECE, start) for start in range(0, size, PIECE))


def _caller(request: Request) -> Token:
    found: Any = request.scope["state"]["caller"]
    return found if isinstance(found, Token) else Token("", "", "read")


def _pusher(request: Request) -> Token:
    """The caller, if they may push at all. Raises Problem."""
    caller = _caller(request)
    if not caller.may("push"):
        raise Problem(403, "this token may only read", "ask for one with --scope push")
    return caller


def _pack(name: str) -> str:
    """The name of the pack in a file of this name. Raises Problem."""
    bare = name.removesuffix(SUFFIX)
    if bare == name or not NAME.fullmatch(bare):
        raise nothing_here()
    return bare


def _bearer(request: Request) -> str | None:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else None


def _is_here(host: str) -> bool:
    """True if `host`, with or without a port, means this machine and nothing else can."""
    bare = host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host
    if bare.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare.strip("[]")).is_loopback
    except ValueError:
        return False
