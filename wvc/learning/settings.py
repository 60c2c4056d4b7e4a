"""What decides the result of a training, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from wvc.learning.network import Precision
from wvc.learning.state import Entry


@dataclass(frozen=True)
class Settings:
    """How to fine-tune. Together with the data and the start they fix the result, bit for bit on a CPU.

    steps: updates, not epochs. evaluate_every: updates between two evaluations; the first follows the first update.
    batch_size: images per step from each training domain.
    learning_rate, weight_decay: Adam's, constant; the decay is coupled (L2), as in the reference code.
    dropout: probability of zeroing a feature before the head, in [0, 1).
    freeze_steps: if not 0, the head learns alone for this many updates and one more (design, Starts).
    seed: of batches, augmentation and dropout.
    precision: "bf16" computes the forward passes in bfloat16 (autocast), the weights stay as they are.
    augmentation: a key of augment.KINDS.
    only_head: the head learns alone to the end: the papers' linear probe.
    freeze_statistics: the BatchNorm statistics stay as they are.
    deterministic: on a GPU, only cuDNN's deterministic kernels; a CPU is always so.
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

    def frozen_at(self, step: int) -> bool:
        """True if update number `step`, counted from 0, trains the head alone."""
        return self.only_head or (self.freeze_steps > 0 and step <= self.freeze_steps)

    def evaluated_at(self, step: int) -> bool:
        """True if an evaluation follows update number `step`, counted from 0."""
        return step % self.evaluate_every == 0 or step == self.steps - 1


@dataclass(frozen=True)
class Result:
    """What a training came to.

    tensors: state dict of the network at the best checkpoint, on the CPU.
    step: index of the last update before it. score: its macro validation accuracy.
    history: State.history.
    """

    tensors: Mapping[str, Tensor]
    step: int
    score: Fraction
    history: tuple[Entry, ...]
