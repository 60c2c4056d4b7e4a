"""The http remote and servers that break off, lie or lead elsewhere; and where its tokens come from."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import pytest

from wvc.errors import Refused, RemoteProblem, Unclear, Unreachable, WvcError
from wvc.remotes import _credentials, http
from wvc.store.packs import SUFFIX

from .servers import HELLO, Scripted, said

FIRST = "000000000001.json"


def test_a_reply_that_is_lost_leaves_it_unclear(scripted: Callable[..., Scripted]):
    server = scripted(HELLO, None)
    remote = http.open(server.url)

    with pytest.raises(Unclear):
        remote.put("log", "000000000002.json", io.BytesIO(b"{}"), 2)

    assert sum(request.startswith(b"PUT") for request in server.requests) == 1


def test_a_server_that_is_busy_is_asked_again(scripted: Callable[..., Scripted]):
    server = scripted(HELLO, said("503 Busy"), said("423 Locked"), said("201 Created", b"{}"))

    assert http.open(server.url).put("log", "000000000002.json", io.BytesIO(b"{}"), 2)
    assert len(server.requests) == 4


def test_reading_goes_on_where_a_connection_broke(scripted: Callable[..., Scripted]):
    whole = said("200 OK", b"0123456789")
    rest = said("206 Partial", b"456789", Content_Range="bytes 4-9/10")
    server = scripted(HELLO, None, whole[:-6], rest)

    assert b"".join(http.open(server.url).read("log", FIRST)) == b"0123456789"
    assert b"range: bytes=4-" in server.requests[-1].lower()


def test_nobody_answers(scripted: Callable[..., Scripted]):
    server = scripted(None)

    with pytest.raises(Unreachable):
        http.open(server.url)
    server.close()
    with pytest.raises(Unreachable):
        http.open("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "answer",
    [
        said("200 OK", b"hello"),
        said("200 OK", b"wvc 1\n" * 1000),
        b"nonsense\r\n\r\n",
        said("302 Found", Location="http://evil.example/"),
        said("500 Oops", b"<html>"),
    ],
)
def test_what_is_no_server_of_wvcs(scripted: Callable[..., Scripted], answer: bytes):
    with pytest.raises(RemoteProblem):
        http.open(scripted(answer).url)


@pytest.mark.parametrize(
    "page",
    [
        [],
        {"names": ["../x"], "more": False},
        {"names": [FIRST, FIRST], "more": False},
        {"names": ["000000000002.json", FIRST], "more": False},
        {"names": [], "more": True},
        {"names": [1], "more": False},
        {"names": {"a": 1}, "more": False},
    ],
)
def test_lists_are_not_believed(scripted: Callable[..., Scripted], page: object):
    remote = http.open(scripted(HELLO, said("200 OK", json.dumps(page).encode())).url)

    with pytest.raises(RemoteProblem):
        remote.names("log")


def test_a_list_without_end_ends(scripted: Callable[..., Scripted]):
    body = json.dumps({"names": [FIRST], "more": True}).encode()

    with pytest.raises(RemoteProblem, match="not asked for"):
        http.open(scripted(HELLO, said("200 OK", body)).url).names("log")


@pytest.mark.parametrize(
    "answer",
    [
        said("206 Partial", b"0123456789", Content_Range="bytes 2-11/20"),
        said("206 Partial", b"01", Content_Range="bytes 5-6/20"),
        said("200 OK", b"0123456789"),
    ],
)
def test_parts_are_not_believed(scripted: Callable[..., Scripted], answer: bytes):
    with pytest.raises(RemoteProblem):
        list(http.open(scripted(HELLO, answer).url).read("log", FIRST, 2, 4))


def test_an_upload_that_gets_nowhere_ends(scripted: Callable[..., Scripted]):
    name = "0" * 64 + "." + "0" * 16 + SUFFIX
    server = scripted(HELLO, said("200 OK", Upload_Offset="0", Upload_Complete="?0"))

    with pytest.raises(Unclear):
        http.open(server.url).put("packs", name, io.BytesIO(b"abc"), 3)


def test_a_token_goes_to_no_other_server(scripted: Callable[..., Scripted]):
    other = scripted(HELLO)
    server = scripted(said("307 Elsewhere", Location=other.url + "/format"))

    with pytest.raises(Refused, match=re.escape(other.url)):
        http.open(server.url, token="wvc_secret")

    assert b"Bearer wvc_secret" in server.requests[0] and other.requests == []


def test_tokens_come_from_a_file_that_nobody_else_can_read(monkeypatch: pytest.MonkeyPatch):
    path = _credentials.path()
    path.parent.mkdir(parents=True)
    path.write_text('"https://one.example" = "a"\n"https://one.example/zoo" = "b"\n"http://127.0.0.1:8420" = "c"\n')
    path.chmod(0o600)
    wanted = {
        "https://one.example": "a",
        "https://ONE.example/zoo/": "b",
        "https://one.example/zoology": "a",
        "https://one.example.evil/zoo": None,
        "http://one.example/zoo": None,
        "https://one.example:444/zoo": None,
        "http://127.0.0.1:8420/x": "c",
    }

    assert {url: _credentials.token(url) for url in wanted} == wanted
    monkeypatch.setenv("WVC_TOKEN", "d")
    assert _credentials.token("https://two.example") == "d"
    monkeypatch.delenv("WVC_TOKEN")
    path.chmod(0o644)
    with pytest.raises(WvcError, match="others can read it"):
        _credentials.token("https://one.example")
    path.chmod(0o600)
    path.write_text("secret stuff")
    with pytest.raises(WvcError) as caught:
        _credentials.token("https://one.example")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["http://a:b@127.0.0.1/", "http://127.0.0.1/?a=b", "http://127.0.0.1/#a", "ftp://127.0.0.1/", "http:///x"]
)
def test_addresses_that_are_none(url: str):
    with pytest.raises(RemoteProblem):
        http.open(url)


def test_a_token_is_not_shown_on_the_way(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "Http", lambda calls: calls.url)

    with pytest.raises(RemoteProblem, match="would show the token"):
        http.open("http://far.example", token="wvc_x")

    assert http.open("https://far.example", token="wvc_x") and http.open("http://far.example")
    monkeypatch.setenv("WVC_INSECURE", "1")
    assert http.open("http://far.example", token="wvc_x")


def test_a_token_that_would_be_a_header_is_refused():
    with pytest.raises(RemoteProblem, match="characters"):
        http.open("http://127.0.0.1:1", token="a\r\nX: y")
