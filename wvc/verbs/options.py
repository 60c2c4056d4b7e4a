"""What a user may say of a training, as the command line and recipes spell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wvc.errors import UsageError
from wvc.learning import trajectory
from wvc.learning.optimizer import OPTIMIZERS
from wvc.learning.schedule import SCHEDULES
from wvc.learning.trajectory import Trajectory
from wvc.verbs.data import NONE
from wvc.verbs.probe import PAPERS, Form


@dataclass(frozen=True)
class Options:
    """What a user may say of a training; None leaves it to the defaults, HEAD or the drawn hyperparameters.

    task: name; None for HEAD's. test_domains: names, ("none",) for none at all; None for HEAD's on the same task.
    steps: updates; None for the benchmark's, or 5001. evaluate_every, freeze_steps: updates.
    hparams_seed: draws the hyperparameters that are not given, from `space`; 0 has the defaults (design, Trainings).
    seed: of the run, instead of the one that its task, test domains and seeds give.
    trial: which 80/20 split; None for HEAD's on the same task, else 0. limit: images per domain, for a smoke run.
    head: "fresh", "keep" or "random", against the rule of starts. probe_from: revision of the foundation.
    probe_shared: the probe of trial 0 serves every trial. cook: which step of which recipe this is.
    The others are those of learning.settings.Settings.
    """

    task: str | None = None
    test_domains: tuple[str, ...] | None = None
    steps: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    optimizer: str | None = None
    schedule: str | None = None
    warmup_steps: int | None = None
    clip: float | None = None
    label_smoothing: float | None = None
    augmentation: str | None = None
    accumulate: int = 1
    trajectory: Trajectory | None = None
    keep: str = "best"
    validate_augmented: bool = False
    evaluate_all: bool = False
    hparams_seed: int | None = None
    space: str = "mild"
    seed: int | None = None
    trial: int | None = None
    freeze_steps: int | None = None
    evaluate_every: int | None = None
    image_size: int | None = None
    precision: str = "fp32"
    device: str = "auto"
    limit: int | None = None
    head: str | None = None
    probe_from: str | None = None
    probe: Form = field(default_factory=Form)
    probe_shared: bool = False
    message: str | None = None
    cook: Mapping[str, Any] | None = None


RENAMED = {
    "lr": "learning_rate",
    "warmup": "warmup_steps",
    "eval_every": "evaluate_every",
    "val_augment": "validate_augmented",
    "eval_all": "evaluate_all",
}
PROBE = ("probe", "probe_steps", "probe_lr", "probe_keep")  # together one Form
CHOICES = {
    "precision": ("fp32", "bf16"),
    "optimizer": tuple(OPTIMIZERS),
    "schedule": tuple(SCHEDULES),
    "keep": ("best", "last"),
    "head": ("fresh", "keep", "random"),
    "probe": ("fast", "sgd"),
    "probe_keep": ("best", "last"),
}


def read(spelled: Mapping[str, Any]) -> Options:
    """Options by the names that users know them by: `lr`, `eval_every`, `ema`, `probe_steps` ...

    None stands for what is not given; an empty list of test domains for none at all. Raises UsageError where values
    are not among those to choose from, or options do not go together.
    """
    given = {name: value for name, value in spelled.items() if value is not None}
    for name, choices in CHOICES.items():
        if name in given and given[name] not in choices:
            raise UsageError(f"--{name.replace('_', '-')} {given[name]} is not one of {', '.join(choices)}")
    plain = {RENAMED.get(name, name): v for name, v in given.items() if name not in (*PROBE, *trajectory.OPTIONS)}
    if "test_domains" in plain:
        plain["test_domains"] = tuple(plain["test_domains"]) or (NONE,)
    return Options(**plain, probe=_form(given), trajectory=trajectory.chosen(given))


def _form(given: Mapping[str, Any]) -> Form:
    form = PAPERS if given.get("probe") == "sgd" else Form()
    form = replace(
        form,
        steps=given.get("probe_steps", form.steps),
        learning_rate=given.get("probe_lr", form.learning_rate),
        keep=given.get("probe_keep", form.keep),
    )
    if form.kind == "fast" and form.keep != "best":
        raise UsageError("--probe-keep last needs --probe sgd", "the fast probe keeps its best checkpoint")
    return form
