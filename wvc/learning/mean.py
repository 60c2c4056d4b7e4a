"""A running mean of models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Model = Mapping[str, Tensor]


class Mean:
    """A running mean: each model costs one addition, not one per model so far."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._first: Model = {}
        self.count = 0

    def plus(self, model: Model) -> Mean:
        """The mean with `model` added; this one stays as it is."""
        result = Mean()
        result._first = self._first or model
        result.count = self.count + 1
        for name, tensor in model.items():
            if tensor.is_floating_point():
                wide = tensor.to(torch.float64 if tensor.dtype.itemsize >= 4 else torch.float32)
                result._sums[name] = self._sums[name] + wide if self.count else wide.clone()
        return result

    def weights(self) -> dict[str, Tensor]:
        """The mean, in the dtypes of the models."""
        return {
            name: (self._sums[name] / self.count).to(tensor.dtype) if name in self._sums else tensor
            for name, tensor in self._first.items()
        }
