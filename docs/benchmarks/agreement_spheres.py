"""How far the spherical strategies, Model Stock and the average are from mergekit and from float64 arithmetic.

    python docs/benchmarks/agreement_spheres.py ENVIRONMENT [--dtype bfloat16] [--models 4] [--spread 0.5]
        [--size 1024] [--seed 0]

mergekit 0.1.5 is in ENVIRONMENT, which is made where there is none; it merges the same files in a
process of its own, in memory, with its `dtype` float32 and the models' dtype as `out_dtype`. Errors are the largest of
all numbers of all tensors, as parts of the largest number of the tensor's float64 result. Seconds are processor time of
merging alone, after everything was read, the best of three, with torch's own number of threads or with --threads.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from agreement_mergekit import python
from safetensors.torch import load_file, save_file

from wvc.strategies import karcher, linear, model_stock, multi_slerp, slerp
from wvc.strategies._models import Models
from wvc.weights import Weights

Vector = npt.NDArray[np.float64]
Model = Mapping[str, torch.Tensor]
SHAPES = {"conv": (64, 3, 7, 7), "norm": (4,), "long": (300_001,)}

THEIRS = """
import json, sys, time, torch
from safetensors.torch import load_file, save_file
from mergekit.merge_methods.api import merge_state_dicts

asked = json.load(open(sys.argv[1]))
if asked["threads"]:
    torch.set_num_threads(asked["threads"])
found = {file: load_file(file) for file in asked["files"]}
seconds = []
for case in asked["cases"]:
    models = {str(i): found[file] for i, file in enumerate(case["files"])}
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        with torch.no_grad():
            merged = merge_state_dicts(models, case["method"], parameters=case["parameters"], base=case["base"],
                                       dtype=torch.float32, out_dtype=getattr(torch, asked["dtype"]))
        best = min(best, time.process_time() - start)
    seconds.append(best)
    save_file({name: tensor.contiguous() for name, tensor in merged.items()}, case["out"])
json.dump(seconds, open(sys.argv[1] + ".seconds", "w"))
"""


@dataclass(frozen=True)
class Case:
    """One way to blend, in three spellings.

    count: of the models, the first ones. base: mergekit's, one of them or the file "base".
    ours: what makes it from them and the base. exact: what makes one flattened tensor, in float64.
    """

    label: str
    method: str
    count: int
    parameters: Mapping[str, Any]
    base: str | None
    ours: Callable[[Sequence[Model], Weights], Mapping[str, torch.Tensor]]
    exact: Callable[[Sequence[Vector], Vector], Vector]


def cases(count: int) -> list[Case]:
    shares = [Fraction(i + 1, count * (count + 1) // 2) for i in range(count)]
    weights = np.array([float(share) for share in shares])
    even = np.full(count, 1 / count)
    stated = {"weight": weights.tolist()}
    pairs = [case for t in (Fraction(1, 10), Fraction(1, 2), Fraction(3, 4)) for case in _pairs(t)]
    return [
        Case("linear", "linear", count, stated, None, lambda m, b: linear.merge(Models.of(m, shares)),
             lambda v, b: np.einsum("i,ij", weights, v)),
        *pairs,
        Case("multi-slerp", "multislerp", count, stated, None, lambda m, b: multi_slerp.merge(Models.of(m, shares)),
             lambda v, b: sphere(v, weights, 0)),
        Case("karcher, 10 steps to 1e-5", "karcher", count, {"max_iter": 10, "tol": 1e-5}, None,
             lambda m, b: karcher.merge(Models.of(m), iterations=10, tolerance=1e-5), lambda v, b: sphere(v, even)),
        Case("karcher, 100 to 1e-12", "karcher", count, {"max_iter": 100, "tol": 1e-12}, None,
             lambda m, b: karcher.merge(Models.of(m)), lambda v, b: sphere(v, even)),
        Case("model-stock", "model_stock", count, {}, "base", lambda m, b: model_stock.merge(Models.of(m), b),
             stock),
    ]  # fmt: skip


def _pairs(t: Fraction) -> list[Case]:
    weights = [float(1 - t), float(t)]
    return [
        Case(f"slerp, t = {t}", "slerp", 2, {"t": float(t)}, "0",
             lambda m, b: slerp.merge(Models.of(m, [1 - t, t])), lambda v, b: great_circle(v[0], v[1], float(t))),
        Case(f"nuslerp, t = {t}", "nuslerp", 2, {"weight": weights}, None,
             lambda m, b: slerp.merge(Models.of(m, [1 - t, t]), parallel=1.0),
             lambda v, b: great_circle(v[0], v[1], float(t), 1.0)),
    ]  # fmt: skip


def great_circle(one: Vector, other: Vector, t: float, limit: float = 0.9995) -> Vector:
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    if abs(cosine) > limit:
        return (1 - t) * one + t * other
    angle = np.arccos(cosine)
    return np.asarray((np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / np.sin(angle))


def sphere(vectors: Sequence[Vector], weights: Vector, steps: int = 200) -> Vector:
    """The Karcher mean of the directions, as long as the vectors are on average; without steps multi-SLERP."""
    lengths = np.array([np.linalg.norm(vector) for vector in vectors])
    units = np.stack([vector / length for vector, length in zip(vectors, lengths, strict=True)])
    mean = weights @ units
    mean /= np.linalg.norm(mean)
    for _ in range(steps):
        across = units - np.outer(units @ mean, mean)
        sizes = np.linalg.norm(across, axis=1)
        step = (weights * np.arctan2(sizes, units @ mean) / sizes) @ across
        size = np.linalg.norm(step)
        if size < 1e-14:
            break
        mean = np.cos(size) * mean + np.sin(size) / size * step
        mean /= np.linalg.norm(mean)
    return np.asarray((weights @ lengths) * mean)


def stock(vectors: Sequence[Vector], base: Vector) -> Vector:
    changes = [vector - base for vector in vectors]
    cosine = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(changes, 2)])
    ratio = len(vectors) * cosine / (1 + (len(vectors) - 1) * cosine)
    return np.asarray(ratio * np.mean(vectors, axis=0) + (1 - ratio) * base)


def world(count: int, spread: float, size: int, dtype: torch.dtype, seed: int) -> tuple[list[Model], Model]:
    """Models that changed a base in related ways: half of each change is common to all. spread: of the changes."""
    rng = np.random.default_rng(seed)
    models: list[dict[str, torch.Tensor]] = [{} for _ in range(count)]
    base: dict[str, torch.Tensor] = {}
    for name, shape in {**SHAPES, "square": (size, size)}.items():
        origin, common = rng.normal(size=shape), rng.normal(size=shape)
        base[name] = torch.from_numpy(origin).to(dtype)
        for model in models:
            change = (common + rng.normal(size=shape)) * spread / math.sqrt(2)
            model[name] = torch.from_numpy(origin + change).to(dtype)
    return list(models), base


def theirs(python: str, models: Sequence[Model], base: Model, todo: Sequence[Case], arguments: argparse.Namespace,
           folder: Path) -> list[tuple[Model, float]]:  # fmt: skip
    """What mergekit makes of each case, and its seconds."""
    for name, model in [("base", base), *((str(i), model) for i, model in enumerate(models))]:
        save_file(dict(model), folder / name)
    asked = {
        "files": [str(folder / name) for name in ["base", *map(str, range(len(models)))]],
        "dtype": arguments.dtype,
        "threads": arguments.threads,
        "cases": [_spelled(case, folder / f"out{i}", folder) for i, case in enumerate(todo)],
    }
    (folder / "asked").write_text(json.dumps(asked))
    subprocess.run([python, "-c", THEIRS, str(folder / "asked")], check=True, cwd=folder)
    seconds = json.loads((folder / "asked.seconds").read_text())
    return [(load_file(folder / f"out{i}"), seconds[i]) for i in range(len(todo))]


def _spelled(case: Case, out: Path, folder: Path) -> dict[str, Any]:
    """A case as mergekit understands it: inputs are known by their places, and a base that is no model comes last."""
    files = [str(folder / str(i)) for i in range(case.count)] + ([str(folder / "base")] if case.base == "base" else [])
    base = str(case.count) if case.base == "base" else case.base
    return {"method": case.method, "parameters": dict(case.parameters), "base": base, "files": files, "out": str(out)}


def ours(case: Case, models: Sequence[Model], base: Model) -> tuple[Model, float]:
    """What wvc makes, and the seconds of the best of three runs; ids, which a repository has, are made before."""
    held, origin, best = [Weights.holding(model) for model in models[: case.count]], Weights.holding(base), math.inf
    case.ours(held, origin)
    for _ in range(3):
        start = time.process_time()
        merged = case.ours(held, origin)
        found = {name: merged[name] for name in merged}
        best = min(best, time.process_time() - start)
    return found, best


def flat(tensor: torch.Tensor) -> Vector:
    return tensor.to(torch.float64).reshape(-1).numpy()


def farthest(one: Mapping[str, Vector], two: Mapping[str, Vector]) -> float:
    """The largest difference, as a part of the largest number of its tensor."""
    return max(float(np.max(np.abs(one[name] - two[name])) / np.max(np.abs(two[name]))) for name in two)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("environment", type=Path, help="with mergekit 0.1.5; made where there is none")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--spread", type=float, default=0.5, help="deviation of the changes, of weights of deviation 1")
    parser.add_argument("--size", type=int, default=1024, help="of the square matrix")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of torch on either side; 0 leaves them")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    models, base = world(arguments.models, arguments.spread, arguments.size, dtype, arguments.seed)
    todo = cases(arguments.models)
    print(f"{arguments.dtype}, {arguments.models} models, spread {arguments.spread}; "
          f"rounding alone: {torch.finfo(dtype).eps / 2:.1e}\n")  # fmt: skip
    print("| strategy | mergekit to ours | mergekit to float64 | ours to float64 | mergekit s | ours s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for case, (found, slow) in zip(
            todo, theirs(str(python(arguments.environment)), models, base, todo, arguments, Path(folder)), strict=True
        ):
            made, fast = ours(case, models, base)
            exact = {
                name: case.exact([flat(model[name]) for model in models[: case.count]], flat(base[name]))
                for name in base
            }
            one, two = ({name: flat(some[name]) for name in exact} for some in (found, made))
            errors = farthest(one, two), farthest(one, exact), farthest(two, exact)
            print(f"| {case.label} | " + " | ".join(f"{e:.1e}" for e in errors) + f" | {slow:.3f} | {fast:.3f} |")


if __name__ == "__main__":
    main()
