"""A shell for stories: commands as a user types them, in one process, so that torch is imported once."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wvc import console
from wvc.main import run


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    out: str
    err: str
    code: int


class Shell:
    """`sh("wvc log")` in a folder of its own; fails the test where a command fails unexpectedly."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def __call__(self, line: str, *, code: int = 0) -> Answer:
        os.chdir(self.folder)
        self._capture.readouterr()
        console.use_json(False)
        ended = run(shlex.split(line)[1:])
        out, err = self._capture.readouterr()
        assert ended == code, f"{line}: exit {ended}\n{out}\n{err}"
        return Answer(out, err, ended)

    def fresh(self, line: str) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own."""
        command = [sys.executable, "-m", "wvc", *shlex.split(line)[1:]]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def cd(self, path: str) -> None:
        self.folder = (self.folder / path).resolve()


@pytest.fixture
def sh(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # good for one command, not for many in one process
    monkeypatch.setenv("WVC_AUTHOR", "ada")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    return Shell(tmp_path, capsys)


def image_tar(path: Path, domains: dict[str, tuple[str, ...]], images: int = 10, size: int = 32) -> Path:
    """A tar of domain/class/image whose classes differ in colour and whose domains differ in brightness."""
    random = np.random.default_rng(0)
    folder = path.with_suffix("")
    for d, (domain, classes) in enumerate(domains.items()):
        for c, name in enumerate(classes):
            place = folder / domain / name
            place.mkdir(parents=True)
            for i in range(images):
                pixels = random.integers(0, 60, (size, size, 3)) + 40 * d
                pixels[:, :, c % 3] += 100
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i}.png")
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=folder.name)
    return path


def random_weights(path: Path, model: torch.nn.Module) -> Path:
    """The state of a model as a safetensors file."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path, {"format": "pt"})
    return path
