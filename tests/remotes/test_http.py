"""The http remote against a real server, also over lines that break."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from wvc.errors import MissingObject, Refused, Unclear, Unreachable
from wvc.remotes import Remote, http
from wvc.store.packs import SUFFIX
from wvc.verbs.push import Options, push
from wvc.verbs.remote import add

from ..verbs.conftest import Shelf
from ..web.conftest import Live, Sender, changed, record
from .servers import Deaf, Proxy

Serve = Callable[..., Live]
FIRST = "000000000001.json"


def test_names_sizes_and_bytes(serve: Serve, shelf: Shelf):
    live, folder = serve(shelf.repository), shelf.repository.folder

    with http.open(live.url) as remote:
        for kind in ("log", "packs"):
            names = sorted(path.name for path in (folder / kind).iterdir())
            assert remote.names(kind) == names and remote.names(kind, names[0]) == names[1:]
            for name in names:
                data = (folder / kind / name).read_bytes()
                assert remote.size(kind, name) == len(data)
                assert b"".join(remote.read(kind, name)) == data
                assert b"".join(remote.read(kind, name, 3, 9)) == data[3:9]
                assert b"".join(remote.read(kind, name, 5)) == data[5:]
                assert b"".join(remote.read(kind, name, len(data) - 2, 2**40)) == data[-2:]
                assert list(remote.read(kind, name, len(data))) == [] and list(remote.read(kind, name, 4, 4)) == []


def test_what_is_not_there(serve: Serve, shelf: Shelf):
    remote = http.open(serve(shelf.repository).url)

    assert remote.size("log", "000000000099.json") is None and remote.size("packs", "../config.toml") is None
    for name in ("000000000099.json", "../config.toml", "x"):
        with pytest.raises(MissingObject):
            list(remote.read("log", name))


def test_many_names_come_in_pages(serve: Serve, shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wvc.web.shelf.PAGE", 3)
    monkeypatch.setattr("wvc.web.app.PAGE", 3)
    for i in range(8):
        shelf.keep(f"b{i}", shelf.tip("main"))
    remote = http.open(serve(shelf.repository).url)

    assert remote.names("log") == [f"{i:012d}.json" for i in range(1, 11)]
    assert remote.names("log", "000000000007.json") == [f"{i:012d}.json" for i in (8, 9, 10)]


def test_a_push(serve: Serve, shelf: Shelf, sender: Sender):
    live = serve(shelf.repository)
    live.token()
    commit, pack = sender.put("run", {"a": [5.0, 2.0]})
    remote = http.open(live.url, token=live.secret)
    data = record(live.head(), [("refs/heads/run", None, commit.id)], [pack])
    name = f"{json.loads(data)['number']:012d}.json"

    with pack.open("rb") as file:
        assert remote.put("packs", pack.name, file, pack.stat().st_size)
    with pack.open("rb") as file:
        assert remote.put("packs", pack.name, file, pack.stat().st_size)
    for source, wanted in ((data, True), (data, True), (changed(data, message="other"), False)):
        assert remote.put("log", name, io.BytesIO(source), len(source)) is wanted
    with pack.open("rb") as file:
        assert remote.put("packs", pack.name, file, pack.stat().st_size)
    other = pack.read_bytes()[:-1] + b"x"
    assert remote.put("packs", pack.name, io.BytesIO(other), len(other)) is False
    assert live.head().refs["refs/heads/run"] == commit.id


def test_a_no_is_said_in_the_words_of_the_server(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    remote = http.open(live.url, token=live.token(scope="read"))
    data = record(live.head(), [])

    with pytest.raises(Refused, match="may only read") as caught:
        remote.put("log", "000000000009.json", io.BytesIO(data), len(data))
    assert caught.value.hint == "ask for one with --scope push"
    with pytest.raises(Refused, match="not for you"):
        http.open(live.url, token="wvc_wrong")
    with pytest.raises(Refused, match="not for you"):
        http.open(live.url)


def test_a_push_that_would_be_refused_sends_no_packs(
    serve: Serve, shelf: Shelf, sender: Sender, monkeypatch: pytest.MonkeyPatch
):
    live = serve(shelf.repository)
    monkeypatch.setenv("WVC_TOKEN", live.token("ada", refs=["team/*"], actors=[]))
    sender.put("run", {"a": [5.0, 2.0], "b": [3.0]})
    repository = sender.shelf.repository
    add(repository, "hub", live.url)

    for dry in (True, False):
        with pytest.raises(Refused, match="may not move run"):
            push(repository, "hub", Options(("run",), dry_run=dry))
    assert not list((shelf.repository.folder / "quarantine").rglob(f"*{SUFFIX}"))

    push(repository, "hub", Options(("run:team/run",)))
    assert live.head().refs["refs/heads/team/run"] == repository.refs["refs/heads/run"]


def test_the_probe(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    before = live.head()

    found = http.open(live.url, token=live.token()).probe()
    reader = http.open(live.url, token=live.token("bob", "read")).probe()

    assert all(held for _, held in found)
    assert [what for what, held in reader if not held] == ["take a name only once"]
    assert live.head() == before


def test_an_upload_that_is_cut_goes_on_from_what_is_there(serve: Serve, shelf: Shelf, sender: Sender):
    """R17: no more bytes than the file has, and what was under way at each cut."""
    live = serve(shelf.repository)
    commit, pack = sender.put("run", {"a": [float(i) ** 0.5 for i in range(300_000)]})
    size = pack.stat().st_size
    cuts = [size // 7] * 5
    proxy = Proxy(live.address, list(cuts))
    remote = http.open(proxy.url)

    with pack.open("rb") as file:
        assert remote.put("packs", pack.name, file, size)
    proxy.close()

    assert proxy.cuts == len(cuts)
    assert proxy.passed <= 1.05 * size + len(cuts) * 65536 * 4
    data = record(live.head(), [("refs/heads/run", None, commit.id)], [pack])
    assert live.put_record(data).status == 201


@pytest.mark.parametrize("lost", [{1}, {2}, {3}, {4}, {1, 2}, {2, 3}, {1, 3, 5}])
def test_whichever_answers_are_lost_there_is_one_record(
    serve: Serve,
    shelf: Shelf,
    sender: Sender,
    lost: set[int],
    monkeypatch: pytest.MonkeyPatch,
):
    """R13: who is in doubt reads it back or puts it again, and learns what is true."""
    monkeypatch.setattr(http, "PART", 300)
    live = serve(shelf.repository)
    before = live.head().number
    commit, pack = sender.put("run", {"a": [5.0, 2.0]})
    between = Deaf(live, lost)
    remote = http.open(between.url)

    with pack.open("rb") as file:
        assert remote.put("packs", pack.name, file, pack.stat().st_size)
    data = record(live.head(), [("refs/heads/run", None, commit.id)], [pack])
    outcomes = [_outcome(remote, before + 1, data) for _ in range(2)]
    between.close()

    assert set(outcomes) <= {True, None} and live.head().number == before + 1
    assert b"".join(remote_bytes(live, before + 1)) == data


def _outcome(remote: Remote, number: int, data: bytes) -> bool | None:
    try:
        return remote.put("log", f"{number:012d}.json", io.BytesIO(data), len(data))
    except Unclear:
        return None


def remote_bytes(live: Live, number: int) -> Iterator[bytes]:
    return http.open(live.url).read("log", f"{number:012d}.json")


def test_https_is_verified(serve: Serve, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key, trusted = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(trusted))
    live = serve(shelf.repository, tls_cert=cert, tls_key=key)

    with pytest.raises(Unreachable, match="cannot be trusted"):
        http.open(live.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    remote = http.open(live.url, token=live.token())

    assert live.url.startswith("https://")
    data = (shelf.repository.folder / "log" / FIRST).read_bytes()
    assert hashlib.sha256(b"".join(remote.read("log", FIRST))).digest() == hashlib.sha256(data).digest()
