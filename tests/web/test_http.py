"""What the server answers over HTTP: ranges, limits, and requests that nobody honest makes."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from wvc.errors import WvcError
from wvc.repo.repository import Repository
from wvc.web import connection
from wvc.web.guard import Patience
from wvc.web.serve import Options, server

from ..verbs.conftest import Shelf
from .conftest import Live, Sender

Serve = Callable[..., Live]
FIRST = "/log/000000000001.json"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_records_and_packs_are_listed_and_read(serve: Serve, shelf: Shelf):
    live, folder = serve(shelf.repository), shelf.repository.folder

    names = {kind: live.call("GET", f"/{kind}").json()["names"] for kind in ("log", "packs")}

    for kind, found in names.items():
        assert found == sorted(path.name for path in (folder / kind).iterdir())
        for name in found:
            assert live.call("GET", f"/{kind}/{name}").body == (folder / kind / name).read_bytes()
    assert live.call("GET", "/log?after=000000000001.json").json()["names"] == names["log"][1:]
    assert live.call("GET", "/format").body == b"wvc 1\n"
    assert live.call("GET", "/healthz").json() == {"ok": True}


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=7-", 7, None), ("bytes=-4", -4, None)],
)
def test_one_part_of_a_file(serve: Serve, shelf: Shelf, header: str, begin: int, end: int | None):
    live = serve(shelf.repository)
    data = (shelf.repository.folder / FIRST[1:]).read_bytes()

    answer = live.call("GET", FIRST, Range=header)

    assert (answer.status, answer.body) == (206, data[begin:end])
    assert answer.headers["content-range"].endswith(f"/{len(data)}")
    assert answer.headers["etag"] == '"000000000001.json"'


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "bytes=99999-", "bytes=5-2", "bytes=-", "lines=1-2", "bytes=a-b"])
def test_no_other_parts(serve: Serve, shelf: Shelf, header: str):
    assert serve(shelf.repository).call("GET", FIRST, Range=header).status == 416


def test_nothing_but_records_and_packs_that_count_can_be_read(serve: Serve, shelf: Shelf):
    live, folder = serve(shelf.repository), shelf.repository.folder
    unannounced = folder / "packs" / ("0" * 64 + "." + "0" * 16 + ".safetensors")
    unannounced.write_bytes(b"private")
    (name,) = live.head().packs
    pack = folder / "packs" / f"{name}.safetensors"
    pack.unlink()
    pack.symlink_to(folder / "format")
    paths = [f"/packs/{unannounced.name}", f"/packs/{pack.name}", "/log/config.toml", "/config.toml", "/tokens.json"]

    assert {live.call("GET", path).status for path in paths} == {404}


HOSTILE = [
    "/log/..%5cconfig.toml", "/log/%2e%2e/config.toml", "/log/../config.toml", "/log/..", "//etc/passwd", "/log/%00",
    "/packs/%0d%0aSet-Cookie:x", "/packs/..%2f..%2f..%2fetc%2fpasswd", "/log/000000000001.json%00", "/packs/con",
    "/log/000000000001.json/", "/log//000000000001.json", "/./log", "/log;a=b", "/packs/" + "a" * 300, "/%", "/~root",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_leads_anywhere_else(serve: Serve, shelf: Shelf, path: str):
    answer = serve(shelf.repository).raw(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )

    assert status(answer) in (400, 404, 414)
    assert b"user" not in answer and b"root:" not in answer


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ("GET /log HTTP/1.1\r\nHost: localhost\r\n" + "X-A: b\r\n" * 65, 431),
        ("GET /log HTTP/1.1\r\nHost: localhost\r\nX-A: " + "b" * 20_000 + "\r\n", 431),
        ("GET /log HTTP/1.1\r\nHost: localhost\r\n" + "X-A: b\r\n" * 10_000, 431),
        (
            "PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n", 400),
        ("PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n", 413),
        ("GET /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n", 413),
        ("GET /log HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n", 400),
        ("GET /log?" + "a" * 300 + " HTTP/1.1\r\nHost: localhost\r\n", 414),
        ("TRACE /log HTTP/1.1\r\nHost: localhost\r\n", 405),
        ("POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n", 405),
        ("GET /log HTTP/1.1\r\nHost: evil.example\r\n", 421),
        ("GET http://x@y/../log HTTP/1.1\r\nHost: localhost\r\n", 400),
        ("GET /log HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET /log HTTP/1.1\r\nHost : localhost\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    ],
)
def test_requests_that_nobody_honest_makes(serve: Serve, shelf: Shelf, head: str, wanted: int):
    answer = serve(shelf.repository).raw(head.encode("latin-1") + b"Connection: close\r\n\r\n")

    assert status(answer) == wanted
    assert answer.split(b"\r\n\r\n", 1)[1].startswith(b'{"error"')
    assert b"Traceback" not in answer


def test_a_body_longer_than_it_says_is_not_read_as_a_request(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    inner = b"GET /format HTTP/1.1\r\nHost: localhost\r\n\r\n"

    answer = live.raw(b"GET /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)

    assert status(answer) == 413 and answer.count(b"HTTP/1.1") == 1


def test_a_pack_that_is_too_large_is_refused_before_it_comes(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository, max_pack_mb=1)
    _, pack = sender.put("run", {"a": [5.0]})

    whole = live.call("PUT", f"/packs/{pack.name}", b"x", Content_Range="bytes 0-0/1000001")
    other = live.call("PUT", f"/packs/{pack.name}", b"x", Content_Range="bytes 5-3/10")

    assert (whole.status, other.status) == (413, 400)


def test_what_is_no_pack_is_refused_when_its_header_has_come(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    path = "/packs/" + "0" * 64 + "." + "0" * 16 + ".safetensors"

    huge = live.call("PUT", path, (2**40).to_bytes(8, "little"), Content_Range="bytes 0-7/2000000")
    other = live.call("PUT", path, (10).to_bytes(8, "little") + b"{}" + b" " * 8, Content_Range="bytes 0-17/100")

    assert (huge.status, other.status) == (422, 422)
    assert live.call("HEAD", path).status == 404


def test_slow_bodies_and_headers_are_cut_off(serve: Serve, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection.Connection, "header_seconds", 0.5)
    live = serve(shelf.repository, patience=Patience(receive=0.5))
    put = b"PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"

    began = time.monotonic()
    body, header = live.raw(put), live.raw(b"GET /log HTT")

    assert status(body) == 408 and header == b""
    assert time.monotonic() - began < 10


def test_a_second_request_on_a_connection_is_not_waited_for_either(
    serve: Serve, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection.Connection, "header_seconds", 0.5)
    live = serve(shelf.repository)

    answer = live.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /log HT")

    assert status(answer) == 200 and answer.count(b"HTTP/1.1") == 1


def test_a_thousand_slow_connections_are_in_nobodys_way(serve: Serve, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    """R22: 500 with half a header, 500 with half a body, while others are served within a second."""
    monkeypatch.setattr(connection.Connection, "header_seconds", 5.0)
    live = serve(shelf.repository, patience=Patience(receive=5.0))
    half = b"PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"
    slow = []
    for i in range(1000):
        slow.append(socket.create_connection(live.address))
        slow[-1].sendall(b"GET /log HTTP/1.1\r\nHost:" if i % 2 else half)

    waits, _ = [], live.call("GET", FIRST)  # which comes after all of them
    for _ in range(10):
        began = time.monotonic()
        assert live.call("GET", FIRST).status == 200
        waits.append(time.monotonic() - began)

    assert max(waits) < 1.0
    for one in slow:
        one.settimeout(30)
        assert one.recv(100)[9:12] in (b"", b"408")
        one.close()


def test_nonsense_gets_no_traceback_and_no_5xx(
    serve: Serve, shelf: Shelf, capfd: pytest.CaptureFixture[str], pytestconfig: pytest.Config
):
    """R22: requests made by changing good ones, each over a connection of its own; 20,000 in the long form."""
    live, rng = serve(shelf.repository), random.Random(7)
    count = 20_000 if pytestconfig.getoption("long") else 2_000
    seeds = [
        b"GET /log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /log/000000000001.json?a HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-5\r\nConnection: close\r\n\r\n",
        b"HEAD /packs/abc.safetensors HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wvc_x\r\n"
        b"Connection: close\r\n\r\n",
        b"PUT /log/000000000009.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        b"PUT /packs/" + b"0" * 64 + b"." + b"0" * 16 + b".safetensors HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ]
    statuses: set[int] = set()

    with ThreadPoolExecutor(16) as pool:  # they wait for answers that do not come, most of the time
        requests = (_mutated(rng.choice(seeds), rng) for _ in range(count))
        for found in pool.map(lambda data: _answers(live, data), requests):
            statuses.update(status(b"HTTP/1.1" + answer) for answer in found)

    assert {200, 206, 400, 404} <= statuses and statuses & set(range(500, 600)) <= {501}
    assert "Traceback" not in capfd.readouterr().err
    assert not [line.problem for line in live.lines if line.problem and "bug" in line.problem]
    assert live.call("GET", FIRST).status == 200


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 5])):
        place = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                changed[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            case _:
                del changed[place : place + rng.randrange(1, 9)]
    return bytes(changed)


def _answers(live: Live, data: bytes) -> list[bytes]:
    with socket.create_connection(live.address, timeout=0.3) as connected:
        found = b""
        try:
            connected.sendall(data)
            while piece := connected.recv(65536):
                found += piece
        except OSError:
            pass
    return found.split(b"HTTP/1.1")[1:]


def test_nobody_listens_to_strangers_without_tokens(shelf: Shelf):
    with pytest.raises(WvcError, match="without any token"):
        server(shelf.repository, Options(host="0.0.0.0", port=0), lambda _: None, lambda _: None)


def test_a_server_for_strangers_never_becomes_open(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository, host="0.0.0.0") if _with_token(shelf) else None
    assert live is not None

    (shelf.repository.folder / "tokens.json").unlink()

    assert live.call("GET", "/log").status == 404


def _with_token(shelf: Shelf) -> bool:
    from wvc.web.tokens import create

    return bool(create(shelf.repository.folder, "ada", "push"))


def test_a_port_that_is_taken_is_an_error(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)

    with pytest.raises(WvcError, match="cannot listen"):
        server(shelf.repository, Options(port=live.address[1]), lambda _: None, lambda _: None)


def test_a_damaged_log_is_said_without_details(serve: Serve, shelf: Shelf):
    live, log = serve(shelf.repository), shelf.repository.folder / "log"
    (log / "000000000002.json").chmod(0o644)
    (log / "000000000002.json").write_bytes(b"{}")

    answer = live.call("GET", "/log")

    assert answer.status == 500 and b"000000000002" not in answer.body and str(log).encode() not in answer.body
    assert Repository(shelf.repository.path) is not None
