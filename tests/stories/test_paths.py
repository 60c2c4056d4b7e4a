"""Names that would be paths are refused or kept as data, and nothing is written elsewhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wvc.errors import WvcError
from wvc.repo import export, names, sources
from wvc.repo.objects import Manifest, parse
from wvc.repo.repository import Repository, create
from wvc.store.canonical import dumps
from wvc.store.header import check_name
from wvc.store.packs import Pack
from wvc.store.records import Draft
from wvc.verbs.import_ import import_weights

PARTS = [
    "..",
    "../..",
    "a/../..",
    "/",
    "/etc",
    "//",
    "~",
    "~root",
    "-",
    "--help",
    "$HOME",
    "`id`",
    "%2e%2e",
    "..%2f",
    "..\\",
]
ENDS = ["/x", "", "/passwd", "\0", "\n", " ", ":stream", "/.wvc/config.toml", "\u202e", "\u2025"]
ODD = [
    "C:",
    "C:\\x",
    "con",
    "aux.txt",
    "nul",
    "a\0b",
    ".git/config",
    ".wvc",
    "x/",
    "a//b",
    "a/./b",
    "a" * 300,
    "ü",
    "a\rb",
    "\\\\s\\x",
]
HOSTILE = sorted({part + end for part, end in itertools.product(PARTS, ENDS)} - {""} | set(ODD))


def manifest(name: str) -> object:
    return parse(dumps({"_type": Manifest.TYPE, "tensors": [], "files": [[name, "0" * 64]], "spec": None}))


SINKS: dict[str, Callable[[str], object]] = {
    "side file": manifest,
    "branch": names.branch,
    "task": names.task,
    "file to export": lambda name: names.check_files([name]),
    "pack": lambda name: Pack(Path("packs"), name),
}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("sink", SINKS)
def test_no_sink_takes_a_name_that_is_a_path(sink, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    taken = []

    for name in HOSTILE:
        try:
            SINKS[sink](name)
        except (WvcError, ValueError, OSError):
            continue
        taken.append(name)

    assert len(HOSTILE) >= 150
    allowed = {"branch": {"con", "aux.txt", "nul"}, "task": {"con", "aux.txt", "nul"}}.get(sink, set())
    assert set(taken) <= allowed
    assert everything(tmp_path) == {str(tmp_path / "here"): b""}


def test_tensor_names_are_data_and_never_places(tmp_path):
    accepted = []
    for name in HOSTILE:
        try:
            check_name(name)
            accepted.append(name)
        except ValueError:
            continue
    header = {name: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i, name in enumerate(accepted)}
    text = json.dumps(header).encode()
    came = tmp_path / "came.safetensors"
    came.write_bytes(len(text).to_bytes(8, "little") + text + bytes(range(len(accepted))))
    inside = tmp_path / "inside"
    repository: Repository = create(inside / "zoo", Draft("init", "tester", 0, default_branch="main"))
    before = everything(tmp_path)

    with sources.open(came) as source:
        import_weights(repository, source, "refs/heads/main", "hostile")
    model = repository.manifest(repository.head())
    export.export(repository, model, inside / "one.safetensors")
    for format in ("sharded", "hf"):
        export.export(repository, model, inside / format, export.Options(format=format))

    assert len(accepted) > 50
    assert (inside / "one.safetensors").read_bytes() == came.read_bytes()
    new = {path for path in everything(tmp_path).keys() - before.keys() if not path.startswith(str(inside))}
    assert new == set()
    assert {path.name for path in (inside / "hf").iterdir()} == {"model.safetensors"}
