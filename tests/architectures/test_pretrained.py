"""Published weights, through torchvision's own loading code, from files in its cache."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
import torchvision

from wvc import architectures
from wvc.errors import ModelProblem

URL = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision looks before it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / URL.rsplit("/", 1)[1]


def test_published_weights_come_with_their_class_names(cached: Path):
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save(state, cached)

    found, classes = architectures.pretrained("squeezenet1_1")

    assert len(classes) == 1000 and classes[0] == "tench"
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_file_that_would_run_code_is_refused_and_runs_none(cached: Path, tmp_path: Path):
    with cached.open("wb") as file:
        pickle.dump(Trap(tmp_path / "ran"), file, protocol=2)

    with pytest.raises(ModelProblem):
        architectures.pretrained("squeezenet1_1")

    assert not (tmp_path / "ran").exists()
