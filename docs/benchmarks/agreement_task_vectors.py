"""Compare task arithmetic, TIES, breadcrumbs, DARE and DELLA with mergekit's, conventions set equal.

Random models are merged by both, in fp32. mergekit keeps exactly so many of the largest changes, and any of those that
are equal; wvc keeps all that are equal: elements that differ are told apart by whether a change to them is equal to
another one in that tensor. In a tensor of one element mergekit's breadcrumbs keep none, wvc's one. What is drawn at
random differs, so of DARE and DELLA only the share of the elements that is kept and the sum of magnitudes are compared
(without the tensor of one element, at which mergekit's DELLA fails).

mergekit 0.1.5 is called in a process and an environment of its own, which is made where there is none:

    python docs/benchmarks/agreement_task_vectors.py ENVIRONMENT
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from agreement_mergekit import python
from safetensors.torch import load_file, save_file

from wvc.strategies import breadcrumbs, dare, della, task_arithmetic, ties
from wvc.strategies._models import Models
from wvc.weights import Weights

Tensors = Mapping[str, torch.Tensor]

SHAPES = {"embed": (3000, 256), "linear": (512, 1024), "conv": (64, 32, 3, 3), "norm": (257,), "one": (1,)}
WEIGHTS = (Fraction(1), Fraction(1, 2), Fraction(3, 4), Fraction(5, 4))

# Run by mergekit's own interpreter: merges files as told on standard input.
THEIRS = """
import json, sys, torch
from mergekit.merge_methods.api import merge_state_dicts
from safetensors.torch import load_file, save_file

task = json.load(sys.stdin)
models = {name: load_file(path) for name, path in task["models"].items()}
for number, case in enumerate(task["cases"]):
    torch.manual_seed(number)
    with torch.no_grad():
        merged = merge_state_dicts(
            models, case["method"], parameters=case["parameters"], base="base", dtype=torch.float32
        )
    save_file({name: tensor.contiguous() for name, tensor in merged.items()}, case["path"])
"""


@dataclass(frozen=True)
class Case:
    """One merge. ours: a function behind the door and its options. theirs: mergekit's method and its parameters."""

    ours: Callable[..., Weights]
    options: Mapping[str, Any]
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        said = {**self.parameters, **{key: value for key, value in self.options.items() if key == "consensus"}}
        return " ".join([self.method, *(f"{key}={value}" for key, value in said.items())])


TENSOR = {"trim": "tensor", "undecided": "positive"}
SUM = {"consensus": "none", "normalize": False}


def summed() -> list[Case]:
    return [
        Case(task_arithmetic.merge, {"scale": Fraction(3, 10)}, "task_arithmetic", {"lambda": 0.3}),
        Case(task_arithmetic.merge, {"normalize": True}, "task_arithmetic", {"normalize": True}),
    ]


def elected(density: float, divisor: str) -> Case:
    ours = {**TENSOR, "density": density, "divisor": divisor, "scale": Fraction(1, 2)}
    return Case(ties.merge, ours, "ties", {"density": density, "normalize": divisor == "weight", "lambda": 0.5})


def crumbs(density: float, gamma: float, consensus: str) -> Case:
    sizes = {"density": density, "gamma": gamma}
    method = "breadcrumbs" if consensus == "none" else "breadcrumbs_ties"
    return Case(breadcrumbs.merge, {**sizes, "consensus": consensus}, method, sizes)


def drawn(density: float, rescale: bool) -> Case:
    ours = {"density": density, "rescale": "norm" if rescale else "none"}
    return Case(dare.merge, ours, "dare_linear", {"density": density, "rescale": rescale})


def drawn_by_rank(rescale: bool) -> Case:
    sizes = {"density": 0.5, "epsilon": 0.3}
    ours = {**SUM, **sizes, "rescale": "norm" if rescale else "none"}
    return Case(della.merge, ours, "della_linear", {**sizes, "rescale": rescale})


EXACT = [
    *summed(),
    *(elected(density, divisor) for density in (0.2, 0.7, 1.0) for divisor in ("weight", "none")),
    *(crumbs(*sizes, consensus) for sizes in ((0.9, 0.01), (0.4, 0.1), (0.8, 0.2)) for consensus in ("none", "ties")),
]
RANDOM = [
    *(drawn(density, rescale) for density in (0.1, 0.5) for rescale in (False, True)),
    *(drawn_by_rank(rescale) for rescale in (False, True)),
]


def made(
    seed: int, count: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES
) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """A base and `count` models that were changed by a twentieth of it."""
    generator = torch.Generator().manual_seed(seed)

    def tensors(width: float) -> dict[str, torch.Tensor]:
        return {name: torch.randn(shape, generator=generator) * width for name, shape in shapes.items()}

    base = tensors(0.02)
    changes = [tensors(0.001) for _ in range(count)]
    return base, [{name: base[name] + change[name] for name in base} for change in changes]


def merged_by_mergekit(
    python: Path, models: Sequence[Tensors], base: Tensors, cases: Sequence[Case], weights: Sequence[Fraction]
) -> list[dict[str, torch.Tensor]]:
    """What mergekit makes of each case, in fp32."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"base": base, **{f"model{i}": model for i, model in enumerate(models)}}
        for name, tensors in files.items():
            save_file(dict(tensors), Path(folder, name))
        paths = [str(Path(folder, f"merged{i}")) for i in range(len(cases))]
        weight = {f"model{i}": float(w) for i, w in enumerate(weights)}
        task = {
            "models": {name: str(Path(folder, name)) for name in files},
            "cases": [
                {"method": case.method, "parameters": {"weight": weight, **case.parameters}, "path": path}
                for case, path in zip(cases, paths, strict=True)
            ],
        }
        subprocess.run([python, "-c", THEIRS], input=json.dumps(task), text=True, check=True, stderr=subprocess.DEVNULL)
        return [load_file(path) for path in paths]


def merged_by_wvc(
    models: Sequence[Tensors], base: Tensors, case: Case, weights: Sequence[Fraction]
) -> dict[str, torch.Tensor]:
    merged = case.ours(Models.of(models, weights), Weights.holding(base), **case.options)
    return {name: merged[name] for name in merged}


def flat(tensors: Tensors) -> torch.Tensor:
    return torch.cat([tensors[name].double().reshape(-1) for name in sorted(tensors)])


def has_equals(change: torch.Tensor) -> torch.Tensor:
    """True for each element whose magnitude another one has too, and for an only one."""
    _, places, counts = torch.unique(change.abs(), return_inverse=True, return_counts=True)
    return (counts > 1)[places] | (change.numel() == 1)


def compare_exact(python: Path, seed: int) -> None:
    """Print of each case how many elements differ, and the largest error of those that do not for equal magnitudes."""
    base, models = made(seed, len(WEIGHTS))
    largest = max(float((flat(model) - flat(base)).abs().max()) for model in models)
    changes = [{name: model[name] - base[name] for name in base} for model in models]
    excused = torch.stack([flat({n: has_equals(c) for n, c in change.items()}) > 0 for change in changes]).any(0)
    theirs = merged_by_mergekit(python, models, base, EXACT, WEIGHTS)
    print(f"{len(excused)} elements; errors in units of the largest change, {largest:.2g}")
    print(f"{'case':60} {'differ by 1e-5':>15} {'of equal magnitude':>19} {'error of the others':>20}")
    for case, other in zip(EXACT, theirs, strict=True):
        error = (flat(merged_by_wvc(models, base, case, WEIGHTS)) - flat(other)).abs() / largest
        odd = error > 1e-5
        rest = float(error[~(odd & excused)].max())
        print(f"{case.name:60} {int(odd.sum()):15} {int((odd & excused).sum()):19} {rest:20.2e}")


def compare_random(python: Path, seed: int) -> None:
    """Print of both, for one model, which share of the changes is left and how large their sum of magnitudes is."""
    base, models = made(seed, 1, {name: shape for name, shape in SHAPES.items() if name != "one"})
    change = flat(models[0]) - flat(base)
    theirs = merged_by_mergekit(python, models, base, RANDOM, (Fraction(1),))
    print(f"\n{'case':60} {'kept: wvc':>10} {'mergekit':>9} {'sum: wvc':>10} {'mergekit':>9}")
    for case, other in zip(RANDOM, theirs, strict=True):
        left = [flat(found) - flat(base) for found in (merged_by_wvc(models, base, case, (Fraction(1),)), other)]
        kept = [float((some != 0).double().mean()) for some in left]
        sums = [float(some.abs().sum() / change.abs().sum()) for some in left]
        print(f"{case.name:60} {kept[0]:10.4f} {kept[1]:9.4f} {sums[0]:10.4f} {sums[1]:9.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path, help="with mergekit 0.1.5; made where there is none")
    parser.add_argument("--seed", type=int, default=0, help="of the models")
    given = parser.parse_args()
    compare_exact(python(given.environment), given.seed)
    compare_random(python(given.environment), given.seed)


if __name__ == "__main__":
    main()
