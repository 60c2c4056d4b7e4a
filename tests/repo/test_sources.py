"""What comes in from single files: taken by what they hold, read piece by piece, refused where they are odd."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from wvc.errors import BadFile, UsageError, WvcWarning
from wvc.repo import sources
from wvc.repo.safefile import HEADER, MODEL, SafeFile, side_file
from wvc.store.header import parse_header

from .layouts import PARTS, model_folder, packed, random_bytes, safetensors, shards

MODEL_HEADER = MODEL + HEADER
TINY = {"b": ("U8", [3], b"abc"), "a": ("F64", [], bytes(8))}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_safetensors_file_gives_its_tensors_and_its_header(tmp_path):
    data = safetensors(TINY, {"k": "v"}, blanks=5)
    path = write(tmp_path / "any.safetensors", data)

    with sources.open(path) as source:
        assert source.format == "safetensors"
        found = {name: (b.dtype, list(b.shape), b.read(0, b.size)) for name, b in source.tensors.items()}
        header = source.files[MODEL_HEADER]
        kept = bytes(header.read(0, header.size))

    assert found == {name: (dtype, shape, raw) for name, (dtype, shape, raw) in TINY.items()}
    assert list(source.files) == [MODEL_HEADER]
    assert kept + b"abc" + bytes(8) == data


def test_any_part_of_a_tensor_can_be_read(tmp_path):
    data = random_bytes(1000)
    path = write(tmp_path / "x.safetensors", safetensors({"pad": ("U8", [7], b"1234567"), "w": ("U8", [1000], data)}))

    with SafeFile(path) as source:
        blob = source.tensors["w"]
        for start, stop in [(0, 1000), (0, 0), (999, 1000), (13, 500), (1000, 1000)]:
            assert blob.read(start, stop) == data[start:stop]


def test_what_is_read_after_the_end_is_not_another_file(tmp_path):
    path = write(tmp_path / "x.safetensors", safetensors(TINY))
    with SafeFile(path) as source:
        blob = source.tensors["b"]
    others = [os.open(write(tmp_path / str(i), bytes(1000)), os.O_RDONLY) for i in range(3)]

    with pytest.raises(OSError, match="descriptor"):
        blob.read(0, 3)
    for fd in others:
        os.close(fd)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "x.safetensors", safetensors(TINY))

    with SafeFile(path) as source:
        os.truncate(path, path.stat().st_size - 9)
        with pytest.raises(BadFile, match="shorter"):
            source.tensors["a"].read(0, 8)


def test_a_side_file_that_is_replaced_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path / "config.json", b"before")
    blob = side_file(path)
    assert blob.read(2, 4) == b"fo"

    write(tmp_path / "new", b"behind").replace(path)

    with pytest.raises(BadFile, match="replaced"):
        blob.read(2, 4)


def torch_file(path: Path) -> Path:
    torch.save({"w": torch.arange(3)}, path)
    return path


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "checkpoint.ckpt", "checkpoint"])
def test_a_checkpoint_is_known_by_what_it_holds(tmp_path, name):
    with sources.open(torch_file(tmp_path / name)) as source:
        assert source.format == "pytorch"
        assert source.tensors["w"].read(0, 24) == torch.arange(3).numpy().tobytes()


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model", "model.weights"])
def test_a_safetensors_file_is_known_by_what_it_holds(tmp_path, name):
    with sources.open(write(tmp_path / name, safetensors(TINY))) as source:
        assert source.format == "safetensors"


def test_a_checkpoint_that_calls_itself_safetensors_is_refused_with_a_hint(tmp_path):
    with pytest.raises(BadFile, match="not a safetensors file") as caught:
        sources.open(torch_file(tmp_path / "model.safetensors"))

    assert ".pt" in str(caught.value.hint)


def test_a_key_chooses_within_a_checkpoint(tmp_path):
    torch.save({"ema": {"w": torch.ones(2)}, "raw": {"w": torch.zeros(2)}}, tmp_path / "x.pt")

    with pytest.raises(BadFile):
        sources.open(tmp_path / "x.pt")
    with sources.open(tmp_path / "x.pt", "ema") as source:
        assert source.tensors["w"].read(0, 4) == torch.ones(1).numpy().tobytes()


def test_what_a_checkpoint_holds_besides_is_named(tmp_path):
    torch.save({"w": torch.ones(2), "shape": [1, 2]}, tmp_path / "x.pt")

    with pytest.warns(WvcWarning, match="shape"):
        sources.open(tmp_path / "x.pt").close()


def test_a_tensor_that_takes_the_name_of_the_metadata_is_refused(tmp_path):
    torch.save({"__metadata__": torch.ones(2)}, tmp_path / "x.pt")

    with pytest.raises(BadFile, match="__metadata__"):
        sources.open(tmp_path / "x.pt")


def test_a_key_for_what_is_no_checkpoint_is_wrong_usage(tmp_path):
    folder = model_folder(tmp_path / "folder")

    for path in (folder, shards(folder, PARTS), write(tmp_path / "x.safetensors", safetensors(TINY))):
        with pytest.raises(UsageError, match="--key"):
            sources.open(path, "ema")


@pytest.mark.parametrize("what", ["missing", "dangling", "pipe", "folder", "pickle", "empty", "text"])
@pytest.mark.parametrize("name", ["in.safetensors", "in.pt", "in"])
def test_what_is_no_weights_is_a_bad_file(tmp_path, what, name):
    path = tmp_path / name
    if what == "dangling":
        path.symlink_to("nowhere")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what != "missing":
        write(path, {"pickle": b"\x80\x04\x95\x00\x00", "empty": b"", "text": b"this is no model"}[what])

    with pytest.raises(BadFile, match="in"):
        sources.open(path)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("a/b.safetensors", "b"), ("x.y.pt", "x.y"), ("a/model.safetensors.index.json", "model"), ("noname", "noname"),
     ("pytorch_model.bin.index.json", "pytorch_model"), ("folder.v1", "folder.v1"), ("folder.v1/..", None)],
)  # fmt: skip
def test_a_model_is_called_as_its_file_or_folder(tmp_path, monkeypatch, path, wanted):
    monkeypatch.chdir(tmp_path)
    Path("folder.v1").mkdir()

    assert sources.title(Path(path)) == (wanted or tmp_path.name)


def test_a_link_into_a_cache_is_called_as_itself(tmp_path):
    blob = write(tmp_path / ("0" * 64), safetensors(TINY))
    (tmp_path / "base.safetensors").symlink_to(blob)

    assert sources.title(tmp_path / "base.safetensors") == "base"


def one(name: str, **changes: Any) -> dict[str, Any]:
    return {name: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1], **changes}}


def many(count: int) -> str:
    body = '"dtype":"U8","shape":[0],"data_offsets":[0,0]'
    return "{" + ",".join(f'"t{i}":{{{body}}}' for i in range(count)) + "}"


FIELDS = json.dumps(one("a")["a"])
HOSTILE: dict[str, Callable[[], bytes]] = {
    "duplicate keys": lambda: packed(f'{{"a":{FIELDS},"a":{FIELDS}}}', b"x"),
    "overlapping ranges": lambda: packed({**one("a"), **one("b")}, b"x"),
    "NUL in a name": lambda: packed(one("a\0b"), b"x"),
    "a header of 100 MB": lambda: (100 * 10**6).to_bytes(8, "little") + b"{".ljust(100 * 10**6),
    "1,000,000 empty tensors": lambda: packed(many(1_000_000), b""),
    "nested": lambda: packed('{"a":' * 1_000_000, b""),
    "a shape of 10,000 digits": lambda: packed(f'{{"a":{FIELDS.replace("[1]", "[" + "9" * 10**4 + "]")}}}', b"x"),
    "a huge tensor": lambda: packed(one("a", shape=[2**47], data_offsets=[0, 2**47]), b"x"),
    "a lone surrogate": lambda: packed(f'{{"\\ud800":{FIELDS}}}', b"x"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("kind", ["x.safetensors", "x", "folder", "index"])
def test_hostile_headers_are_refused_within_a_second_wherever_they_stand(tmp_path, case, kind):
    index = shards(tmp_path, {"a.safetensors": {"a": ("U8", [1], b"x")}, "b.safetensors": {}})
    write(tmp_path / (kind if kind.startswith("x") else "a.safetensors"), HOSTILE[case]())
    path = {"folder": tmp_path, "index": index}.get(kind, tmp_path / kind)
    began = time.perf_counter()

    with pytest.raises(BadFile):
        sources.open(path)

    assert time.perf_counter() - began < 1


def test_a_pointer_of_git_lfs_is_known_as_such(tmp_path):
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

    with pytest.raises(BadFile) as caught:
        sources.open(write(tmp_path / "model.safetensors", text))

    assert "git lfs pull" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/root/x", "C:\\x", "..", "model.safetensors"])
def test_the_name_of_a_tensor_is_data_and_may_look_like_a_path(tmp_path, name):
    with sources.open(write(tmp_path / "x.safetensors", packed(one(name), b"x"))) as source:
        assert list(source.tensors) == [name]
        assert list(source.files) == [MODEL_HEADER]


def test_what_the_library_writes_is_taken(tmp_path):
    tensors = {"w": torch.randn(5, 3).bfloat16(), "n": torch.tensor(7), "e": torch.empty(0, 4)}
    save_file(tensors, tmp_path / "x.safetensors")

    with sources.open(tmp_path / "x.safetensors") as source:
        assert {name: blob.shape for name, blob in source.tensors.items()} == {"w": (5, 3), "n": (), "e": (0, 4)}
        raw = bytes(source.files[MODEL_HEADER].read(0, source.files[MODEL_HEADER].size))

    assert parse_header(raw, (tmp_path / "x.safetensors").stat().st_size).metadata == {}
