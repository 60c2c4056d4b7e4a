"""Histories of small models, made in one transaction, and drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from wvc.repo.objects import Commit, Manifest, Parent, Tensor
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft, Move

Model = Mapping[str, int]  # name -> a number that its tensor is full of
Plan = Sequence[tuple[Model, Sequence[tuple[int, str]]]]  # per commit: the model, (number of a parent, coefficient)


def planted(path: Path, plan: Plan, refs: Mapping[str, int] | None = None) -> tuple[Repository, list[Commit]]:
    """A repository with the commits of `plan`, and those commits; main is the last one unless `refs` says otherwise."""
    repository = create(path, Draft("init", "Ada", 0, default_branch="main"))
    made: list[Commit] = []
    with repository.batch([(8,)] * 100, 1 << 18) as batch:
        for number, (model, parents) in enumerate(plan):
            tensors = [
                Tensor(name, "F32", (8,), batch.add("F32", (8,), [np.full(8, value, np.float32).tobytes()]))
                for name, value in sorted(model.items())
            ]
            manifest = Manifest(tuple(tensors))
            shares = tuple(Parent(made[i].id, Fraction(share)) for i, share in parents)
            generation = 1 + max((made[i].generation for i, _ in parents), default=0)
            commit = Commit(
                manifest.id, manifest.weights, shares, "Ada", 60 * number, generation, f"c{number}", {"kind": "import"}
            )
            batch.put(manifest.data)
            batch.put(commit.data)
            made.append(commit)
        refs = refs or {"refs/heads/main": len(made) - 1}
        repository.record(batch, [Move(ref, None, made[i].id) for ref, i in refs.items()], "planted")
    return repository, made


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Up to nine commits of up to three tensors, each with up to three of the commits before it as parents."""
    names = ("a", "b.weight", "b.bias")
    plan: list[tuple[Model, Sequence[tuple[int, str]]]] = []
    for number in range(draw(st.integers(1, 9))):
        model = draw(st.dictionaries(st.sampled_from(names), st.integers(0, 2), min_size=1))
        older = st.lists(st.integers(0, number - 1), unique=True, max_size=3) if number else st.just([])
        parents = [(i, draw(st.sampled_from(["0", "1", "1/2", "-1/2"]))) for i in draw(older)]
        plan.append((model, parents))
    return plan
