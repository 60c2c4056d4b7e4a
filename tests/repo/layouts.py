"""Files and folders with weights, written by hand: the library lacks some dtypes, and never writes them oddly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wvc.repo import intake, sources
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository

WIDTHS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F64": 64, "F32": 32,
    "F16": 16, "BF16": 16, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
Raw = tuple[str, Sequence[int], bytes]  # dtype, shape, bytes


def random_bytes(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def bf16(*shape: int, seed: int = 0) -> Raw:
    """Small random numbers."""
    numbers = np.random.default_rng(seed).normal(0, 0.02, shape).astype("<f4")
    return "BF16", shape, (numbers.view("<u4") >> 16).astype("<u2").tobytes()


def safetensors(tensors: Mapping[str, Raw], metadata: Mapping[str, str] | None = None, blanks: int = 0) -> bytes:
    """A file with `tensors` in this order, and `blanks` behind its header."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    return packed(header, body, blanks)


def packed(header: Mapping[str, object] | str, body: bytes, blanks: int = 0) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode() + b" " * blanks
    return len(text).to_bytes(8, "little") + text + body


def shards(folder: Path, parts: Mapping[str, Mapping[str, Raw]], index: str = "model.safetensors.index.json") -> Path:
    """Write a file for each of `parts` and the index of them all, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, tensors in parts.items():
        (folder / file).write_bytes(safetensors(tensors, {"format": "pt"}))
    places = {name: file for file, tensors in parts.items() for name in tensors}
    total = sum(len(data) for tensors in parts.values() for _, _, data in tensors.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2)
    (folder / index).write_text(text)
    return folder / index


PARTS: Mapping[str, Mapping[str, Raw]] = {
    "model-00001-of-00002.safetensors": {"embed": bf16(40, 16), "layers.0.w": bf16(16, 16, seed=1)},
    "model-00002-of-00002.safetensors": {"layers.1.w": bf16(16, 16, seed=2), "head": bf16(40, 16, seed=3)},
}
SIDES: Mapping[str, bytes] = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}\n',
    "generation_config.json": b"{}",
    "tokenizer.json": json.dumps({str(i): i for i in range(200_000)}).encode(),
    "tokenizer.model": random_bytes(70_000),
    "special_tokens_map.json": b"",
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "README.md": "---\nlicense: apache-2.0\n---\n# Modèle".encode(),
}


def model_folder(folder: Path, parts: Mapping[str, Mapping[str, Raw]] = PARTS) -> Path:
    """A model folder as the libraries of Hugging Face write it: two shards in bfloat16 and what belongs to them."""
    shards(folder, parts)
    for name, data in SIDES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` and its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def bring_in(repository: Repository, path: Path, branch: str = "main", key: str | None = None) -> Commit:
    """A commit without parents of the weights at `path`, at the tip of `branch`."""
    with sources.open(path, key) as source:
        plan = intake.Plan(f"refs/heads/{branch}", "imported", intake.how(source, key))
        return intake.take(repository, source, plan)
