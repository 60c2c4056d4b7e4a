"""A repository of plain tensors, made without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wvc.repo import commits
from wvc.repo.objects import Attachment, Commit, Manifest, Parent, Tensor
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft

DTYPES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "uint8": "U8", "bool": "BOOL"}
Arrays = Mapping[str, Any]


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own configuration and caches are not there."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("WVC_AUTHOR", "tester")
    for name in ("WVC_SAFE", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return create(tmp_path / "zoo", Draft("init", "tester", 0, default_branch="main"))


Save = Callable[..., Commit]


@pytest.fixture
def save(repository: Repository) -> Save:
    """Function (arrays or a number, parents, branch="main", said) that records a commit and returns it."""

    def make(
        arrays: Arrays | float = 0,
        parents: Sequence[Commit | tuple[Commit, Fraction]] = (),
        branch: str = "main",
        message: str = "a message",
        said: Sequence[tuple[str, Mapping[str, Any]]] = (),
        repository: Repository = repository,
    ) -> Commit:
        values = {"w": np.full(3, arrays, np.float32)} if isinstance(arrays, int | float) else arrays
        arrays = {name: np.asarray(value) for name, value in values.items()}
        with repository.batch([a.shape for a in arrays.values()], 4096) as batch:
            tensors = [
                Tensor(name, DTYPES[a.dtype.name], a.shape, batch.add(DTYPES[a.dtype.name], a.shape, [a.tobytes()]))
                for name, a in sorted(arrays.items())
            ]
            manifest = Manifest(tuple(tensors))
            shares = [p if isinstance(p, tuple) else (p, Fraction(1)) for p in parents]
            commit = commits.make(
                repository, manifest, [Parent(p.id, share) for p, share in shares], message, {"kind": "import"}
            )
            commits.put(repository, batch, manifest, commit)
            ref = f"refs/heads/{branch}"
            facts = [Attachment(kind, commit.id, body) for kind, body in said]
            commits.record(repository, batch, commit, ref=ref, old=repository.refs.get(ref), said=facts)
        return commit

    return make
