"""What came from safetensors goes out byte for byte: any dtype, any bits, any order, any header."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wvc.repo.export import Options, export
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft

from .layouts import WIDTHS, Raw, bring_in, contents, packed, random_bytes

NAMES = st.text("abé.θ/模 _-", min_size=1, max_size=6).filter(lambda name: name.isprintable())
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system in memory where there is one: a thousand commits need some thousand fsyncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@st.composite
def tensors(draw: Any) -> Raw:
    """Any bits at all: NaN with payloads, minus zero, true that is not 1, half a byte."""
    dtype = draw(st.sampled_from(sorted(WIDTHS)))
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    step = {4: 2, 6: 4}.get(WIDTHS[dtype], 1)  # a tensor must end with a byte
    if step > 1:
        shape = [*shape, step * draw(st.integers(0, 3))]
    bits = WIDTHS[dtype]
    for n in shape:
        bits *= n
    kind, size = draw(st.integers(0, 3)), bits // 8
    data = (bytes(size), b"\xff" * size)[kind] if kind < 2 else random_bytes(size, draw(st.integers(0, 99)))
    return dtype, shape, data


@st.composite
def files(draw: Any, held: Any) -> bytes:
    """A file whose header has its keys in any order, and blanks where it likes."""
    names = draw(st.permutations(sorted(held)))
    header, body = {}, b""
    for name in names:
        dtype, shape, data = held[name]
        fields = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        header[name] = {key: fields[key] for key in draw(st.permutations(list(fields)))}
        body += data
    keys = draw(st.permutations(names))
    metadata = draw(st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2))
    value = {key: header[key] for key in keys} | ({} if metadata is None else {"__metadata__": metadata})
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), ("\n,", " :\t")]))
    text = json.dumps(value, separators=separators, ensure_ascii=draw(st.booleans()))
    return packed(text, body, draw(st.sampled_from([0, 1, 8, 1000])))


@st.composite
def models(draw: Any) -> dict[str, bytes]:
    """File name -> bytes: one file, or up to four shards and their index."""
    held = draw(st.dictionaries(NAMES, tensors(), max_size=6))
    if draw(st.booleans()):
        return {"model.safetensors": draw(files(held))}
    names = sorted(held)
    places = {name: f"part-{draw(st.integers(0, 3))}.safetensors" for name in draw(st.permutations(names))}
    made = {
        file: draw(files({name: held[name] for name in names if places[name] == file})) for file in set(places.values())
    }
    index = {"weight_map": places} | ({"metadata": {"total_size": 1.5, "x": None}} if draw(st.booleans()) else {})
    return {**made, "x.safetensors.index.json": json.dumps(index, indent=draw(st.none() | st.integers(0, 3))).encode()}


def test_what_came_in_goes_out_byte_for_byte(in_memory: Path) -> None:
    repository = create(in_memory / "zoo", Draft("init", "tester", 0, default_branch="main"))

    @settings(max_examples=1000, suppress_health_check=list(HealthCheck))
    @given(models(), st.booleans())
    def check(model: dict[str, bytes], whole: bool) -> None:
        same(repository, in_memory, model, whole=whole)

    check()


def same(repository: Repository, scratch: Path, model: dict[str, bytes], *, whole: bool) -> None:
    """Import and export `model`, from its folder or from its file or index."""
    came = scratch / "in"
    came.mkdir(exist_ok=True)
    for path in came.iterdir():
        path.unlink()
    for name, data in model.items():
        (came / name).write_bytes(data)
    single = len(model) == 1 and "model.safetensors" in model
    file = "model.safetensors" if single else "x.safetensors.index.json"

    manifest = repository.manifest(bring_in(repository, came if whole else came / file))

    if single:
        export(repository, manifest, scratch / "out", force=True)
        assert (scratch / "out").read_bytes() == model[file]
    else:
        folder = scratch / "folder"
        for path in folder.iterdir() if folder.exists() else ():
            path.unlink()
        export(repository, manifest, folder, Options("hf" if whole else "sharded"))
        assert contents(folder) == model
