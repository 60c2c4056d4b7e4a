"""What decides the result of a training, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self

from torch import Tensor

from wvc.learning import trajectory
from wvc.learning.network import Precision
from wvc.learning.state import Entry
from wvc.learning.trajectory import Trajectory

REALS = ("learning_rate", "weight_decay", "dropout", "clip", "label_smoothing")


@dataclass(frozen=True)
class Settings:
    """How to fine-tune. Together with the data and the start they fix the result, bit for bit on a CPU.

    steps: updates, not epochs. evaluate_every: updates between two evaluations; the first follows the first update.
    batch_size: images per step from each training domain.
    learning_rate: the highest; see schedule.
    weight_decay: coupled (L2) in "adam", as in the reference code; decoupled in "adamw".
    dropout: probability of zeroing a feature before the head, in [0, 1).
    freeze_steps: if not 0, the head learns alone for this many updates and one more (design, Starts).
    seed: of batches, augmentation and dropout.
    precision: "bf16" computes the forward passes in bfloat16 (autocast), the weights stay as they are.
    augmentation: a key of augment.KINDS.
    only_head: the head learns alone to the end: the papers' linear probe.
    freeze_statistics: the BatchNorm statistics stay as they are.
    deterministic: on a GPU, only cuDNN's deterministic kernels; a CPU is always so.
    optimizer: "adam" or "adamw". schedule: a key of schedule.SCHEDULES. warmup_steps: of the steps, in which the rate
    rises in a straight line.
    clip: largest norm of the gradient of all parameters that learn together; None for none.
    accumulate: parts in which each batch is computed to save memory; the same update up to rounding, unless BatchNorm
    statistics or dropout see the parts.
    label_smoothing: share of the target that is spread over all classes, in [0, 1].
    trajectory: the average along the run; it is evaluated, or takes the place of the result (averages.Average).
    keep: "best", the checkpoint with the highest score; "last", the weights of the last step.
    validate_augmented: validation images are varied as those of training, as the papers' code does it.
    evaluate_all: each evaluation also looks at all other images of the task, which decide nothing.
    """

    steps: int = 5001
    evaluate_every: int = 100
    batch_size: int = 32
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    dropout: float = 0.0
    freeze_steps: int = 0
    seed: int = 0
    precision: Precision = "fp32"
    augmentation: str = "domainbed"
    only_head: bool = False
    freeze_statistics: bool = True
    deterministic: bool = True
    optimizer: str = "adam"
    schedule: str = "constant"
    warmup_steps: int = 0
    clip: float | None = None
    accumulate: int = 1
    label_smoothing: float = 0.0
    trajectory: Trajectory | None = None
    keep: str = "best"
    validate_augmented: bool = False
    evaluate_all: bool = False

    def json(self) -> dict[str, Any]:
        """As `how.settings` has it: reals as text."""
        values = asdict(self) | {"trajectory": trajectory.to_json(self.trajectory)}
        return {name: repr(value) if isinstance(value, float) else value for name, value in values.items()}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """The reverse of `json`. What older versions did not know has its default."""
        reals = {name: float(value[name]) for name in REALS if value.get(name) is not None}
        return cls(**{**value, **reals, "trajectory": trajectory.from_json(value.get("trajectory"))})

    def frozen_at(self, step: int) -> bool:
        """True if update number `step`, counted from 0, trains the head alone."""
        return self.only_head or (self.freeze_steps > 0 and step <= self.freeze_steps)

    def evaluated_at(self, step: int) -> bool:
        """True if an evaluation follows update number `step`, counted from 0."""
        return step % self.evaluate_every == 0 or step == self.steps - 1


@dataclass(frozen=True)
class Result:
    """What a training came to.

    tensors: state dict of the network at the chosen checkpoint, or of the average that takes its place; on the CPU.
    step: index of the last update that enters. score: their macro validation accuracy.
    history: State.history.
    """

    tensors: Mapping[str, Tensor]
    step: int
    score: Fraction
    history: tuple[Entry, ...]
