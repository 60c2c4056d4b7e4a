"""Several processes commit at once: everything acknowledged is there, in one unbroken history."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wvc.repo.fsck import fsck
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository

WORKER = """
import sys
import numpy as np
from wvc.errors import RefMoved
from wvc.repo import commits
from wvc.repo.objects import Manifest, Parent, Tensor
from wvc.repo.repository import Repository
path, ref, who = sys.argv[1], sys.argv[2], int(sys.argv[3])
repository = Repository(path)
for i in range(10):
    while True:
        old = repository.refs[ref]
        data = np.full(4, 100 * who + i, np.float32).tobytes()
        with repository.batch([(4,)], 4096) as batch:
            manifest = Manifest((Tensor("w", "F32", (4,), batch.add("F32", (4,), [data])),))
            commit = commits.make(repository, manifest, [Parent(old)], f"{who} {i}", {"kind": "import"})
            commits.put(repository, batch, manifest, commit)
            try:
                commits.record(repository, batch, commit, ref=ref, old=old)
                break
            except RefMoved:
                continue
    print(commit.id, flush=True)
"""


@pytest.mark.parametrize("branches", [1, 4])
def test_four_processes_commit_ten_times_each(repository, save, branches):
    first = save(0)
    for i in range(branches):
        save(0, [first], branch=f"b{i}")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(repository.path), f"refs/heads/b{i % branches}", str(i + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    told = [id for worker in workers for id in worker.communicate()[0].split()]

    found = Repository(repository.path)

    assert [worker.returncode for worker in workers] == [0] * 4
    assert len(set(told)) == 40
    reachable = Graph(found).ancestors(found.refs[f"refs/heads/b{i}"] for i in range(branches))
    assert set(told) <= reachable
    lengths = [found.commit(found.refs[f"refs/heads/b{i}"]).generation for i in range(branches)]
    assert lengths == [2 + 40 // branches] * branches
    assert fsck(found).problems == []
