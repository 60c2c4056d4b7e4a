"""Three-way merges: who changed a tensor gives it, and what is taken has been looked at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from wvc import weights
from wvc.errors import MergeProblem, UsageError
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft
from wvc.strategies._models import Models
from wvc.strategies.three_way import merge
from wvc.weights import Held, Stored, Weights

from .tensors import FLOATS, odd, raw


class Seen(Held):
    """A tensor whose id is known, and that remembers what is read of it."""

    def __init__(self, tensor: torch.Tensor, model: str = "") -> None:
        super().__init__(tensor, model)
        self.read_ = []
        self._id = hashlib.sha256(raw(tensor)).hexdigest()

    @property
    def id(self) -> str:
        return self._id

    def read(self, start: int, stop: int) -> np.ndarray:
        self.read_.append((start, stop))
        return super().read(start, stop)


def seen(model: str, **tensors: torch.Tensor) -> Weights:
    return Weights({name: Seen(tensor, model) for name, tensor in tensors.items()})


def merged(base: Weights, *models: Weights, **options: str) -> Weights:
    return merge(Models.of(models), base, **options)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path / "zoo", Draft("init", "me", 0))


def stored(repository: Repository, model: str, tensors: Mapping[str, torch.Tensor]) -> Weights:
    with repository.batch([t.shape for t in tensors.values()]) as batch:
        manifest = Manifest(weights.store(batch, tensors))
        repository.record(batch, [], "weights")
    return Weights.of(repository, manifest, model)


def test_each_tensor_comes_from_who_changed_it():
    base = seen("base", x=torch.zeros(3), y=torch.zeros(3), z=torch.zeros(3))
    left = seen("left", x=torch.tensor([1.0, -0.0, 2.0]), y=torch.zeros(3), z=torch.zeros(3))
    right = seen("right", x=torch.zeros(3), y=torch.ones(3), z=torch.zeros(3))

    found = merged(base, left, right)

    assert {name: raw(found[name]) for name in found} == {
        "x": raw(left["x"]), "y": raw(right["y"]), "z": raw(base["z"]),
    }  # fmt: skip


def test_nothing_is_read_before_the_result_is():
    base = seen("base", x=torch.zeros(3), y=torch.zeros(3))
    left = seen("left", x=torch.ones(3), y=torch.zeros(3))

    merged(base, left)

    assert all(tensor.read_ == [] for model in (base, left) for tensor in model.lazy.values())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_taken_must_be_finite(dtype, bad):
    base = seen("base", x=torch.zeros(3, dtype=dtype))
    left = seen("left", x=torch.tensor([1.0, bad, 0.0], dtype=dtype))

    found = merged(base, left)

    for look in (lambda: weights.ids(found), lambda: found.lazy["x"].id, lambda: found["x"], lambda: found.id):
        with pytest.raises(MergeProblem, match="'x' of left holds NaN or infinity"):
            look()


def test_nothing_is_stored_that_is_not_finite(repository):
    base = stored(repository, "base", {"x": torch.zeros(9), "y": torch.zeros(9)})
    left = stored(repository, "left", {"x": torch.zeros(9), "y": torch.full((9,), math.nan)})

    with pytest.raises(MergeProblem, match="'y' of left holds NaN or infinity"), repository.batch([(9,)]) as batch:
        weights.store(batch, merged(base, left))


def test_what_nobody_changed_is_not_looked_at(repository):
    n = 400_000
    base = {"x": torch.zeros(n), "odd": odd(), "n": torch.tensor(1)}
    left = stored(repository, "left", {**base, "x": torch.ones(n), "n": torch.tensor(2)})

    with repository.batch([(n,)]) as batch:
        entries = weights.store(batch, merged(stored(repository, "base", base), left))

    assert {entry.name: entry.id for entry in entries} == {name: left.lazy[name].id for name in left.lazy}
    assert all(isinstance(tensor, Stored) for tensor in left.lazy.values())


def test_what_is_taken_is_read_once_in_pieces():
    n = 700_000
    base = seen("base", x=torch.zeros(n), y=odd())
    left = seen("left", x=torch.ones(n), y=odd())

    found = weights.ids(merged(base, left))

    pieces = 1 << 18
    assert found == {name: left.lazy[name].id for name in "xy"}
    assert left.lazy["x"].read_ == [(i, min(i + pieces, n)) for i in range(0, n, pieces)]
    assert left.lazy["y"].read_ == base.lazy["x"].read_ == base.lazy["y"].read_ == []


def test_conflicts_are_refused_by_name():
    base, one, two = (seen("m", x=torch.full((2,), float(i)), y=torch.zeros(1)) for i in range(3))

    with pytest.raises(MergeProblem, match="several models changed x") as problem:
        merged(base, one, two)

    assert "conflicts=average" in str(problem.value.hint)


def test_conflicts_can_be_averaged_and_equal_changes_are_none():
    base, one, two = (seen("m", x=torch.full((2,), float(i)), y=torch.full((1,), float(i > 0))) for i in range(3))

    found = merged(base, one, two, conflicts="average")

    assert (found["x"].tolist(), found["y"].tolist()) == ([1.5, 1.5], [1.0])


def test_unknown_options_are_refused():
    with pytest.raises(UsageError, match="conflicts is 'ours'"):
        merged(seen("base", x=torch.zeros(1)), seen("left", x=torch.ones(1)), conflicts="ours")
