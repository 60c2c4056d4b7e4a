"""Wrong input gives one clear line, a hint, exit 1 (2 for wrong usage), no traceback, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from .conftest import Shell, image_tar, random_weights


@pytest.fixture
def zoo(sh: Shell) -> Shell:
    sh("wvc init zoo --arch digits_cnn --random")
    sh.cd("zoo")
    sh("wvc task add digits --set rotations=0,45")
    return sh


def refused(sh: Shell, line: str, text: str, code: int = 1) -> None:
    answer = sh(line, code=code)
    first, *rest = answer.err.strip().splitlines()
    assert first.startswith("error: ") and text in first, answer.err
    assert all(r.startswith("hint: ") for r in rest), answer.err
    assert not answer.out


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("wvc import missing.safetensors", "no such file"),
        ("wvc import text.safetensors", "not a"),
        ("wvc import short.safetensors", "cut short"),
        ("wvc import .", "holds 3 .safetensors files"),
        ("wvc import uneven", "holds no weights"),
        ("wvc commit --weights missing.safetensors", "no such file"),
        ("wvc commit --task nothing", "unknown task 'nothing'"),
        ("wvc commit --task digits --device cuda:9", "no GPU"),
        ("wvc commit --task digits --test-domain 7", "no domain '7'"),
        ("wvc task add x missing", "missing"),
        ("wvc task add x uneven", "classes"),
        ("wvc task add x text.safetensors", "text.safetensors"),
        ("wvc switch nowhere", "nowhere"),
        ("wvc merge nowhere", "unknown revision"),
        ("wvc merge stranger", "no common ancestor"),
        ("wvc log nowhere", "unknown revision"),
        ("wvc eval", "which task?"),
        ("wvc export HEAD missing/x.safetensors", "no such folder"),
        ("wvc cook nothing", "no recipe"),
        ("wvc clone missing copy", "there is no repository"),
        ("wvc commit --resume", "no unfinished run"),
    ],
)
def test_wrong_input(zoo: Shell, line: str, text: str):
    _files(zoo.folder)
    zoo("wvc import plain.safetensors -b stranger")

    refused(zoo, line, text, code=2 if "which" in text else 1)

    assert "ok" in zoo("wvc fsck").out


@pytest.mark.parametrize(
    "line",
    ["wvc frobnicate", "wvc log --nonsense", "wvc merge", "wvc commit --steps many", "wvc merge run --tie perhaps"],
)
def test_wrong_usage(zoo: Shell, line: str):
    assert zoo(line, code=2).err.startswith("error: ")


def test_an_image_that_cannot_be_decoded_is_named(zoo: Shell):
    place = zoo.folder / "broken" / "a" / "cat"
    for name in ("cat", "dog"):
        image_tar(zoo.folder / f"{name}.tar", {"a": (name,)}, images=6, size=16)
    (zoo.folder / "cat" / "a" / "cat").rename(_made(place.parent) / "cat")
    (zoo.folder / "dog" / "a" / "dog").rename(place.parent / "dog")
    (place / "3.png").write_bytes(b"no image at all")

    answer = zoo("wvc task add broken broken --layout domain/class", code=1)

    assert "3.png" in answer.err and "Traceback" not in answer.err


def test_outside_a_repository(sh: Shell):
    refused(sh, "wvc log", "not a wvc repository")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _files(folder: Path) -> None:
    (folder / "text.safetensors").write_text("this is no model")
    torch.manual_seed(0)
    plain = random_weights(folder / "plain.safetensors", torch.nn.Linear(3, 2)).read_bytes()
    (folder / "short.safetensors").write_bytes(plain[:-4])
    for domain, name in (("a", "cat"), ("b", "dog")):
        path = folder / "uneven" / domain / name
        path.mkdir(parents=True)
        (path / "0.png").write_bytes(b"x")
