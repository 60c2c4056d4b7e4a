r"""A network that holds a weighted average of models, and what its loss says about the weights.

Automatic differentiation sees the average only, never the models: $\partial L / \partial \alpha_i$ is the product of
the gradient in the weights with model i. So k models take k times their size, and the graph of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from wvc.errors import ModelProblem
from wvc.learning.network import Network

Granularity = Literal["model", "layer", "tensor"]
GRANULARITIES: tuple[Granularity, ...] = ("model", "layer", "tensor")


@dataclass(frozen=True)
class _Part:
    """A tensor of the network and what the models have in its place.

    row: of its group. first: of the first model, (n,). others: how the other models differ from it, (k - 1, n).
    gradient: of the loss in `live`, after a backward pass; None where the loss does not depend on it.
    """

    live: Tensor
    row: int
    first: Tensor
    others: Tensor
    gradient: Callable[[], Tensor | None]


class Mixture:
    r"""A network that holds $\sum_i \alpha_i \theta_i$, and the gradient of its loss in the coefficients.

    What is summed are differences from the first model: the coefficients have sum 1, and without the large common part
    neither the average nor the products with the gradient lose digits.
    names: of the groups, by their rows. groups: name of a tensor -> name of its group.
    """

    def __init__(
        self, network: Network, models: Sequence[Mapping[str, Tensor]], granularity: Granularity, device: torch.device
    ) -> None:
        self.groups: dict[str, str] = {}
        self._parts: list[_Part] = []
        rows: dict[str, int] = {}
        firsts: dict[int, str] = {}  # a tensor that has several names is one, under the first of them
        gradients = _gradients(network)
        for name, live in network.state_dict(keep_vars=True).items():
            if not live.is_floating_point():
                live.copy_(_fitting(models[0], name, live))
                continue
            first = firsts.setdefault(id(live), name)
            self.groups[name] = group = group_of(first, granularity)
            row = rows.setdefault(group, len(rows))
            if first == name:
                stack = _differences(models, name, live)
                self._parts.append(_Part(live, row, *stack, gradients.get(id(live), lambda: None)))
        self.names = tuple(rows)
        self._shape = len(rows), len(models)
        self._device = device

    def start(self) -> Tensor:
        """a = 0: every model has the same share; float64 (groups, k)."""
        return torch.zeros(self._shape, dtype=torch.float64, device=self._device)

    def mix(self, shares: Tensor) -> None:
        """Let the network hold the average with these coefficients, (groups, k)."""
        with torch.no_grad():
            for part in self._parts:
                mixed = torch.addmv(part.first, part.others.T, shares[part.row, 1:].to(part.first.dtype))
                part.live.copy_(mixed.view(part.live.shape))

    def gradient(self) -> Tensor:
        r"""$\langle \partial L / \partial \theta, \theta_i - \theta_1 \rangle$ after a backward pass, summed by group.

        float64 (groups, k). This is $\partial L / \partial \alpha_i$ but for a constant in each row.
        """
        products = self.start()
        for part in self._parts:
            gradient = part.gradient()
            if gradient is not None:
                products[part.row, 1:] += part.others @ gradient.reshape(-1)
        return products


def group_of(name: str, granularity: Granularity) -> str:
    """The name of the group that a tensor belongs to: the module that holds it is its layer."""
    if granularity == "model":
        return "model"
    return name if granularity == "tensor" else name.rpartition(".")[0]


def _fitting(model: Mapping[str, Tensor], name: str, live: Tensor) -> Tensor:
    """The tensor of a model that is to take the place of `live`, like it. Raises ModelProblem where it does not fit."""
    if name not in model:
        raise ModelProblem(f"a model has no tensor {name!r}", "average models of one architecture")
    tensor = model[name]
    if tensor.shape != live.shape:
        raise ModelProblem(f"{name!r} is {tuple(tensor.shape)} in one model and {tuple(live.shape)} in another")
    return tensor.detach().to(live.device, live.dtype)


def _differences(models: Sequence[Mapping[str, Tensor]], name: str, live: Tensor) -> tuple[Tensor, Tensor]:
    """The first model's tensor, (n,), a copy, and how the others differ from it, (k - 1, n)."""
    first = _fitting(models[0], name, live).flatten().clone()
    others = first.new_empty(len(models) - 1, len(first))
    for row, model in zip(others, models[1:], strict=True):
        torch.sub(_fitting(model, name, live).flatten(), first, out=row)
    return first, others


def _gradients(network: Network) -> dict[int, Callable[[], Tensor | None]]:
    """By the id of a tensor, how to get its gradient after a backward pass: parameters, and BatchNorm's statistics."""
    found: dict[int, Callable[[], Tensor | None]] = {id(p): partial(_own, p) for p in network.parameters()}
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.affine:
            found[id(module.running_mean)] = partial(_of_mean, module)
            found[id(module.running_var)] = partial(_of_variance, module)
    return found


def _own(parameter: Tensor) -> Tensor | None:
    return parameter.grad


# torch does not differentiate BatchNorm in its running statistics, on which y = w (x - mean) / sqrt(var + eps) + b
# depends as it does on b and w: their gradients are all that it takes.
def _of_mean(layer: _BatchNorm) -> Tensor | None:
    if layer.bias.grad is None or layer.running_var is None:
        return None
    return -layer.bias.grad * layer.weight.detach() / (layer.running_var + layer.eps).sqrt()


def _of_variance(layer: _BatchNorm) -> Tensor | None:
    if layer.weight.grad is None or layer.running_var is None:
        return None
    return -layer.weight.grad * layer.weight.detach() / (2 * (layer.running_var + layer.eps))
