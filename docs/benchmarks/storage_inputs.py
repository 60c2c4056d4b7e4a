"""Make the checkpoints that storage.py commits, each in fp32 and rounded to bf16.

    python docs/benchmarks/storage_inputs.py synthetic FOLDER SIZE_MB
    python docs/benchmarks/storage_inputs.py series FOLDER SIZE_MB
    python docs/benchmarks/storage_inputs.py tuned FOLDER SIZE_MB NUMBER
    python docs/benchmarks/storage_inputs.py real FOLDER BASE TUNED...

Writes FOLDER/fp32/*.safetensors and FOLDER/bf16/*.safetensors (`tuned`: fp32 only), and does nothing where they are
already. It runs as a process of its own because it holds a whole model: a child's peak memory never reads as less
than its parent's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SERIES = 10
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FLIPPED = "encoder.layers.encoder_layer_0.mlp.0.weight"

Model = dict[str, torch.Tensor]


def shapes(width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the 296 tensors of torchvision's ViT-L/16, whose true width is 1024."""
    yield "class_token", (1, 1, width)
    yield from _layer("conv_proj", (width, 3, 16, 16))
    yield "encoder.pos_embedding", (1, 197, width)
    for number in range(24):
        name = f"encoder.layers.encoder_layer_{number}"
        yield from _layer(f"{name}.ln_1", (width,))
        yield f"{name}.self_attention.in_proj_weight", (3 * width, width)
        yield f"{name}.self_attention.in_proj_bias", (3 * width,)
        yield from _layer(f"{name}.self_attention.out_proj", (width, width))
        yield from _layer(f"{name}.ln_2", (width,))
        yield from _layer(f"{name}.mlp.0", (4 * width, width))
        yield from _layer(f"{name}.mlp.3", (width, 4 * width))
    yield from _layer("encoder.ln", (width,))
    yield from _layer("heads.head", (1000, width))


def _layer(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def width(size_mb: float) -> int:
    """The width, a multiple of 16, whose fp32 file comes nearest to `size_mb` megabytes (10^6 bytes)."""

    def distance(width: int) -> float:
        return abs(4 * sum(math.prod(shape) for _, shape in shapes(width)) - size_mb * 1e6)

    return min(range(16, 4097, 16), key=distance)


def synthetic(folder: Path, size_mb: float) -> None:
    """v0 at random; `all`: every tensor of it moved; `head`: the head of that moved; `bit`: one bit of that flipped."""
    model, random = _start(size_mb)
    save(folder, "v0", model)
    _move(model.values(), random, 1e-4)
    save(folder, "all", model)
    _move((tensor for name, tensor in model.items() if name.startswith("heads.")), random, 1e-3)
    save(folder, "head", model)
    save(folder, "bit", model, flipped=FLIPPED)


def series(folder: Path, size_mb: float) -> None:
    """v0 and ten versions after it, a random walk of all tensors."""
    model, random = _start(size_mb)
    save(folder, "v0", model)
    for number in range(1, SERIES + 1):
        _move(model.values(), random, 1e-4)
        save(folder, f"v{number}", model)


def tuned(folder: Path, size_mb: float, number: int) -> None:
    """v0 and `number` fine-tunes of it, every tensor of each moved."""
    base, random = _start(size_mb)
    save(folder, "v0", base, dtypes=("fp32",))
    for count in range(1, number + 1):
        model = {name: tensor.clone() for name, tensor in base.items()}
        _move(model.values(), random, 1e-4)
        save(folder, f"v{count}", model, dtypes=("fp32",))


def _start(size_mb: float) -> tuple[Model, torch.Generator]:
    random = torch.Generator().manual_seed(0)
    model = {name: torch.randn(shape, generator=random) * 0.02 for name, shape in shapes(width(size_mb))}
    return model, random


def _move(tensors: Iterable[torch.Tensor], random: torch.Generator, scale: float) -> None:
    for tensor in tensors:
        tensor.add_(torch.randn(tensor.shape, generator=random), alpha=scale)


def real(folder: Path, base: Path, tuned: list[Path]) -> None:
    """v0, the base, and v1, v2, ..., its fine-tunes."""
    for number, path in enumerate([base, *tuned]):
        save(folder, f"v{number}", load_file(path))


def save(folder: Path, name: str, model: Model, flipped: str = "", dtypes: Iterable[str] = tuple(TYPES)) -> None:
    """Write the model in these precisions, the lowest bit of the tensor `flipped` the other way round."""
    for folder_name in dtypes:
        dtype = TYPES[folder_name]
        cast = {name: t.to(dtype, copy=True) if t.is_floating_point() else t for name, t in model.items()}
        if flipped:
            pattern = cast[flipped].view(torch.int32 if dtype.itemsize == 4 else torch.int16)
            pattern.view(-1)[0] ^= 1
        path = folder / folder_name / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(cast, path, {"format": "pt"})
        print(f"made {path}, {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


def main() -> None:
    kind, folder, *rest = sys.argv[1:]
    done = Path(folder, "done")
    if done.exists() and done.read_text() == repr([kind, *rest]):
        return
    done.unlink(missing_ok=True)
    if kind == "real":
        real(Path(folder), Path(rest[0]), [Path(path) for path in rest[1:]])
    elif kind == "tuned":
        tuned(Path(folder), float(rest[0]), int(rest[1]))
    else:
        {"synthetic": synthetic, "series": series}[kind](Path(folder), float(rest[0]))
    done.write_text(repr([kind, *rest]))


if __name__ == "__main__":
    main()
