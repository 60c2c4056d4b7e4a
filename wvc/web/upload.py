"""Take a pack that comes in pieces, and tell how much of it is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from anyio import to_thread

from wvc.errors import Damage
from wvc.web.problems import Problem
from wvc.web.quarantine import BadPack, Quarantine, Upload

PIECE = 1 << 20


async def take(
    quarantine: Quarantine, name: str, body: AsyncIterator[bytes], start: int, length: int, total: int
) -> int:
    """Write `length` bytes of `body` to pack `name`, of `total` bytes, from `start`; return how many are there.

    What came before a connection broke stays. Raises Problem.
    """
    with contextlib.ExitStack() as stack:
        upload = await to_thread.run_sync(stack.enter_context, quarantine.receive(name, start, total))
        try:
            return await _fill(quarantine, upload, body, start + length, total)
        except Problem as problem:
            if problem.status == 422:
                quarantine.discard(upload)
            raise


async def _fill(quarantine: Quarantine, upload: Upload, body: AsyncIterator[bytes], end: int, total: int) -> int:
    here, checked = upload.here, False
    async for piece in _pieces(body):
        if here + len(piece) > end:
            raise Problem(400, "more bytes than Content-Length says")
        await to_thread.run_sync(_write, upload.fd, piece, here)
        here += len(piece)
        if not checked:
            checked = await to_thread.run_sync(quarantine.check_begin, upload, here, total)
    if here == total:
        await to_thread.run_sync(_finish, quarantine, upload)
    return here


async def _pieces(body: AsyncIterator[bytes]) -> AsyncIterator[bytearray]:
    """The same bytes in larger pieces: each is a trip to another thread. What came before an error comes too."""
    waiting, problem = bytearray(), None
    try:
        async for chunk in body:
            waiting += chunk
            if len(waiting) >= PIECE:
                yield waiting
                waiting = bytearray()
    except Problem as error:
        problem = error
    if waiting:
        yield waiting
    if problem is not None:
        raise problem


def _write(fd: int, data: bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _finish(quarantine: Quarantine, upload: Upload) -> None:
    """All of it has come: it must be one that can be opened, and survive what may happen to the machine."""
    try:
        quarantine.check_whole(upload)
    except Damage as error:
        raise BadPack(upload.name, error.message) from None
    os.fsync(upload.fd)
