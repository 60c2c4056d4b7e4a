"""The tools that merging.py compares, and how each spells a merge.

What is timed is the list of commands that `merge` or `export` returns; everything else here happens off the clock.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from storage_tools import Commands, Tool, installed, wvc_program

HERE = Path(__file__).parent
RESULT = "merged"  # the branch, and the stem of files
TYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Method:
    """One merge. models: fine-tunes. based: it reads the model that they were made from, v0, as well.

    options: of `wvc merge`, after the models. config: of mergekit, beside the models.
    """

    models: tuple[str, ...]
    based: bool
    options: tuple[str, ...]
    config: Mapping[str, Any]

    def read(self) -> tuple[str, ...]:
        """Names of all models that are read, v0 first."""
        return (("v0",) if self.based else ()) + self.models


ALL = ("a", "b", "c", "d")
# Options of wvc say what mergekit does where its own default is another: trimming per tensor; extrapolation where the
# changes oppose one another, as those of random fine-tunes do in every second tensor.
METHODS = {
    "linear": Method(
        ALL,
        False,
        ("--strategy", "linear"),
        {"merge_method": "linear", "parameters": {"weight": 1.0}},
    ),
    "ties": Method(
        ALL,
        True,
        ("--strategy", "ties", "-o", "density=0.2", "-o", "trim=tensor", "-o", "scale=1"),
        {"merge_method": "ties", "parameters": {"weight": 1.0, "density": 0.2}},
    ),
    "slerp": Method(
        ("a", "b"),
        False,
        ("--strategy", "slerp"),
        {"merge_method": "slerp", "parameters": {"t": 0.5}},
    ),
    "model-stock": Method(
        ALL,
        True,
        ("--strategy", "model-stock", "-o", "opposed=extrapolate"),
        {"merge_method": "model_stock"},
    ),
}


class Wvc(Tool):
    """wvc: v0 and its fine-tunes on branches of a repository; each merge finds it as if there had been none before."""

    name = "wvc"

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.file = self.result.with_name(f"{RESULT}.safetensors")

    def prepare(self, folder: Path, method: str) -> None:
        """Have a repository of the models in `folder`, on a new branch from main, with nothing merged."""
        self.folder = self.folder.parent / f"wvc-{folder.parent.name}-{folder.name}"
        saved = self.folder.with_name(f"{self.folder.name}-saved")
        if not saved.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._do(wvc_program(), "init", "--weights", str(folder / "v0.safetensors"))
            for name in ALL:
                self._do(wvc_program(), "switch", "--create", name, "main")
                self._do(wvc_program(), "commit", "--weights", str(folder / f"{name}.safetensors"), "-m", name)
            _link(self.folder, saved)
        shutil.rmtree(self.folder)
        _link(saved, self.folder)
        self._do(wvc_program(), "switch", "--create", RESULT, "main")
        self.file.parent.mkdir(exist_ok=True)
        self.file.unlink(missing_ok=True)

    def merge(self, folder: Path, method: str) -> Commands:
        return [[wvc_program(), "merge", *METHODS[method].models, *METHODS[method].options, "-m", RESULT]]

    def write(self) -> Commands:
        return [[wvc_program(), "export", RESULT, str(self.file)]]

    def conventions(self, dtype: str) -> dict[str, Any]:
        """What the oracle must know."""
        return {"cut": "all", "compare": "F32", "floor": 0.0}


def _link(source: Path, target: Path) -> None:
    """A copy of a repository that shares its packs, which nobody writes to."""

    def copy(old: str, new: str) -> None:
        if Path(old).parent.name == "packs":
            Path(new).hardlink_to(old)
        else:
            shutil.copy2(old, new)

    shutil.copytree(source, target, copy_function=copy)


class Mergekit(Tool):
    """mergekit on raw files, in the dtype that they have, as it does by default."""

    name = "mergekit"
    packages = ("mergekit==0.1.5",)
    wide: ClassVar[bool] = False

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.environment = work / "peers" / "mergekit"
        self.env |= {"HF_HUB_OFFLINE": "1"}
        self.file = self.folder / RESULT / "model.safetensors"

    def version(self) -> str:
        return installed(self, "mergekit")

    def prepare(self, folder: Path, method: str) -> None:
        self.begin()
        found = METHODS[method]
        config: dict[str, Any] = {**found.config, "models": [_model(folder, name) for name in found.models]}
        if found.based:
            config["base_model"] = _model(folder, "v0")["model"]
        if method == "slerp":
            config["base_model"] = _model(folder, found.models[0])["model"]
        if self.wide:
            config |= {"dtype": "float32", "out_dtype": TYPES[folder.name]}
        (self.folder / "config.yml").write_text(json.dumps(config, indent=1))  # JSON is YAML

    def merge(self, folder: Path, method: str) -> Commands:
        return [[self._bin("mergekit-pytorch"), "config.yml", RESULT]]

    def write(self) -> Commands:
        """It has written a file."""
        return []

    def conventions(self, dtype: str) -> dict[str, Any]:
        narrow = dtype == "bf16" and not self.wide
        return {"cut": "any", "compare": "BF16" if narrow else "F32", "floor": 1e-6}


def _model(folder: Path, name: str) -> dict[str, str]:
    return {"model": str(folder / f"{name}.safetensors")}


class WideMergekit(Mergekit):
    """mergekit told to compute in fp32, which changes nothing for fp32."""

    name = "mergekit, dtype float32"
    wide = True


class Naive(Tool):
    """A script that loads all models and does what the formula says."""

    name = "naive script"

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.file = self.folder / f"{RESULT}.safetensors"

    def version(self) -> str:
        return "torch " + self._ask(sys.executable, "-c", "import torch; print(torch.__version__)")

    def prepare(self, folder: Path, method: str) -> None:
        self.begin()

    def merge(self, folder: Path, method: str) -> Commands:
        paths = [str(folder / f"{name}.safetensors") for name in METHODS[method].read()]
        return [[sys.executable, str(HERE / "merging_naive.py"), method, str(self.file), *paths]]

    def write(self) -> Commands:
        return []

    def conventions(self, dtype: str) -> dict[str, Any]:
        return {"cut": "all", "compare": {"fp32": "F32", "bf16": "BF16"}[dtype], "floor": 0.0}
