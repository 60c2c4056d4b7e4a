"""What models say of the images of a task, computed once and kept in the repository's cache.

Nothing in the cache may fail the work: a damaged file is made again, a full disk means computing again next time.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

from wvc.learning import ensemble
from wvc.learning.ensemble import Logits
from wvc.learning.network import Precision
from wvc.learning.pixels import Pixels
from wvc.progress import SILENT, Progress
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.repo.scores import Circumstances
from wvc.store.canonical import digest, dumps
from wvc.store.durable import replace
from wvc.verbs import scoring
from wvc.verbs.data import Data

CHECK = 4  # bytes of the CRC-32 behind an array


def of_model(
    repository: Repository,
    manifest: Manifest,
    data: Data,
    images: Mapping[str, Mapping[str, Pixels]],
    *,
    device: torch.device,
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> Iterator[tuple[str, Logits]]:
    """(domain, what the model says of its images), computed only where the cache does not have it.

    images: split -> domain -> its images in `data`.
    Raises ModelProblem for plain tensors, TrainingProblem where memory is short.
    """
    network = cache(lambda: scoring.network_of(repository, manifest))  # not even loaded if all is known
    spec, chosen = scoring.spec_of(manifest), _precision(precision)
    for split, domains in images.items():
        circumstances = scoring.circumstances(manifest, data, split, device, precision)
        for domain, pixels in domains.items():
            path = _path(repository, key(manifest, circumstances, domain))
            found = _read(path, (len(pixels), spec.outputs))
            if found is None:
                found = ensemble.logits(network(), pixels, device=device, precision=chosen, progress=progress)
                _write(path, found, repository.folder / "tmp")
            yield domain, found


def known(
    repository: Repository,
    manifest: Manifest,
    data: Data,
    images: Mapping[str, Pixels],
    split: str,
    *,
    device: torch.device,
    precision: str = "fp32",
) -> dict[str, Logits]:
    """What the cache has of what a model says of the domains of one split; nothing is computed."""
    circumstances = scoring.circumstances(manifest, data, split, device, precision)
    outputs = scoring.spec_of(manifest).outputs
    found = {
        domain: _read(_path(repository, key(manifest, circumstances, domain)), (len(pixels), outputs))
        for domain, pixels in images.items()
    }
    return {domain: said for domain, said in found.items() if said is not None}


def key(manifest: Manifest, circumstances: Circumstances, domain: str) -> str:
    """64 hexadecimal digits for all that decides what a model says of a domain."""
    facts = {**vars(circumstances), "domain": domain, "spec": scoring.spec_of(manifest).json()}
    # The whole of a domain is the same under every trial: models of different ones share it.
    return digest(dumps(facts | ({"trial": 0} if circumstances.split == "all" else {})))


def _path(repository: Repository, key: str) -> Path:
    return repository.folder / "cache" / "logits" / f"{key}.npy"


def _precision(name: str) -> Precision:
    return "bf16" if name == "bf16" else "fp32"


def _read(path: Path, shape: tuple[int, int]) -> Logits | None:
    """The array at `path`; None where there is none that is sound."""
    try:
        data = path.read_bytes()
        if len(data) <= CHECK or zlib.crc32(data[:-CHECK]) != int.from_bytes(data[-CHECK:], "little"):
            return None
        found: Logits = np.load(io.BytesIO(data))
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float32 else None


def _write(path: Path, logits: Logits, tmp: Path) -> None:
    """Leave the array and the CRC-32 of its file at `path`, whole or not at all."""
    file = io.BytesIO()
    np.save(file, logits)
    file.write(zlib.crc32(file.getbuffer()).to_bytes(CHECK, "little"))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, file.getvalue(), tmp)
