"""The learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from wvc.learning.settings import Settings

# By the share of the way from the end of the warm-up to the end of the training, in [0, 1).
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "linear": lambda share: 1 - share,
}


def learning_rate(settings: Settings, step: int) -> float:
    r"""The rate of update `step`, counted from 0, of S: $\eta (s + 1) / W$ during a warm-up of W steps, and then

    $\eta$, $\eta (1 + \cos(\pi (s - W) / (S - W))) / 2$ or $\eta (1 - (s - W) / (S - W))$: the last two would be 0 at
    step S, the first that is not made.

    Wortsman et al., Robust fine-tuning of zero-shot models, 2022 (cosine and warm-up, as in its code).
    """
    warmup, steps = settings.warmup_steps, settings.steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * SCHEDULES[settings.schedule]((step - warmup) / (steps - warmup))
