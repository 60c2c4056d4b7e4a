"""Servers, and what may stand between one and its client, that break off, lie or lead elsewhere."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

from ..web.conftest import Live


class Proxy:
    """Between client and server: passes so many bytes of the first PUTs on, then cuts the connection.

    passed: bytes that clients sent. cuts: connections that were cut.
    """

    def __init__(self, target: tuple[str, int], limits: list[int]) -> None:
        self._target, self._limits = target, limits
        self.passed, self.cuts = 0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server, put = socket.create_connection(self._target), False
        threading.Thread(target=self._back, args=(server, client), daemon=True).start()
        try:
            while data := client.recv(65536):
                put = put or data.startswith(b"PUT")
                if put and self._limits:
                    self._limits[0] -= len(data)
                    if self._limits[0] < 0:
                        server.sendall(data[: self._limits.pop(0)])
                        self.cuts += 1
                        break
                self.passed += len(data)
                server.sendall(data)
        except OSError:
            pass
        if put:
            time.sleep(0.1)
        for end in (server, client):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()


class Deaf:
    """Between client and server: loses the answers to the PUTs with these numbers, which the server has taken."""

    def __init__(self, live: Live, lost: set[int]) -> None:
        self._live, self._lost, self._puts = live, lost, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                request = asked(client)
                put = request.startswith(b"PUT")
                self._puts += put
                answer = self._live.raw(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                if not put or self._puts not in self._lost:
                    client.sendall(answer)

    def close(self) -> None:
        self._listener.close()


class Scripted:
    """A server that gives these answers in turn, the last one for ever; None hangs up. requests: what it was asked."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers, self.requests = list(answers), list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                self.requests.append(asked(client))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if answer is not None:
                    client.sendall(answer)

    def close(self) -> None:
        self._listener.close()


def asked(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (piece := client.recv(65536)):
        data += piece
    length = re.search(rb"content-length: (\d+)", data, re.IGNORECASE)
    while length and len(data.split(b"\r\n\r\n", 1)[1]) < int(length[1]) and (piece := client.recv(65536)):
        data += piece
    return data


def said(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


HELLO = said("200 OK", b"wvc 1\n")
