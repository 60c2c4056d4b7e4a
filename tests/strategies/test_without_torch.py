"""Merges that need no data do not load torch, which takes seconds: each strategy in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from wvc import plugins, weights
from wvc.repo.objects import Manifest
from wvc.repo.repository import create
from wvc.store.records import Draft

# argv: a folder for a repository; or one that is there, and files with manifests of models in it.
# Prints for each strategy what is loaded of torch after the merge.
MERGE = """
import inspect, sys
import numpy as np
from pathlib import Path
from wvc import plugins, weights
from wvc.dtypes import DTYPES
from wvc.repo.objects import parse
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft
from wvc.strategies import Models
from wvc.weights import LazyTensor, Weights

SHAPES = {"F64": (7,), "F32": (40, 30), "F16": (300,), "BF16": (5, 2), "F8_E5M2": (9,), "I64": (), "BOOL": (3,)}


class Made(LazyTensor):
    def __init__(self, dtype, shape, seed):
        super().__init__(dtype, shape)
        self._numbers = np.random.default_rng(seed).normal(size=self.numel).astype(DTYPES[dtype])

    def read(self, start, stop):
        return self._numbers[start:stop]


folder, manifests = Path(sys.argv[1]), sys.argv[2:]
repository = Repository(folder) if manifests else create(folder, Draft("init", "me", 0))
if manifests:
    models = [Weights.of(repository, parse(Path(path).read_bytes())) for path in manifests]
else:
    models = [Weights({dtype: Made(dtype, shape, seed) for dtype, shape in SHAPES.items()}) for seed in range(3)]
for name in plugins.names("wvc.strategies"):
    merge = plugins.load("wvc.strategies", name).merge
    given = (Models.of(models[:2]), *([models[2]] if "base" in inspect.signature(merge).parameters else []))
    made = merge(*given, **({"conflicts": "average"} if name == "three-way" else {}))
    with repository.batch([(40, 30)]) as batch:
        entries = weights.store(batch, made)
    assert {entry.name: entry.id for entry in entries} == weights.ids(made), name
    print(name, [module for module in sys.modules if module.startswith("torch")])
"""


def loaded(*arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", MERGE, *arguments]
    root = Path(__file__).parents[2]
    made = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout


@pytest.fixture
def nothing() -> str:
    return "".join(f"{name} []\n" for name in plugins.names("wvc.strategies"))


def test_models_in_memory_are_merged_without_torch(tmp_path: Path, nothing: str):
    assert loaded(str(tmp_path / "zoo")) == nothing


def test_stored_models_are_merged_without_torch(tmp_path: Path, nothing: str):
    repository = create(tmp_path / "zoo", Draft("init", "me", 0))
    paths = [tmp_path / f"{seed}.json" for seed in range(3)]
    for seed, path in enumerate(paths):
        numbers = torch.from_numpy(np.random.default_rng(seed).normal(size=(40, 30)))
        tensors = {"half": numbers.half(), "bf16": numbers.bfloat16(), "fp32": numbers.float()}
        with repository.batch([(40, 30)] * 3) as batch:
            manifest = Manifest(weights.store(batch, tensors))
            repository.record(batch, [], "weights")
        path.write_bytes(manifest.data)

    assert loaded(str(repository.path), *map(str, paths)) == nothing
