"""What storage.py measures: workloads, each a chain of commits and an export on a store of its own."""

from __future__ import annotations

import dataclasses
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from storage_tables import REAL


@dataclass(frozen=True)
class Step:
    """The commit of the file `original` under the name `label`, or the export of what was committed so.

    row: the line of the table that it counts for.
    parent: the label of the commit that the file was made from; None for the last commit.
    """

    row: str
    label: str
    original: Path
    export: bool = False
    parent: str | None = None


@dataclass(frozen=True)
class Workload:
    """Steps that share a store.

    long: leaves out tools that take too long for it.
    floor: `cp` and `sha256sum` of the exported file are measured as well.
    """

    name: str
    dtype: str
    steps: tuple[Step, ...]
    long: bool = False
    floor: bool = False

    def head_bytes(self) -> int:
        """Bytes of the head's tensors in the last file."""
        with self.steps[-1].original.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        spans = [entry["data_offsets"] for name, entry in header.items() if name.startswith("heads.")]
        return sum(stop - start for start, stop in spans)

    def room(self, tools: int) -> int:
        """Bytes of disk that `tools` stores need at most, with a file checked out in each."""
        sizes = [step.original.stat().st_size for step in self.steps]
        return tools * sum(sizes)


def synthetic(folder: Path, dtype: str) -> Workload:
    """A model, a dense fine-tune of it, a new head, one bit; then the fine-tune again."""
    rows = {"v0": "first commit", "all": "all tensors changed", "head": "head changed", "bit": "one bit changed"}
    steps = [Step(row, label, folder / dtype / f"{label}.safetensors") for label, row in rows.items()]
    export = Step("export", "all", folder / dtype / "all.safetensors", export=True)
    return Workload("Synthetic ViT-L/16", dtype, (*steps, export), floor=True)


def series(folder: Path, dtype: str) -> Workload:
    """Ten versions after the first, each made from the one before."""
    files = _numbered(folder / dtype)
    first, *rest = [Step("first commit", path.stem, path) for path in files]
    steps = [dataclasses.replace(step, row="ten commits in a row") for step in rest]
    last = Step("export of the tenth", files[-1].stem, files[-1], export=True)
    return Workload("Ten versions in a row", dtype, (first, *steps, last), long=True)


def real(folder: Path, dtype: str) -> Workload:
    """A real model and its fine-tunes, each made from it."""
    base, *tuned = _numbered(folder / dtype)
    row = "1 fine-tune" if len(tuned) == 1 else f"{len(tuned)} fine-tunes"
    steps = [Step(row, path.stem, path, parent=base.stem) for path in tuned]
    last = Step("export of the last", tuned[-1].stem, tuned[-1], export=True)
    return Workload(REAL + folder.name, dtype, (Step("the base", base.stem, base), *steps, last))


def _numbered(folder: Path) -> list[Path]:
    return sorted(folder.glob("v*.safetensors"), key=lambda path: int(path.stem[1:]))
