"""Connections, and how long they may take to say what they want: uvicorn waits for a header for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # from the first moment of a connection, or the first byte of a further request
SEND_SECONDS = 60.0  # without a sign that anything arrives
LINGER = 1.0  # seconds for the last bytes when the server ends
CONNECTIONS = 4096  # at once


class Connection(H11Protocol):
    """One that is closed when a header does not come, and when there are too many."""

    header_seconds: ClassVar[float] = HEADER_SECONDS
    most: ClassVar[int] = CONNECTIONS
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        with contextlib.suppress(OSError, AttributeError):  # who does not read is let go, even once all is written
            transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * SEND_SECONDS)
            )
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Besides handling them, see whether a header is being waited for that has begun."""
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_longer()
        elif self._waiting is None and (self.conn.trailing_data[0] or self.timeout_keep_alive_task is None):
            self._wait()

    def shutdown(self) -> None:
        """The server ends: one that is idle is closed, and who uses TLS need not be waited for to agree."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(LINGER, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """As everything else here is said: in JSON, with h11's own idea of what is wrong."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        problem = {"error": "not a request that can be understood", "hint": None}
        if status == 431:
            problem["error"] = "too many bytes of headers"
        body = json.dumps(problem).encode()
        try:
            self._answer(status, body)
        except h11.LocalProtocolError:  # an answer has gone already, or is going
            self.transport.abort()
            return
        self.transport.close()

    def _answer(self, status: int, body: bytes) -> None:
        headers: list[Any] = [("content-type", "application/json"), ("connection", "close")]
        headers.append(("content-length", str(len(body))))
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.header_seconds, self._give_up)

    def _wait_no_longer(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self.transport.abort()
