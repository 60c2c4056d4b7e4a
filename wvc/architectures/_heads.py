"""Cut a model in two, featurizer and head, and put the two states together again."""

from __future__ import annotations

import copy
import math

from torch import Tensor, nn
from torch.nn import functional as F

from wvc.errors import ModelProblem
from wvc.repo.objects import ModelSpec


class PooledHead(nn.Module):
    """A 1x1 convolution followed by ReLU and the mean over positions, as SqueezeNet ends: (B, C*s*s) -> (B, outputs).

    ReLU before the mean is what torchvision computes; a linear layer on pooled features would be another function.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight  # (outputs, C, 1, 1)
        self.bias = convolution.bias

    def forward(self, features: Tensor) -> Tensor:
        channels = self.weight.shape[1]
        side = math.isqrt(features.shape[1] // channels)
        maps = features.view(-1, channels, side, side)
        return F.relu(F.conv2d(maps, self.weight, self.bias)).mean((2, 3))


def head_name(model: nn.Module) -> str:
    """Dotted name of the last linear or convolutional layer, the one that makes the logits."""
    layers: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ModelProblem("the model has no linear layer that could be its head")
    return layers[-1]


def split(model: nn.Module, spec: ModelSpec) -> tuple[nn.Module, nn.Module]:
    """The featurizer, (B, C, H, W) -> (B, F), and the head, (B, F) -> (B, outputs): head(featurizer(x)) is model(x).

    Both share parameters with `model`, whose own modules stay as they are. A dropout right before the head is off in
    the featurizer: the caller brings its own.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    featurizer = copy.deepcopy(model, dict(shared))
    leaves = [name for name, module in featurizer.named_modules() if not any(module.children())]
    at = leaves.index(spec.head)
    before = featurizer.get_submodule(leaves[at - 1]) if at else None
    if isinstance(before, nn.Dropout):
        before.p = 0.0
    head = model.get_submodule(spec.head)
    if not isinstance(head, nn.Conv2d):
        _replace(featurizer, spec.head, nn.Identity())
        return featurizer, head
    for name in leaves[at:]:
        _replace(featurizer, name, nn.Identity())
    return featurizer, PooledHead(head)


def join_state(featurizer: nn.Module, head: nn.Module, spec: ModelSpec) -> dict[str, Tensor]:
    """The state of the whole model under its own names and in its own order, the reverse of `split`.

    The tensors are those of the two modules, not copies.
    """
    state = dict(featurizer.state_dict())
    state |= {f"{spec.head}.{name}": tensor for name, tensor in head.state_dict().items()}
    rank = {name: i for i, (name, _) in enumerate(featurizer.named_modules(remove_duplicate=False))}
    return dict(sorted(state.items(), key=lambda item: rank[item[0].rpartition(".")[0]]))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
