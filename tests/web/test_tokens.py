"""Tokens: made, found, revoked; what is stored of them, and that looking one up tells nothing."""

from __future__ import annotations

import ast
import json
import math
import random
import stat
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, variance

import pytest

from wvc.errors import UsageError, WvcError
from wvc.web import tokens
from wvc.web.tokens import Door, Token, create, read, revoke

from ..verbs.conftest import Shelf
from .conftest import Live, Sender, record

ROOT = Path(__file__).parents[2]
Serve = Callable[..., Live]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_secret_is_stored_nowhere_and_its_file_is_for_the_owner_only(folder: Path):
    token, secret = create(folder, "ada", "push", ["run/*"], days=30)

    text = (folder / "tokens.json").read_text()
    assert secret not in text and token.hash in text
    assert stat.S_IMODE((folder / "tokens.json").stat().st_mode) == 0o600
    assert len(secret) == len("wvc_") + 43
    assert Door(folder).find(secret) == token
    assert token.refs == ("refs/heads/run/*",)


def test_what_changes_is_seen_at_once(folder: Path):
    door = Door(folder)
    was_open, nobody = door.is_open, door.find(None)

    _, secret = create(folder, "ada", "read")
    found = door.find(secret), door.find(None), door.find("wvc_x"), door.find("")
    revoke(folder, "ada")

    assert (was_open, nobody) == (True, tokens.ANYBODY)
    assert [token and token.name for token in found] == ["ada", None, None, None]
    assert door.find(secret) is None and door.find(None) is None and not door.is_open


def test_a_token_ends_on_the_clock_of_the_server(folder: Path):
    now = [time.time()]
    door = Door(folder, lambda: now[0])
    _, secret = create(folder, "ada", "read", days=1)

    before = door.find(secret)
    now[0] += 86_401

    assert before is not None and door.find(secret) is None


def test_a_name_is_taken_once(folder: Path):
    create(folder, "ada", "read")

    for name, scope in (("ada", "push"), ("a/b", "read"), ("bob", "root")):
        with pytest.raises(WvcError):
            create(folder, name, scope)
    with pytest.raises(UsageError):
        revoke(folder, "bob")
    assert [token.name for token in read(folder)] == ["ada"]


@pytest.mark.parametrize("text", ["", "{}", "[", '{"format": "wvc tokens 2", "tokens": []}', '{"format": 1}'])
def test_a_file_that_cannot_be_read_lets_nobody_in(folder: Path, text: str):
    _, secret = create(folder, "ada", "admin")
    (folder / "tokens.json").write_text(text)

    assert Door(folder).find(secret) is None and Door(folder).find(None) is None
    with pytest.raises(WvcError):
        create(folder, "eve", "admin")


def test_what_a_token_may():
    run = Token("ada", "", "push", ("refs/heads/run/*",), ("bot-*",))

    assert run.may("read") and run.may("push") and not run.may("admin")
    assert run.may_move("refs/heads/run/a/b") and not run.may_move("refs/heads/main")
    assert [run.may_claim(name) for name in ("ada", "bot-1", "eve")] == [True, True, False]
    assert not Token("bob", "", "read").may_move("refs/heads/run/1")


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("push", 201), ("admin", 201)])
def test_scopes(serve: Serve, shelf: Shelf, sender: Sender, scope: str, status: int):
    live = serve(shelf.repository)
    live.token(scope=scope)
    _, pack = sender.put("run", {"a": [5.0]})

    sent = live.put_pack(pack)
    moved = live.put_record(record(live.head(), [("refs/heads/x", None, shelf.tip("main").id)]))

    assert (sent.status, moved.status) == (status, status)
    assert live.call("GET", "/log").status == 200


def test_only_an_administrator_takes_anything_from_a_protected_branch(serve: Serve, shelf: Shelf):
    live, old = serve(shelf.repository, protect=["main"]), shelf.tip("main")
    other = shelf.put("other", {"a": [0.0]}, root=True)
    child = shelf.put("child", {"a": [1.0]})
    live.token("ada", "push")
    main = "refs/heads/main"

    away = live.put_record(record(live.head(), [(main, old.id, other.id)]))
    gone = live.put_record(record(live.head(), [(main, old.id, None)]))
    on = live.put_record(record(live.head(), [(main, old.id, child.id)]))
    free = live.put_record(record(live.head(), [("refs/heads/other", other.id, old.id)]))
    live.token("root", "admin")
    forced = live.put_record(record(live.head(), [(main, child.id, other.id)]))

    assert [answer.status for answer in (away, gone, on, free, forced)] == [403, 403, 201, 201, 201]
    assert "protected" in away.json()["error"]


def test_a_token_writes_under_its_own_name(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    live.token("bob", actors=[])
    data = record(live.head(), [("refs/heads/x", None, shelf.tip("main").id)])

    answer = live.put_record(data)
    live.token("ada", actors=[])

    assert answer.status == 403 and "'ada'" in answer.json()["error"]
    assert live.call("GET", "/format").headers["wvc-actor"] == "ada"
    assert live.put_record(data).status == 201


def test_absent_and_forbidden_are_the_same_answer(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    live.token()
    pack = live.call("GET", "/packs").json()["names"][0]
    live.secret = "wvc_wrong"
    paths = ("/format", "/log", "/log/000000000001.json", "/log/000000000099.json", f"/packs/{pack}", "/nope")

    answers = [live.call(method, path) for path in paths for method in ("GET", "HEAD")]
    answers += [live.call("PUT", path, b"{}") for path in paths]

    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers if answer.body}) == 1
    live.token("bob")
    assert live.call("GET", "/nope").body == next(answer.body for answer in answers if answer.body)


def test_looking_up_a_token_takes_as_long_for_every_guess(folder: Path):
    """Welch's t between a wrong guess that shares all but the last character with a token, and one that shares none."""
    for i in range(5):
        create(folder, f"t{i}", "read")
    _, secret = create(folder, "ada", "push")
    near, far = secret[:-1] + ("A" if secret[-1] != "A" else "B"), "x" * len(secret)
    door, rng = Door(folder), random.Random(0)
    times: dict[str, list[int]] = {near: [], far: []}

    for _ in range(10_000):
        for guess in rng.sample([near, far], 2):
            began = time.perf_counter_ns()
            door.find(guess)
            times[guess].append(time.perf_counter_ns() - began)

    one, two = (sorted(values)[: len(values) * 9 // 10] for values in times.values())  # without other processes' turns
    t = (mean(one) - mean(two)) / math.sqrt(variance(one) / len(one) + variance(two) / len(two))
    assert abs(t) < 4.5


def test_no_secret_is_compared_with_equals():
    """Every == on something that is named like a secret, in the whole package."""
    found = []
    for path in (ROOT / "wvc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                sides = [node.left, *node.comparators]
                names = {getattr(side, "id", getattr(side, "attr", "")) for side in sides}
                if names & {"token", "secret", "signature", "mac", "password", "bearer"}:
                    found.append(f"{path.name}:{node.lineno}")

    assert found == []


def test_no_secret_reaches_a_log(serve: Serve, shelf: Shelf):
    live = serve(shelf.repository)
    secret = live.token()

    live.call("GET", f"/log?after={secret}")
    live.call("GET", f"/{secret[:20]}?token={secret}")
    live.call("PUT", "/log/000000000009.json", b"{}")

    told = json.dumps([vars(line) for line in live.lines])
    assert secret not in told and "Bearer" not in told and "?" not in told
    assert secret not in (shelf.repository.folder / "tokens.json").read_text()
