"""Which average of the weights along one run is wanted: EMA, SWA, MA or SWAD, and with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from wvc.errors import UsageError

MA_FORMS = ("code", "paper", "diwa")
SWAD_FORMS = ("code", "paper")


@dataclass(frozen=True)
class Ema:
    """Exponential moving average: e <- d e + (1 - d) theta after every update, from the weights of the start.

    decay: d, in [0, 1).
    """

    decay: float


@dataclass(frozen=True)
class Swa:
    """Stochastic weight averaging: the plain mean of snapshots.

    every: updates between two snapshots; None until `settled`: a tenth of the steps, an epoch of the ten in the paper.
    share: of the steps, in [0, 1); only snapshots taken strictly after it enter, so that 0.7 means epochs 8 to 10
    of 10.

    Izmailov et al., Averaging weights leads to wider optima, 2018; Wortsman et al., Model soups, 2022, figure L.1.
    """

    every: int | None = None
    share: float = 0.7

    def takes(self, update: int, steps: int) -> bool:
        """True if the weights after update number `update`, counted from 1, are a snapshot that enters."""
        return self.every is not None and update % self.every == 0 and update > Fraction(repr(self.share)) * steps


@dataclass(frozen=True)
class Ma:
    """Simple moving average: the plain mean of all weights since update `start`, counted from 1, at least 1.

    form: "code" averages from the update before `start` on, as the authors' code does; "paper" from `start` on;
    "diwa" counts the weights of `start` twice, as DiWA's port does. Before that the average is the live weights.

    Arpit et al., Ensemble of averages, 2022.
    """

    start: int = 100
    form: str = "code"


@dataclass(frozen=True)
class Swad:
    """Dense averaging between a start and an end that the validation loss sets (learning/swad.py).

    form: "code" as the authors' code does it, "paper" as the paper says it.
    converge, tolerate: evaluations to see the loss at its lowest, and above the threshold: N_s and N_e.
    tolerance: share of the loss by which the threshold lies above it; None until `settled`: 0.3, VLCS 0.2.

    Cha et al., SWAD: domain generalization by seeking flat minima, 2021.
    """

    form: str = "code"
    converge: int = 3
    tolerate: int = 6
    tolerance: float | None = None


Trajectory = Ema | Swa | Ma | Swad
KINDS: Mapping[str, type[Trajectory]] = {"ema": Ema, "swa": Swa, "ma": Ma, "swad": Swad}
REALS = ("decay", "share", "tolerance")

# Option -> (kind, its field). A kind's own option has its name.
OPTIONS: Mapping[str, tuple[str, str]] = {
    "ema": ("ema", "decay"),
    "swa": ("swa", ""),
    "swa_every": ("swa", "every"),
    "swa_from": ("swa", "share"),
    "ma": ("ma", "form"),
    "ma_start": ("ma", "start"),
    "swad": ("swad", "form"),
    "swad_converge": ("swad", "converge"),
    "swad_tolerate": ("swad", "tolerate"),
    "swad_tolerance": ("swad", "tolerance"),
}


def chosen(options: Mapping[str, Any]) -> Trajectory | None:
    """The average that options name, by the keys of OPTIONS; None and False stand for those not given.

    `--swa-every` and `--swa-from` mean SWA by themselves. Raises UsageError where they do not go together, or a value
    is out of range.
    """
    given = {name: options[name] for name in OPTIONS if options.get(name) is not None and options[name] is not False}
    kinds = list(dict.fromkeys(OPTIONS[name][0] for name in given))
    if len(kinds) > 1:
        raise UsageError(f"--{kinds[0]} and --{kinds[1]} exclude each other", "one run keeps one average")
    if not kinds:
        return None
    (kind,) = kinds
    if kind != "swa" and kind not in given:
        raise UsageError(f"{_spelled(next(iter(given)))} needs --{kind}")
    found = KINDS[kind](**{OPTIONS[name][1]: value for name, value in given.items() if OPTIONS[name][1]})
    _check(found)
    return found


def settled(trajectory: Trajectory | None, steps: int, tolerance: float) -> Trajectory | None:
    """The same without open ends: SWA's snapshots from `steps`, SWAD's tolerance that of the benchmark.

    Raises UsageError where no weights would enter.
    """
    if isinstance(trajectory, Swa):
        every = trajectory.every or max(1, steps // 10)
        swa = replace(trajectory, every=every)
        if not swa.takes(steps - steps % every, steps):
            raise UsageError(
                f"no snapshot of every {every} steps lies after the share {swa.share} of {steps}",
                "give a smaller --swa-every or --swa-from",
            )
        return swa
    if isinstance(trajectory, Ma) and trajectory.start > steps:
        raise UsageError(
            f"MA begins at update {trajectory.start}, after the last of {steps}", "give a smaller --ma-start"
        )
    if isinstance(trajectory, Swad) and trajectory.tolerance is None:
        return replace(trajectory, tolerance=tolerance)
    return trajectory


def to_json(trajectory: Trajectory | None) -> dict[str, Any] | None:
    """As `how.settings.trajectory` has it: `kind`, and the fields with reals as text."""
    if trajectory is None:
        return None
    kind = next(name for name, of in KINDS.items() if isinstance(trajectory, of))
    values = {name: repr(value) if isinstance(value, float) else value for name, value in asdict(trajectory).items()}
    return {"kind": kind, **values}


def from_json(value: Mapping[str, Any] | None) -> Trajectory | None:
    """The reverse of `to_json`."""
    if value is None:
        return None
    fields: dict[str, Any] = {
        name: float(field) if name in REALS else field for name, field in value.items() if name != "kind"
    }
    return KINDS[value["kind"]](**fields)


def _check(trajectory: Trajectory) -> None:
    """Values that mean something. Raises UsageError."""
    match trajectory:
        case Ema(decay=decay):
            _must(0 <= decay < 1, f"--ema {decay} is not a decay", "it is at least 0 and below 1, such as 0.999")
        case Swa(every=every, share=share):
            _must(every is None or every >= 1, f"--swa-every {every} is too small", "it is at least 1")
            _must(0 <= share < 1, f"--swa-from {share} is not a share of the steps", "it is at least 0 and below 1")
        case Ma(start=start, form=form):
            _must(form in MA_FORMS, f"--ma {form} is not one of {', '.join(MA_FORMS)}")
            _must(start >= 1, f"--ma-start {start} is too early", "updates count from 1")
        case Swad(form=form, converge=converge, tolerate=tolerate, tolerance=tolerance):
            _must(form in SWAD_FORMS, f"--swad {form} is not one of {', '.join(SWAD_FORMS)}")
            _must(converge >= 1, f"--swad-converge {converge} is too small", "it is at least 1")
            _must(tolerate >= converge, f"--swad-tolerate {tolerate} is below --swad-converge {converge}")
            _must(tolerance is None or tolerance >= 0, f"--swad-tolerance {tolerance} is negative")


def _must(holds: bool, message: str, hint: str | None = None) -> None:
    if not holds:
        raise UsageError(message, hint)


def _spelled(option: str) -> str:
    return "--" + option.replace("_", "-")
