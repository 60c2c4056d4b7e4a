"""What the lineage says that commits hold is what their manifests say."""

from __future__ import annotations

import numpy as np
import pytest

from wvc.errors import Damage
from wvc.repo import contents as module
from wvc.repo.contents import Contents, every_name
from wvc.repo.graph import Graph
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository
from wvc.store.records import Move

from .histories import planted


def test_contents_are_those_of_the_manifest(save, repository):
    commit = save({"a": np.zeros((2, 3), np.float16), "b.c": np.ones((), np.int64)})

    content = Contents(repository)[commit.id]

    manifest = repository.manifest(commit)
    assert tuple(content.tensors()) == manifest.tensors
    assert content.find("a") == manifest.by_name["a"]
    assert content.find("c") is None
    assert content.every_id() == [tensor.id for tensor in manifest.tensors]


def test_files_are_known_by_name(repository):
    with repository.batch([(3,), (2,)], 4096) as batch:
        file = batch.add("U8", (3,), [b"{ }"])
        manifest = Manifest((), (("config.json", file),))
        commit = Commit(manifest.id, manifest.weights, (), "Ada", 0, 1, "files", {"kind": "import"})
        batch.put(manifest.data)
        batch.put(commit.data)
        repository.record(batch, [Move("refs/heads/main", None, commit.id)], "by hand")

    content = Contents(repository)[commit.id]

    assert dict(content.files) == {"config.json": file}
    assert list(content.tensors()) == []


def test_models_agree_tensor_by_tensor(tmp_path):
    plan = [({"a": 1, "b": 1}, []), ({"a": 1, "b": 2}, []), ({"b": 1, "c": 1}, []), ({"a": 1, "b": 1}, [(0, "1")])]
    repository, made = planted(tmp_path / "zoo", plan)
    contents = Contents(repository)
    one, two, three, four = (contents[commit.id] for commit in made)

    assert [one.agrees(two, name) for name in "abcz"] == [True, False, True, True]
    assert [one.agrees(three, name) for name in "abcz"] == [False, True, False, True]
    assert one.equals(four) and not one.equals(two) and not one.equals(three)


@pytest.mark.parametrize("most", [1, 2, 512])
def test_walking_along_gives_the_same_nodes_and_contents_in_any_portions(tmp_path, monkeypatch, most):
    monkeypatch.setattr(module, "FIRST", 1)
    monkeypatch.setattr(module, "MOST", most)
    plan = [({"a": i}, [(i - 1, "1")] if i else []) for i in range(7)]
    repository, made = planted(tmp_path / "zoo", plan)
    contents = Contents(repository)
    nodes = list(Graph(repository).ordered(commit.id for commit in made))

    seen = [(node, contents[node.id].every_id()) for node in contents.along(nodes)]

    assert [node for node, _ in seen] == nodes
    expected = [[t.id for t in repository.manifest(repository.commit(node.id)).tensors] for node in nodes]
    assert [ids for _, ids in seen] == expected


def test_names_are_those_of_the_commits_that_were_asked_for(tmp_path):
    repository, made = planted(tmp_path / "zoo", [({"a": 1}, []), ({"b": 1, "c": 1}, [])])
    nodes = Graph(repository).nodes

    assert Contents(repository).names([nodes[made[1].id]]) == {"b", "c"}
    assert every_name(repository) == {"a", "b", "c"}


def test_a_manifest_that_the_lineage_lacks_is_read(save, repository, tmp_path):
    commit = save({"a": np.zeros(3, np.float32)})
    with repository.lineage.read() as connection:
        connection.exec_driver_sql("DELETE FROM manifests")
        connection.commit()

        content = Contents(repository)[commit.id]

    assert tuple(content.tensors()) == repository.manifest(commit).tensors


def test_a_manifest_that_nobody_can_read_is_damage(save, repository):
    commit = save()
    (repository.folder / "lineage.db").unlink()
    for path in (repository.folder / "packs").iterdir():
        path.unlink()

    with pytest.raises(Damage):
        Contents(Repository(repository.path))[commit.id]


def test_a_layout_is_stored_once_however_many_models_share_it(tmp_path):
    plan = [({"a": i, "b": i}, []) for i in range(5)]
    repository, _ = planted(tmp_path / "zoo", plan)

    with repository.lineage.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM layouts").scalar() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM manifests").scalar() == 5


def test_the_lineage_knows_of_names_in_any_script(save, repository):
    commit = save({"Gewichtung.ß": np.zeros(1, np.float32), "重み": np.zeros(2, np.float32)})

    assert [tensor.name for tensor in Contents(repository)[commit.id].tensors()] == ["Gewichtung.ß", "重み"]
