"""Read a merge that was written for mergekit, a YAML file, as a merge of this repository's revisions.

What mergekit 0.1.5 would do, its defaults included, is said in the options of our strategies. What has no counterpart
is refused, never approximated: a merge that differs from the one asked for is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wvc.errors import MergeProblem
from wvc.verbs.mergekit_file import File, Model

TINY = Fraction(1, 10**8)  # sums of weights below this mergekit does not divide by


@dataclass(frozen=True)
class Plan:
    """A merge, as `wvc merge` would be told of it.

    strategy: a name behind the door. revisions: as the file spells them, in the order of the strategy.
    coefficients: one for each revision, exact; None where the method has none.
    base: the revision that all were fine-tuned from; None where the method has none.
    options: the values of `-o`, by name. notes: what else the file says and what is not done here.
    """

    strategy: str
    revisions: tuple[str, ...]
    coefficients: tuple[Fraction, ...] | None
    base: str | None
    options: Mapping[str, str]
    notes: tuple[str, ...]


def read(path: Path) -> Plan:
    """The merge in the file at `path`. Whether its revisions are there is for the caller to find out.

    Raises UsageError without PyYAML, BadFile for what is no merge, MergeProblem for one that cannot be made here.
    """
    file = File(path)
    return METHODS[file.method](file)


def _linear(file: File) -> Plan:
    models = file.everybody
    return _plan(file, "linear", models, _shares(file, models, "normalize"))


def _shares(file: File, models: Sequence[Model], flag: str) -> tuple[Fraction, ...]:
    """Weights that sum to 1. Raises MergeProblem."""
    weights = file.weights(models)
    total = sum(weights, Fraction(0))
    if file.flag(flag, default=True) and total:
        return tuple(weight / total for weight in weights)
    if total != 1:
        raise MergeProblem(
            f"the weights sum to {total}, which is no average", f"let them sum to 1, or set {flag}: true"
        )
    return weights


def _slerp(file: File) -> Plan:
    t = file.number("t")
    return _plan(file, "slerp", (file.origin(), *file.tuned(1, 1)), (1 - t, t))


def _multislerp(file: File) -> Plan:
    if file.base is not None:
        raise MergeProblem("multislerp of differences from a base has no counterpart here", "leave base_model out")
    return _plan(file, "multi-slerp", file.models, _shares(file, file.models, "normalize_weights"))


def _karcher(file: File) -> Plan:
    iterations, tolerance = file.whole("max_iter", "10"), file.number("tol", "1e-5")
    options = {"iterations": str(iterations), "tolerance": _real(tolerance)}
    return _plan(file, "karcher", file.everybody, None, options)


def _model_stock(file: File) -> Plan:
    file.refuse("filter_wise")
    return _plan(file, "model-stock", file.tuned(2), None, {"angle": "cosine", "opposed": "extrapolate"}, file.origin())


@dataclass(frozen=True)
class _Arithmetic:
    """A method that adds up differences from the base, thinned out or not.

    strategy: ours that thins so. ties: signs are elected. normalize, rescale: mergekit's defaults.
    """

    strategy: str
    ties: bool = False
    normalize: bool = False
    rescale: bool = False

    def __call__(self, file: File) -> Plan:
        models, base = file.tuned(), file.origin()
        weights = file.weights(models)
        density = Fraction(1) if self.strategy == "task-arithmetic" else file.same("density", "1")
        divide = file.flag("normalize", default=self.normalize) and self._divides(weights)
        options = {"scale": str(file.number("lambda", "1"))}
        strategy, notes = self.strategy, []
        if density <= 0:
            raise MergeProblem(f"a density of {_real(density)} keeps nothing", "give one above 0, up to 1")
        if density >= 1:
            strategy = "ties" if self.ties else "task-arithmetic"
            options |= _elected(Fraction(1), divide) if self.ties else {"normalize": _flag(divide)}
            if strategy not in (self.strategy, file.method):
                notes.append(f"a density of 1 drops nothing, so that {file.method} is {strategy}")
        else:
            options |= self._thinned(file, density, divide)
            if self.ties and strategy != "ties":
                notes.append("where changes cancel out exactly there is no change; mergekit takes the positive ones")
        return _plan(file, strategy, models, weights, options, base, notes)

    def _divides(self, weights: Sequence[Fraction]) -> bool:
        """Whether mergekit, told to normalize, divides by more than 1. Raises MergeProblem."""
        if self.ties and min(weights) < 0:
            hint = "set normalize: false, or give no weight below 0"
            raise MergeProblem("mergekit divides by weights with their signs, which has no counterpart here", hint)
        return self.ties or abs(sum(weights, Fraction(0))) >= TINY

    def _thinned(self, file: File, density: Fraction, divide: bool) -> dict[str, str]:
        """Options beside the scale. Raises MergeProblem."""
        if self.strategy == "ties":
            file.refuse("rescale")
            return _elected(density, divide)
        options = {"density": _real(density), "consensus": "ties" if self.ties else "none"}
        options |= {"normalize": _flag(divide)}
        if self.strategy == "breadcrumbs":
            file.refuse("rescale")
            return options | {"gamma": _real(file.same("gamma", "0.01"))}
        if self.strategy == "della":
            options["epsilon"] = _real(file.same("epsilon", "0.15"))
        return options | {"rescale": "norm" if file.flag("rescale", default=self.rescale) else "none"}


def _elected(density: Fraction, divide: bool) -> dict[str, str]:
    """Options of ties that say how mergekit trims and elects."""
    divisor = "weight" if divide else "none"
    return {"density": _real(density), "trim": "tensor", "divisor": divisor, "undecided": "positive"}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _real(number: Fraction) -> str:
    return repr(float(number))


def _plan(
    file: File,
    strategy: str,
    models: Sequence[Model],
    coefficients: tuple[Fraction, ...] | None,
    options: Mapping[str, str] | None = None,
    base: Model | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    names = tuple(model.name for model in models)
    origin = None if base is None else base.name
    return Plan(strategy, names, coefficients, origin, options or {}, (*notes, *file.notes()))


METHODS: Mapping[str, Callable[[File], Plan]] = {
    "linear": _linear,
    "task_arithmetic": _Arithmetic("task-arithmetic"),
    "ties": _Arithmetic("ties", ties=True, normalize=True),
    "dare_linear": _Arithmetic("dare", rescale=True),
    "dare_ties": _Arithmetic("dare", ties=True, rescale=True),
    "della": _Arithmetic("della", ties=True, normalize=True, rescale=True),
    "della_linear": _Arithmetic("della", rescale=True),
    "breadcrumbs": _Arithmetic("breadcrumbs"),
    "breadcrumbs_ties": _Arithmetic("breadcrumbs", ties=True),
    "slerp": _slerp,
    "multislerp": _multislerp,
    "karcher": _karcher,
    "model_stock": _model_stock,
}
