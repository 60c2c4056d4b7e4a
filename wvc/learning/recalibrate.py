"""Estimate BatchNorm's statistics anew: averaged weights have other statistics than the average of those they had.

Izmailov et al., Averaging weights leads to wider optima and better generalization, 2018, section 3.2,
https://arxiv.org/abs/1803.05407
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wvc.errors import TrainingProblem
from wvc.learning.averages import Sum
from wvc.learning.evaluate import BATCH, SMALLER, inference, parts, pooled
from wvc.learning.memory import advice
from wvc.learning.network import Network, place
from wvc.learning.pixels import Indices, Pixels, hold
from wvc.learning.seeds import generator
from wvc.learning.state import copies
from wvc.progress import SILENT, Progress


def recalibrate(
    network: Network,
    images: Mapping[str, Pixels],
    *,
    batch_size: int = BATCH,
    count: int | None = None,
    seed: int = 0,
    device: torch.device,
    progress: Progress = SILENT,
) -> dict[str, Tensor]:
    r"""New values for the buffers of every BatchNorm, by their names in the network, from one pass over `images`.

    $\mu = \sum_i b_i \mu_i / \sum_i b_i$ over batches of $b_i$ images with mean $\mu_i$, summed in float64: what a
    momentum of b / (n + b) after n images comes to. The variance is the same mean of torch's unbiased variances of the
    batches. Each batch is normalised by its own statistics; dropout and all else are in eval mode.
    count: so many images, of all domains together, drawn without replacement; None for all. Which, and in which order,
    depends on `seed` and the sizes of the domains only. A last batch of a single image joins the one before.
    The tensors are on the CPU, num_batches_tracked is the number of batches; the network is left on `device`, otherwise
    as it was. Raises TrainingProblem where it has no running statistics or there are fewer than two images.
    """
    sets = list(images.values())
    chosen = generator(seed, 0, 0, "recalibration").permutation(sum(map(len, sets)))[:count]
    names = [name for name, module in network.named_modules(remove_duplicate=False) if is_tracked(module)]
    if not names:
        raise TrainingProblem("the network has no BatchNorm statistics", "take its weights as they are")
    if len(chosen) < 2:
        raise TrainingProblem("statistics take two images at least", "name more images, or a domain that has more")
    progress.start("recalibrating", len(chosen), "images")
    try:
        with advice("while recalibrating", SMALLER):
            place(network, device)
            hold(sets, device)
            with _watching(network) as watches, inference(device, "fp32"):
                for positions in _batches(chosen, batch_size):
                    network(pooled(sets, positions, device)[0])
                    progress.advance(len(positions))
                found = {name: watches[network.get_submodule(name)].buffers() for name in names}
    finally:
        progress.stop()
    return copies({f"{name}.{key}": tensor for name, buffers in found.items() for key, tensor in buffers.items()})


def is_tracked(module: nn.Module) -> bool:
    """True for a BatchNorm that has running statistics."""
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def _batches(chosen: Indices, batch_size: int) -> Iterator[Indices]:
    """The images in order, in pieces of two at least: one alone can be without a variance."""
    pieces = [chosen[part] for part in parts(len(chosen), max(2, batch_size))]
    if len(pieces[-1]) == 1:
        pieces[-2:] = [np.concatenate(pieces[-2:])]
    yield from pieces


class _Watch:
    """A BatchNorm, and the sums of what it found in each batch so far."""

    def __init__(self, module: _BatchNorm) -> None:
        self._module, self._sum = module, Sum()
        self._momentum, self._buffers = module.momentum, {name: b.clone() for name, b in module.named_buffers()}
        module.reset_running_stats()
        module.momentum = 1.0  # what it keeps is the last batch alone
        module.train()
        self._hook = module.register_forward_hook(self._passed)

    def buffers(self) -> dict[str, Tensor]:
        """What its buffers should be, by their names in it, in their dtypes; as they were where no image passed."""
        if not self._sum.count:
            return self._buffers
        counted = {"num_batches_tracked": self._module.get_buffer("num_batches_tracked").clone()}
        return self._sum.mean(self._statistics()) | counted

    def leave(self) -> None:
        """Let the module be what it was, but for its mode."""
        self._hook.remove()
        self._module.momentum = self._momentum
        for name, value in self._buffers.items():
            self._module.get_buffer(name).copy_(value)

    def _passed(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._sum.add(self._statistics(), times=len(inputs[0]))

    def _statistics(self) -> dict[str, Tensor]:
        return {name: self._module.get_buffer(name) for name in ("running_mean", "running_var")}


@contextmanager
def _watching(network: Network) -> Iterator[dict[nn.Module, _Watch]]:
    """Eval mode for all but the watched. Outside, the network is as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    watches: dict[nn.Module, _Watch] = {}
    try:
        for module in network.modules():
            if isinstance(module, _BatchNorm) and is_tracked(module):
                watches[module] = _Watch(module)
        yield watches
    finally:
        for watch in watches.values():
            watch.leave()
        for module, mode in modes:
            module.training = mode
