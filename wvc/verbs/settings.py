"""The settings of a training: what is given, else what is drawn, else the benchmark's, else the defaults."""

from __future__ import annotations

from typing import Any

import torch

from wvc.errors import TrainingProblem, UsageError
from wvc.learning import hparams
from wvc.learning.augment import KINDS
from wvc.learning.hparams import Hparams
from wvc.learning.seeds import HOLDOUT, run_seed
from wvc.learning.settings import Settings
from wvc.learning.trajectory import Swad, settled
from wvc.tasks import Benchmark
from wvc.verbs.data import Data
from wvc.verbs.options import Options
from wvc.verbs.starts import Start

DRAWN = (
    *("learning_rate", "batch_size", "weight_decay", "dropout"),
    *("optimizer", "schedule", "warmup_steps", "clip", "label_smoothing"),
)


def settle(options: Options, start: Start, data: Data, device: torch.device) -> Settings:
    """Every setting of a training. Raises TrainingProblem where a draw cannot be trained, UsageError."""
    drawn = hparams.draw(options.hparams_seed or 0, data.trial, options.space)
    values = {name: _given_or_drawn(name, options, drawn) for name in DRAWN}
    benchmark = data.task.benchmark or Benchmark(data.task.name)
    steps = options.steps or _steps(drawn, data, values["batch_size"]) or benchmark.steps
    freeze = options.freeze_steps
    if freeze is None:
        freeze = round(0.04 * steps) if start.recycled else 0  # 200 at 5001, as the papers
    if isinstance(options.trajectory, Swad) and options.validate_augmented:
        raise UsageError("--swad and --val-augment exclude each other", "SWAD rests on the loss without augmentation")
    return Settings(
        steps=steps,
        evaluate_every=options.evaluate_every or min(benchmark.evaluate_every, max(1, steps // 5)),
        freeze_steps=freeze,
        seed=_seed(options, drawn, data, benchmark.dataset),
        precision="bf16" if options.precision == "bf16" else "fp32",
        augmentation=_augmentation(options, drawn, data),
        deterministic=device.type == "cpu",
        freeze_statistics=not start.live,
        accumulate=options.accumulate,
        trajectory=settled(options.trajectory, steps, benchmark.tolerance),
        keep=options.keep,
        validate_augmented=options.validate_augmented,
        evaluate_all=options.evaluate_all,
        **values,
    )


def _given_or_drawn(name: str, options: Options, drawn: Hparams) -> Any:
    given = getattr(options, name)
    return getattr(drawn, name) if given is None else given


def _steps(drawn: Hparams, data: Data, batch_size: int) -> int | None:
    """Updates in the epochs that were drawn; the domain with the fewest training images says how long one is."""
    if drawn.epochs is None:
        return None
    counts = [len(data.task.labels[data.task.domains.index(domain)]) for domain in data.seen]
    fewest = min(n - n // HOLDOUT for n in counts)
    return max(1, round(drawn.epochs * fewest / batch_size))


def _seed(options: Options, drawn: Hparams, data: Data, dataset: str) -> int:
    if options.seed is not None:
        return options.seed
    test = [data.task.domains.index(name) for name in data.test] or [-1]
    return run_seed(dataset, test, options.hparams_seed or 0, data.trial) if drawn.seed is None else drawn.seed


def _augmentation(options: Options, drawn: Hparams, data: Data) -> str:
    """The one given, drawn, or of the task. Raises TrainingProblem where what is drawn cannot be trained yet."""
    if drawn.mixup > 0:
        raise _not_yet(options, f"mixup {drawn.mixup}", "choose another --hparams-seed")
    if options.augmentation is not None:
        if options.augmentation not in KINDS:
            raise UsageError(f"--augmentation {options.augmentation} is not one of {', '.join(sorted(KINDS))}")
        if options.augmentation == "domainbed" and data.task.channels == 2:
            raise UsageError("--augmentation domainbed needs images of 1 or 3 channels, not 2", "try minimal or none")
        return options.augmentation
    kind = drawn.augmentation or data.task.augmentation
    if drawn.randaugment is not None or kind not in KINDS:
        raise _not_yet(options, f"augmentation {kind}", "choose another --hparams-seed, or give --augmentation")
    return kind


def _not_yet(options: Options, what: str, hint: str) -> TrainingProblem:
    seed = options.hparams_seed or 0
    return TrainingProblem(f"space {options.space} draws {what} at seed {seed}, which cannot be trained yet", hint)
