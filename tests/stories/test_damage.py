"""A byte goes bad: everybody is told what it was, and nothing damaged goes any further."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from wvc.repo.repository import Repository
from wvc.store.packs import Pack

from .conftest import Shell


@pytest.fixture
def zoo(sh: Shell) -> Shell:
    """main: a model. run/0 and run/1: it, fine-tuned. other: a stranger. v1 is run/0. HEAD is main."""
    rng = np.random.default_rng(0)
    base = {"body": rng.normal(size=(128, 128)).astype(np.float32), "noise": rng.integers(0, 256, 5000, np.uint8)}
    save_file(base, sh.folder / "base.safetensors")
    save_file({"body": base["body"][::-1].copy()}, sh.folder / "other.safetensors")
    sh("wvc init zoo --weights base.safetensors")
    sh.cd("zoo")
    sh("wvc import ../other.safetensors -b other")
    for i in range(2):
        tuned = base["body"] + 1e-5 * rng.normal(size=(128, 128)).astype(np.float32)
        save_file({"body": tuned, "noise": rng.integers(0, 256, 5000, np.uint8)}, sh.folder / "tuned.safetensors")
        sh(f"wvc switch -c run/{i} main")
        sh(f"wvc commit --weights tuned.safetensors -m 'run {i}'")
    sh("wvc tag v1 run/0")
    sh("wvc switch main")
    return sh


def damage(folder: Path, revision: str, name: str, codec: str) -> str:
    """Flip a bit in the middle of a tensor, which must be stored by `codec`; return its id."""
    repository = Repository(folder)
    id = repository.manifest(repository.commit(repository.refs[f"refs/heads/{revision}"])).by_name[name].id
    (holder,) = repository.packs_with(id)
    pack = Pack(repository.folder / "packs", holder)
    assert pack.stored(id).codec == codec
    data = bytearray(pack.path.read_bytes())
    data[(pack.entries[id].start + pack.entries[id].stop) // 2] ^= 4
    pack.path.unlink()
    pack.path.write_bytes(data)
    return id


def tree(folder: Path) -> set[Path]:
    """Everything there but what is derived or local."""
    return {path for path in folder.rglob("*") if not {"cache", "tmp", "lineage.db"} & set(path.parts)}


def is_told(error: str, name: str, *where: str) -> None:
    """The error must name the tensor and where it belongs, in one line, with a hint."""
    first, *rest = error.strip().splitlines()
    assert first.startswith("error: ") and f"tensor '{name}' (" in first, error
    assert all(word in first for word in where), error
    assert len(rest) == 1 and rest[0].startswith("hint: run `wvc fsck`")


@pytest.mark.parametrize(("name", "codec"), [("noise", "raw"), ("body", "delta")])
def test_a_damaged_tensor_goes_nowhere(zoo: Shell, name: str, codec: str):
    id = damage(zoo.folder, "run/0", name, codec)
    commit = Repository(zoo.folder).refs["refs/heads/run/0"][:10]
    before, where = tree(zoo.folder), (id[:12], f"commit {commit}", "run/0", "tag v1")
    refs = Repository(zoo.folder).refs

    is_told(zoo("wvc export run/0 out.safetensors", code=1).err, name, *where)
    is_told(zoo("wvc diff main run/0", code=1).err, name, *where)
    is_told(zoo(f"wvc show run/0:{name}", code=1).err, name, *where)
    is_told(zoo("wvc merge run/0 run/1", code=1).err, name, *where)
    is_told(zoo("wvc clone . ../copy", code=1).err, name, *where)

    assert tree(zoo.folder) == before
    assert Repository(zoo.folder).refs == refs
    assert not (zoo.folder.parent / "copy").exists()


def test_fsck_tells_what_a_damaged_tensor_touches(zoo: Shell):
    id = damage(zoo.folder, "run/0", "noise", "raw")
    commit = Repository(zoo.folder).refs["refs/heads/run/0"]

    out = zoo("wvc fsck", code=1).out
    facts = json.loads(zoo("wvc fsck --json", code=1).out)

    assert f"lost: tensor 'noise' ({id[:12]}): it belongs to commit {commit[:10]}, on run/0 and tag v1\n" in out
    assert facts["ok"] is False
    assert facts["lost"] == [
        {
            "id": id,
            "kind": "tensor",
            "names": ["noise"],
            "commits": [commit],
            "refs": ["refs/heads/run/0", "refs/tags/v1"],
            "bases": [],
        }
    ]


def test_branches_that_do_not_touch_it_still_work(zoo: Shell):
    damage(zoo.folder, "run/0", "body", "delta")

    for branch in ("main", "run/1", "other"):
        zoo(f"wvc export {branch} out.safetensors --force")
    zoo("wvc diff main run/1")
    zoo("wvc log --all")
    zoo("wvc blame run/0")
    zoo("wvc du --all")
    zoo("wvc switch -c mine other")
    zoo("wvc commit --weights ../other.safetensors -m again")
    zoo("wvc export mine mine.safetensors")

    assert (zoo.folder / "mine.safetensors").read_bytes() == (zoo.folder.parent / "other.safetensors").read_bytes()


def test_a_damaged_base_takes_along_what_is_a_difference_to_it(zoo: Shell):
    id = damage(zoo.folder, "main", "body", _codec(zoo, "main", "body"))
    repository = Repository(zoo.folder)
    tuned = [repository.manifest(repository.commit(repository.refs[f"refs/heads/run/{i}"])) for i in range(2)]

    out = zoo("wvc fsck", code=1).out
    facts = json.loads(zoo("wvc fsck --json", code=1).out)

    lost = {item["id"]: item for item in facts["lost"]}
    assert set(lost) == {id, *(manifest.by_name["body"].id for manifest in tuned)}
    assert all(lost[manifest.by_name["body"].id]["bases"] == [id] for manifest in tuned)
    assert lost[id]["refs"][0] == "refs/heads/main"
    assert out.count(f"  it is stored as a difference to {id[:12]}, which is lost too\n") == 2
    is_told(zoo("wvc export run/1 out.safetensors", code=1).err, "body", tuned[1].by_name["body"].id[:12], "on run/1")
    zoo("wvc export other out.safetensors")


def _codec(zoo: Shell, revision: str, name: str) -> str:
    repository = Repository(zoo.folder)
    id = repository.manifest(repository.commit(repository.refs[f"refs/heads/{revision}"])).by_name[name].id
    return Pack(repository.folder / "packs", repository.packs_with(id)[0]).stored(id).codec
