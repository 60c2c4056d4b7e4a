"""Local configuration."""

from __future__ import annotations

import unicodedata

import pytest

from wvc.errors import BadFile, DiskProblem, WvcError
from wvc.repo import config, location
from wvc.repo.config import Config


@pytest.fixture
def local(repository) -> Config:
    return repository.config


def write(text: str) -> None:
    path = location.user_config()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_author_is_the_environments_then_the_repositorys_then_the_users_then_the_login(local, monkeypatch):
    monkeypatch.setattr(config.getpass, "getuser", lambda: "login")
    found = [local.author()]
    monkeypatch.delenv("WVC_AUTHOR")
    local.set("of the repository", "user", "name")
    write('[user]\nname = "of the user"\n')
    found.append(local.author())
    local.set(None, "user", "name")
    found.append(local.author())
    write("")
    found.append(local.author())

    assert found == ["tester", "of the repository", "of the user", "login"]


@pytest.mark.parametrize("name", ["Jose\u0301", b"J\xf3se".decode("utf-8", "surrogateescape"), "a\ud800"], ids=ascii)
def test_an_author_is_always_text_that_can_be_stored(local, save, monkeypatch, name):
    monkeypatch.setattr(config.os, "environ", {**config.os.environ, "WVC_AUTHOR": name})

    commit = save(1)

    assert unicodedata.is_normalized("NFC", commit.author)
    assert commit.author.startswith(("J", "a"))


def test_a_number_for_a_name_is_still_text(local, save, monkeypatch):
    monkeypatch.delenv("WVC_AUTHOR")
    local.set(5, "user", "name")

    assert save(1).author == "5"


def test_comments_and_order_stay(local, repository):
    path = repository.folder / "config.toml"
    path.write_text("# mine\n[b]\nx = 1 # why\n\n[a]\ny = 2\n")

    local.set("new", "b", "z")
    local.set(3, "a", "y")
    local.set(None, "b", "missing")

    assert path.read_text() == '# mine\n[b]\nx = 1 # why\nz = "new"\n\n[a]\ny = 3\n'


def test_values_of_the_repository_beat_the_users(local):
    write("[tasks.pacs]\npath = 'users'\nlayout = 'users'\n")
    local.set("own", "tasks", "pacs", "path")

    assert local.get("tasks", "pacs", "path") == "own"
    assert local.get("tasks", "pacs", "layout") == "users"
    assert local.get("tasks", "pacs", "path", "deeper") is None
    assert local.get("nothing") is None


@pytest.mark.parametrize("data", [b"[user\n", b"a = 1\na = 2\n", b"\xff\xfe", b"[a]\n[a]\n", b"x"])
def test_bad_toml_is_one_clear_error(local, repository, data):
    (repository.folder / "config.toml").write_bytes(data)

    with pytest.raises(BadFile, match=r"config\.toml"):
        local.get("user", "name")
    with pytest.raises(BadFile, match=r"config\.toml"):
        local.set("x", "user", "name")
    assert (repository.folder / "config.toml").read_bytes() == data


def test_a_value_where_a_table_should_be_is_a_clear_error(local, repository):
    (repository.folder / "config.toml").write_text("tasks = 5\n")

    with pytest.raises(WvcError):
        local.set("x", "tasks", "pacs", "path")


def test_a_full_disk_keeps_the_old_configuration(local, repository, monkeypatch):
    local.set("old", "user", "name")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config.os, "pwrite", full)
    with pytest.raises(DiskProblem):
        local.set("new", "user", "name")

    assert local.get("user", "name") == "old"


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("1700000000", 1_700_000_000)])
def test_the_date_can_be_fixed_for_reproducible_commits(monkeypatch, text, expected):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)

    assert config.now() == expected


@pytest.mark.parametrize("text", ["", "-1", "yesterday", "1.5", "9" * 30, "9" * 5000, "٣"])
def test_a_fixed_date_that_is_none_does_not_stop_a_commit(monkeypatch, save, text):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)

    assert save(1).created >= 0
