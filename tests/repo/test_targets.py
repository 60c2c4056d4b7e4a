"""Where exports appear: nowhere but where they were asked for, whole or not at all, and over nothing that is dear."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from wvc.errors import DiskProblem, WvcError
from wvc.repo import export as module
from wvc.repo.export import Options, export
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository

from .layouts import bring_in, contents, model_folder

HF, SHARDED = Options("hf"), Options("sharded")


def manifest_of(repository: Repository, path: Path) -> Manifest:
    return repository.manifest(bring_in(repository, path))


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_a_file_is_overwritten_only_if_forced(tmp_path, repository, save, what):
    manifest, out = repository.manifest(save(1)), tmp_path / "out"
    (tmp_path / "far").write_text("far")
    {"file": lambda: out.write_text("precious"), "folder": out.mkdir, "link": lambda: out.symlink_to("far")}[what]()

    with pytest.raises(WvcError, match="exists"):
        export(repository, manifest, out)
    assert out.is_dir() or out.read_text() in ("precious", "far")

    if what == "folder":
        with pytest.raises(WvcError, match="exists"):
            export(repository, manifest, out, force=True)
    else:
        made = export(repository, manifest, out, force=True)
        assert load_file(out)["w"].tolist() == [1, 1, 1]
        assert made.replaced == ("out",)
    assert (tmp_path / "far").read_text() == "far"


def test_a_folder_that_is_empty_is_filled(tmp_path, repository):
    model = manifest_of(repository, model_folder(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".wvc-1-{'0' * 16}").mkdir()  # what a killed export left

    export(repository, model, tmp_path / "out", HF)

    assert contents(tmp_path / "out") == contents(tmp_path / "in")


@pytest.mark.parametrize("name", [".", "..", "link", "deep/.."])
def test_a_folder_may_be_called_in_any_way(tmp_path, repository, monkeypatch, name):
    model = manifest_of(repository, model_folder(tmp_path / "in"))
    (tmp_path / "out" / "sub" / "deep").mkdir(parents=True)
    place = tmp_path / "out" / "sub"
    monkeypatch.chdir(place / "deep" if name == ".." else place)
    (place / "link").symlink_to("deep") if name == "link" else None

    export(repository, model, Path(name), HF, force=True)

    found = contents((place / "deep") if name == "link" else place)
    assert found == contents(tmp_path / "in")


def test_a_folder_that_is_not_empty_is_written_to_only_if_forced(tmp_path, repository):
    model, out = manifest_of(repository, model_folder(tmp_path / "in")), tmp_path / "out"
    (out / "1_Pooling").mkdir(parents=True)
    (out / ".git").mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "config.json").write_text("old")
    (out / "1_Pooling" / "config.json").symlink_to("../notes.txt")

    with pytest.raises(WvcError, match="not empty"):
        export(repository, model, out, HF)
    assert (out / "config.json").read_text() == "old" and len(contents(out)) == 3
    made = export(repository, model, out, HF, force=True)

    assert contents(out) == {**contents(tmp_path / "in"), "notes.txt": b"mine"}
    assert sorted(made.replaced) == ["1_Pooling/config.json", "config.json"]
    assert (out / ".git").is_dir() and not (out / "1_Pooling" / "config.json").is_symlink()


OTHERS = {
    "other weights": (lambda out: (out / "x.safetensors").touch(), "other weights: x.safetensors"),
    "other shards": (lambda out: (out / "model-3.safetensors").touch(), "other weights: model-3.safetensors"),
    "another index": (lambda out: (out / "x.safetensors.index.json").touch(), "other weights: x.safetensors.index"),
    "a folder for a file": (lambda out: (out / "config.json").mkdir(), "config.json is in the way: it is a folder"),
    "a file for a folder": (lambda out: (out / "1_Pooling").touch(), "1_Pooling is in the way: it is no folder"),
    "a link for a folder": (lambda out: (out / "1_Pooling").symlink_to(".."), "1_Pooling is in the way"),
}  # fmt: skip


def outside(folder: Path) -> list[Path]:
    """Everything below `folder` but what is in the repository."""
    return sorted(path for path in folder.rglob("*") if ".wvc" not in path.parts)


@pytest.mark.parametrize("case", OTHERS)
def test_what_must_not_be_mixed_or_removed_is_in_the_way_even_if_forced(tmp_path, repository, case):
    make, text = OTHERS[case]
    model, out = manifest_of(repository, model_folder(tmp_path / "in")), tmp_path / "out"
    out.mkdir()
    make(out)
    before = outside(tmp_path)

    with pytest.raises(WvcError, match=text) as caught:
        export(repository, model, out, HF, force=True)

    assert caught.value.hint
    assert outside(tmp_path) == before


@pytest.mark.parametrize("options", [HF, SHARDED])
def test_a_file_is_never_made_a_folder(tmp_path, repository, save, options):
    (tmp_path / "out").write_text("precious")

    for force in (False, True):
        with pytest.raises(WvcError, match="is no folder"):
            export(repository, repository.manifest(save(1)), tmp_path / "out", options, force=force)

    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("options", [Options(), HF])
def test_export_into_a_folder_that_is_not_there_is_one_clear_error(tmp_path, repository, save, options):
    with pytest.raises(WvcError, match="no such folder"):
        export(repository, repository.manifest(save(1)), tmp_path / "nowhere" / "out", options)


def test_somebody_who_was_faster_keeps_what_is_theirs(tmp_path, repository, monkeypatch):
    model = manifest_of(repository, model_folder(tmp_path / "in"))
    real = module.fill

    def slow(*arguments: object) -> None:
        real(*arguments)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()

    monkeypatch.setattr(module, "fill", slow)
    with pytest.raises(WvcError, match="somebody else"):
        export(repository, model, tmp_path / "out", HF)

    assert [p.name for p in (tmp_path / "out").iterdir()] == ["theirs"]


NAMES = [
    "../x", "/x", "a/../../x", "..", ".", "", "/", "a//b", "./a", "a/.", ".hidden", "a\\b", "C:x", "a\0b", "a\nb",
    "con", "NUL.txt", "com1", "a.", "a ", "-rf", "é", "a/b/c/d/e", "x" * 129, "~/x", "a\u202eb", "model.safetensors/x",
    "aux/x", "CONFIG.JSON", "config.json/x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_of_a_side_file_never_becomes_a_path(tmp_path, repository, save, name):
    manifest = repository.manifest(save(1))
    id = manifest.tensors[0].id
    hostile = Manifest(manifest.tensors, (("config.json", id), (name, id)))
    before = outside(tmp_path)

    with pytest.raises(WvcError, match="cannot be written"):
        export(repository, hostile, tmp_path / "out", HF)

    assert outside(tmp_path) == before


@pytest.mark.parametrize("name", ["model.safetensors", "MODEL.safetensors", "model.safetensors/x"])
def test_a_side_file_in_the_place_of_the_weights_is_refused(tmp_path, repository, save, name):
    manifest = repository.manifest(save(1))

    with pytest.raises(WvcError, match="cannot be written") as caught:
        export(repository, Manifest(manifest.tensors, ((name, manifest.tensors[0].id),)), tmp_path / "out", HF)

    assert "sharded" in str(caught.value.hint)


def test_a_link_that_is_planted_while_files_are_moved_is_not_followed(tmp_path, repository, monkeypatch):
    model, out = manifest_of(repository, model_folder(tmp_path / "in")), tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    real = module.fill

    def planted(*arguments: object) -> None:
        real(*arguments)
        (out / "1_Pooling").symlink_to(tmp_path / "elsewhere")

    monkeypatch.setattr(module, "fill", planted)
    with pytest.raises(DiskProblem):
        export(repository, model, out, HF)

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_files_have_the_permissions_that_the_user_gives_to_files(tmp_path, repository, save):
    manifest = repository.manifest(save(1))
    before = os.umask(0o027)
    try:
        export(repository, manifest, tmp_path / "out")
        export(repository, manifest, tmp_path / "folder", HF)
    finally:
        os.umask(before)

    modes = [
        p.stat().st_mode & 0o777
        for p in (tmp_path / "out", tmp_path / "folder", tmp_path / "folder" / "model.safetensors")
    ]
    assert modes == [0o640, 0o750, 0o640]
