"""Shards and model folders: taken whole, and refused by name where they do not fit together or could not be kept."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from wvc.errors import BadFile, WvcWarning
from wvc.repo import sources
from wvc.repo.index import MAX_INDEX

from .layouts import PARTS, SIDES, Raw, model_folder, safetensors, shards

ONE, TWO = PARTS
INDEX = "model.safetensors.index.json"
NAMES = {name for tensors in PARTS.values() for name in tensors}
W: Mapping[str, Raw] = {"w": ("U8", [1], b"x")}


def edit(path: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """Change the weight_map of an index."""
    value = json.loads(path.read_text())
    change(value["weight_map"])
    path.write_text(json.dumps(value))
    return path


def read(source: sources.Source) -> dict[str, bytes]:
    return {name: bytes(blob.read(0, blob.size)) for name, blob in source.files.items()}


def test_shards_are_one_model_and_their_headers_are_kept(tmp_path):
    with sources.open(shards(tmp_path, PARTS)) as source:
        assert source.format == "sharded"
        found = {name: (b.dtype, tuple(b.shape), b.read(0, b.size)) for name, b in source.tensors.items()}
        files = read(source)

    assert found == {n: (d, tuple(s), raw) for part in PARTS.values() for n, (d, s, raw) in part.items()}
    assert set(files) == {INDEX, ONE + ".header", TWO + ".header"}
    assert files[INDEX] == (tmp_path / INDEX).read_bytes()
    assert (tmp_path / ONE).read_bytes().startswith(files[ONE + ".header"])


def test_an_index_may_name_one_file_and_be_called_as_it_likes(tmp_path):
    with sources.open(shards(tmp_path, {"x.safetensors": W}, "diffusion_x.safetensors.index.json")) as source:
        assert set(source.files) == {"x.safetensors.header", "diffusion_x.safetensors.index.json"}


EDITS = {
    "missing": (lambda m: m.update(ghost=ONE), f"{ONE}: lacks tensor 'ghost'"),
    "extra": (lambda m: m.pop("embed"), f"{ONE}: holds tensor 'embed', which the index does not name"),
    "elsewhere": (lambda m: m.update(embed=TWO), f"{ONE}: holds tensor 'embed', which the index places in {TWO}"),
    "no shard": (lambda m: m.update(ghost="model-3.safetensors"), "model-3.safetensors: no such file"),
    "path": (lambda m: m.update(ghost="sub/x.safetensors"), "'sub/x.safetensors' is no .safetensors file in the same"),
    "parent": (lambda m: m.update(ghost="../x.safetensors"), "not made of"),
    "absolute": (lambda m: m.update(ghost="/x.safetensors"), "not made of"),
    "other kind": (lambda m: m.update(ghost="x.bin"), "'x.bin' is no .safetensors file"),
    "hidden": (lambda m: m.update(ghost=".x.safetensors"), "not made of"),
    "number": (lambda m: m.update(ghost=3), "not all names"),
    "list": (lambda m: m.update(ghost=[ONE]), "not all names"),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_index_that_does_not_tell_the_truth_is_refused_by_name(tmp_path, case):
    change, text = EDITS[case]

    with pytest.raises(BadFile) as caught:
        sources.open(edit(shards(tmp_path, PARTS), change))

    assert text in caught.value.message


def test_a_tensor_that_is_in_two_shards_is_refused_by_name(tmp_path):
    path = shards(tmp_path, PARTS)
    (tmp_path / TWO).write_bytes(safetensors({**PARTS[TWO], "embed": PARTS[ONE]["embed"]}))

    with pytest.raises(BadFile, match=f"{TWO}: holds tensor 'embed', which the index places in {ONE}"):
        sources.open(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "5", '{"metadata": {}}', '{"weight_map": []}', '{"weight_map": null}',
     '{"weight_map": "x"}', '{"weight_map": {"a": "x.safetensors", "a": "x.safetensors"}}',
     '{"weight_map": {}, "weight_map": {}}', '{"metadata": {"x": 1, "x": 2}, "weight_map": {}}',
     "[" * 100_000, '{"a":' * 100_000, "\xff", "9" * 10_000],
    ids=lambda text: ascii(text[:20]),
)  # fmt: skip
def test_what_is_no_index_is_refused(tmp_path, text):
    path = tmp_path / INDEX
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(BadFile, match="not a valid index"):
        sources.open(path)


def test_an_index_without_end_is_not_read(tmp_path):
    with (tmp_path / INDEX).open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(BadFile, match=f"{1 << 40} bytes"):
        sources.open(tmp_path / INDEX)
    assert MAX_INDEX < 1 << 30


def test_the_files_of_an_index_that_failed_are_closed(tmp_path):
    path = edit(shards(tmp_path, PARTS), lambda places: places.update(ghost="z.safetensors"))
    before = list(Path("/proc/self/fd").iterdir())

    with pytest.raises(BadFile):
        sources.open(path)
    with pytest.raises(BadFile):
        sources.open(tmp_path)

    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_checkpoints_with_an_index_are_one_model(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": torch.zeros(2)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    places = {name: f"pytorch_model-0000{i}-of-00002.bin" for i, name in ((1, "a"), (2, "b"))}
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": places}))

    for place, kind in ((path, "pytorch"), (tmp_path, "hf")):
        with sources.open(place) as source:
            assert (source.format, sorted(source.tensors), dict(source.files)) == (kind, ["a", "b"], {})
    with pytest.raises(BadFile, match="lacks tensor 'c'"):
        sources.open(edit(path, lambda places: places.update(c="pytorch_model-00002-of-00002.bin")))


def test_a_model_folder_comes_with_everything_in_it(tmp_path):
    folder = model_folder(tmp_path)

    with sources.open(folder) as source:
        files = read(source)
        assert source.format == "hf" and set(source.tensors) == NAMES

    headers = {ONE + ".header", TWO + ".header"}
    assert {name: data for name, data in files.items() if name not in headers} == {
        **SIDES,
        INDEX: (folder / INDEX).read_bytes(),
    }


def test_a_folder_with_one_file_of_weights(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(safetensors(W))
    (tmp_path / "adapter_config.json").write_text("{}")

    with sources.open(tmp_path) as source:
        assert set(source.files) == {"adapter_config.json", "adapter_model.safetensors.header"}


def test_hidden_files_are_left_out_silently(tmp_path):
    model_folder(tmp_path)
    for name in (".gitattributes", ".git/config", ".cache/huggingface/x", "1_Pooling/.DS_Store", ".model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    with sources.open(tmp_path) as source:
        assert not [name for name in source.files if "/." in name or name.startswith(".")]


def test_weights_in_further_formats_are_left_out_with_a_warning(tmp_path):
    model_folder(tmp_path)
    names = ["a.bin", "b.pt", "c.pth", "d.ckpt", "e.h5", "f.msgpack", "onnx/g.onnx", "h.gguf", "i.tflite"]
    names += ["pytorch_model.bin.index.json", "tf_model.h5.index.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    with pytest.warns(WvcWarning, match=r"left out, as weights in other formats: a\.bin, b\.pt.* and 6 more"):
        source = sources.open(tmp_path)

    with source:
        assert not set(names) & set(source.files)


def test_weights_beside_checkpoints_are_left_out_too_but_not_the_checkpoints(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "training_args.bin").write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")

    with pytest.warns(WvcWarning, match=r"formats: training_args\.bin$"):
        source = sources.open(tmp_path)

    with source:
        assert (set(source.tensors), set(source.files)) == ({"w"}, {"config.json"})


def test_other_safetensors_files_are_side_files(tmp_path):
    model_folder(tmp_path)
    for name in ("consolidated.safetensors", "2_Dense/model.safetensors", "x.safetensors.index.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"whatever it is")

    with warnings.catch_warnings(action="error"), sources.open(tmp_path) as source:
        assert set(source.tensors) == NAMES
        assert read(source)["2_Dense/model.safetensors"] == b"whatever it is"
        assert {"consolidated.safetensors", "x.safetensors.index.json"} <= set(source.files)


def test_a_snapshot_in_the_cache_is_made_of_links_to_files(tmp_path):
    real = model_folder(tmp_path / "real")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / ("0" * 40)
    blobs.mkdir()
    for i, path in enumerate(sorted(p for p in real.rglob("*") if p.is_file())):
        link = snapshot / path.relative_to(real)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / f"{i:064}")
        link.symlink_to(os.path.relpath(blobs / f"{i:064}", link.parent))

    for path in (snapshot, snapshot / INDEX):
        with sources.open(path) as source:
            assert set(source.tensors) == NAMES
            if path is snapshot:
                assert {name: data for name, data in read(source).items() if name in SIDES} == SIDES


REFUSED = {
    "link out of the folder": (
        lambda p: (p / "x.json").symlink_to("/etc/passwd"),
        "x.json: is a link out of the folder",
    ),
    "link to a folder": (lambda p: (p / "sub").symlink_to(".."), "sub: is a link to a folder"),
    "link to nothing": (lambda p: (p / "x.json").symlink_to("nowhere"), "x.json: is a link to nothing"),
    "link to itself": (lambda p: (p / "x.json").symlink_to("x.json"), "x.json: a symbolic link where none may be"),
    "link to a device": (lambda p: (p / "x.json").symlink_to("/dev/zero"), "x.json: is a link out of the folder"),
    "pipe": (lambda p: os.mkfifo(p / "x.json"), "x.json: is neither a file nor a folder"),
    "blank": (lambda p: (p / "a b.txt").touch(), "'a b.txt' is not made of"),
    "underscore": (lambda p: (p / "__init__.py").touch(), "'__init__.py' is not made of"),
    "not ASCII": (lambda p: (p / "modèle.txt").touch(), "'mod\\xe8le.txt' is not made of"),
    "newline": (lambda p: (p / "a\nb").touch(), "'a\\nb' is not made of"),
    "no text": (lambda p: (p / os.fsdecode(b"\xff")).touch(), "'\\udcff' is not made of"),
    "device of Windows": (lambda p: (p / "aux.json").touch(), "'aux.json' is that of a device"),
    "trailing dot": (lambda p: (p / "x.").touch(), "'x.' is not made of"),
    "case": (lambda p: (p / "CONFIG.json").touch(), "differ only by case"),
    "case of a folder": (lambda p: (p / "1_pooling").mkdir() or (p / "1_pooling" / "x").touch(), "only by case"),
    "case of a shard": (lambda p: (p / TWO.upper()).touch(), "differ only by case"),
    "deep": (lambda p: (p / "a/b/c/d").mkdir(parents=True) or (p / "a/b/c/d/e").touch(), "too deep"),
    "header": (lambda p: (p / "x.safetensors.header").touch(), "x.safetensors.header: has a name that wvc gives"),
    "both": (lambda p: (p / "model.safetensors").touch(), f"holds both model.safetensors and {INDEX}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_by_name_with_a_hint(tmp_path, case):
    make, text = REFUSED[case]
    make(model_folder(tmp_path))

    with pytest.raises(BadFile) as caught:
        sources.open(tmp_path)

    assert text in caught.value.message
    assert caught.value.hint or "link" in case or case == "pipe"


def test_four_parts_are_not_too_deep(tmp_path):
    (model_folder(tmp_path) / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/d.json").touch()

    with sources.open(tmp_path) as source:
        assert "a/b/c/d.json" in source.files


@pytest.mark.parametrize(
    ("names", "text"),
    [([], "no weights"), (["config.json", "x.pt"], "no weights"), (["a.safetensors", "b.safetensors"], "holds 2"),
     (["a.safetensors.index.json", "b.safetensors.index.json"], "holds 2"), (["sub/model.safetensors"], "no weights")],
)  # fmt: skip
def test_a_folder_must_say_which_weights_are_meant(tmp_path, names, text):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(safetensors(W))

    with pytest.raises(BadFile, match=text) as caught:
        sources.open(tmp_path)
    assert caught.value.hint


def test_model_safetensors_is_meant_where_there_are_others(tmp_path):
    for name in ("model.safetensors", "model.fp16.safetensors"):
        (tmp_path / name).write_bytes(safetensors({name: ("U8", [1], b"x")}))

    with sources.open(tmp_path) as source:
        assert set(source.tensors) == {"model.safetensors"}
        assert "model.fp16.safetensors" in source.files
