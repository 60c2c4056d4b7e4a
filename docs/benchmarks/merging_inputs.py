"""Make the models that merging.py merges, each in fp32 and rounded to bf16.

    python docs/benchmarks/merging_inputs.py FOLDER SIZE_MB NOISE

Writes FOLDER/fp32/*.safetensors and FOLDER/bf16/*.safetensors: v0, names and shapes of torchvision's ViT-L/16, drawn
from N(0, 0.02), and its fine-tunes a, b, c and d, N(0, NOISE) added to every number. Does nothing where they are. It is
a process of its own because it holds whole models: a child's peak memory never reads as less than its parent's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from storage_inputs import save, shapes, width

TUNED = ("a", "b", "c", "d")


def make(folder: Path, size_mb: float, noise: float) -> None:
    random = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=random) * 0.02 for name, shape in shapes(width(size_mb))}
    save(folder, "v0", base)
    for tuned in TUNED:
        model = {name: tensor + noise * torch.randn(tensor.shape, generator=random) for name, tensor in base.items()}
        save(folder, tuned, model)


def main() -> None:
    folder, size_mb, noise = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    done = folder / "done"
    if not done.exists():
        make(folder, size_mb, noise)
        done.touch()


if __name__ == "__main__":
    main()
