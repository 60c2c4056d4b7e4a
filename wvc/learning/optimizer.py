"""Adam and AdamW, as a training needs them: a rate for each update, clipping, and a state by name of the parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from wvc.learning.settings import Settings
from wvc.learning.state import copies

OPTIMIZERS: Mapping[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@dataclass(frozen=True)
class Moments:
    """What Adam remembers. updates: done so far.

    first, second: running means of the gradient and of its square, by name of the parameter, on the CPU.
    """

    updates: int = 0
    first: Mapping[str, Tensor] = field(default_factory=dict)
    second: Mapping[str, Tensor] = field(default_factory=dict)


class Optimizer:
    """Updates the parameters of `learners`."""

    def __init__(self, learners: Mapping[str, nn.Parameter], settings: Settings) -> None:
        self._learners, self._clip = learners, settings.clip
        # Fused: four times faster on a CPU, no waiting on a GPU, and element by element, so a resumed run agrees.
        self._adam = OPTIMIZERS[settings.optimizer](
            learners.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )

    def clear(self) -> None:
        """Forget the gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self, rate: float) -> None:
        """One update with the gradients that the parameters hold, clipped, at learning rate `rate`."""
        if self._clip is not None:
            nn.utils.clip_grad_norm_(list(self._learners.values()), self._clip)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()

    def moments(self) -> Moments:
        """Copies of what it remembers."""
        held = {name: self._adam.state[p] for name, p in self._learners.items() if p in self._adam.state}
        return Moments(
            updates=next((int(moment["step"]) for moment in held.values()), 0),
            first=copies({name: moment["exp_avg"] for name, moment in held.items()}),
            second=copies({name: moment["exp_avg_sq"] for name, moment in held.items()}),
        )

    def restore(self, moments: Moments) -> None:
        """Go on with `moments`."""
        for name, first in moments.first.items():
            parameter = self._learners[name]
            self._adam.state[parameter] = {
                "step": torch.tensor(float(moments.updates), device=parameter.device),
                "exp_avg": _like(parameter, first),
                "exp_avg_sq": _like(parameter, moments.second[name]),
            }


def _like(parameter: nn.Parameter, moment: Tensor) -> Tensor:
    # In the parameter's own memory layout, as Adam makes them: another could round differently.
    return torch.zeros_like(parameter, memory_format=torch.preserve_format).copy_(moment)
