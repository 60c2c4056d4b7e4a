"""Merge models as a short script does: all of them in memory, in the dtype that they have.

    python docs/benchmarks/merging_naive.py METHOD OUT [BASE] MODEL...

What merging.py compares with: nothing here is wvc's or mergekit's. The base goes first where the method needs one.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

DENSITY = 0.2


def linear(models: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(models)).sum(dim=0) / len(models)


def ties(tensors: Sequence[Tensor]) -> Tensor:
    base, *models = tensors
    deltas = torch.stack([model - base for model in models])
    sizes = deltas.abs().flatten(1)
    kept = max(1, int(DENSITY * base.numel()))
    limits = sizes.kthvalue(base.numel() - kept + 1, dim=1).values
    deltas = torch.where(deltas.abs() >= limits.view(-1, *[1] * base.dim()), deltas, 0)
    agree = deltas.sign() == deltas.sum(dim=0).sign()
    agree &= deltas != 0
    return base + (deltas * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)


def slerp(models: Sequence[Tensor]) -> Tensor:
    one, two = models
    # As a number of Python's: in bf16, 0.9995 is 1, and nothing would be parallel.
    cosine = float(torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0))
    if abs(cosine) > 0.9995:
        return 0.5 * one + 0.5 * two
    angle = math.acos(cosine)
    return math.sin(0.5 * angle) / math.sin(angle) * (one + two)


def model_stock(tensors: Sequence[Tensor]) -> Tensor:
    base, *models = tensors
    deltas = [(model - base).flatten() for model in models]
    pairs = [torch.nn.functional.cosine_similarity(x, y, dim=0) for x, y in itertools.combinations(deltas, 2)]
    cosine, count = torch.stack(pairs).mean(), len(models)
    share = count * cosine / (1 + (count - 1) * cosine)
    return share * linear(models) + (1 - share) * base


METHODS = {"linear": linear, "ties": ties, "slerp": slerp, "model-stock": model_stock}


def main() -> None:
    method, out, *paths = sys.argv[1:]
    models = [load_file(path) for path in paths]
    save_file({name: METHODS[method]([model[name] for model in models]) for name in models[0]}, out)


if __name__ == "__main__":
    main()
