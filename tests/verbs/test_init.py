"""Beginning a repository: with weights from a file, random ones, or none, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wvc.errors import BadFile, ModelProblem, RepositoryExists, UsageError, WvcError
from wvc.repo import sources
from wvc.repo.repository import Repository
from wvc.verbs.commit import commit_weights
from wvc.verbs.describe import describe
from wvc.verbs.import_ import Foundation, import_weights
from wvc.verbs.init import init
from wvc.weights import Weights


def saved(path: Path, **tensors: torch.Tensor) -> Path:
    save_file(tensors, path)
    return path


def digits_file(path: Path, outputs: int = 10) -> Path:
    repository = init(path.parent / f"source{outputs}", Foundation("digits_cnn", random=1))
    held = Weights.of(repository, repository.manifest(repository.head()))
    tensors = {name: held[name].clone() for name in held}
    tensors["head.weight"], tensors["head.bias"] = torch.zeros(outputs, 128), torch.zeros(outputs)
    save_file(tensors, path)
    return path


def test_random_weights_are_a_function_of_the_seed(tmp_path: Path):
    made = [
        init(tmp_path / name, Foundation("digits_cnn", random=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]

    weights = [repository.head().weights for repository in made]
    assert weights[0] == weights[1] != weights[2]


def test_a_file_without_an_architecture_is_kept_as_plain_tensors(tmp_path: Path):
    file = saved(tmp_path / "any.safetensors", a=torch.ones(2, 3, dtype=torch.bfloat16))

    repository = init(tmp_path / "zoo", Foundation(weights=file))

    manifest = repository.manifest(repository.head())
    assert manifest.spec is None
    assert [(t.name, t.dtype, t.shape) for t in manifest.tensors] == [("a", "BF16", (2, 3))]


def test_what_fails_leaves_nothing_behind(tmp_path: Path):
    file = saved(tmp_path / "wrong.safetensors", a=torch.ones(2))

    with pytest.raises(ModelProblem, match="do not fit"):
        init(tmp_path / "zoo", Foundation("digits_cnn", weights=file))
    with pytest.raises(BadFile):
        init(tmp_path / "zoo", Foundation(weights=tmp_path / "missing.safetensors"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong.safetensors"]


def test_a_repository_is_not_begun_twice(tmp_path: Path):
    init(tmp_path, Foundation())

    with pytest.raises(RepositoryExists):
        init(tmp_path, Foundation())


def test_without_internet_pretrained_weights_must_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*args: object, **options: object) -> None:
        raise OSError("no internet")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)

    with pytest.raises(ModelProblem) as caught:
        init(tmp_path / "zoo", Foundation("resnet18"))

    assert "--weights" in str(caught.value.hint)


def test_a_key_needs_a_file(tmp_path: Path):
    with pytest.raises(UsageError):
        init(tmp_path / "zoo", Foundation("digits_cnn", random=0, key="ema"))


def test_a_checkpoint_is_a_foundation(tmp_path: Path):
    torch.save({"ema": {"w": torch.ones(2)}, "raw": {"w": torch.zeros(2)}}, tmp_path / "x.pt")

    repository = init(tmp_path / "zoo", Foundation(weights=tmp_path / "x.pt", key="ema"))

    assert repository.head().how == {"kind": "import", "format": "pytorch", "key": "ema"}
    held = Weights.of(repository, repository.manifest(repository.head()))
    assert held["w"].tolist() == [1, 1]


def test_random_and_a_file_exclude_each_other(tmp_path: Path):
    with pytest.raises(UsageError):
        init(tmp_path / "zoo", Foundation("digits_cnn", weights=tmp_path / "x", random=0))


def test_an_import_is_a_history_of_its_own(tmp_path: Path):
    repository = init(tmp_path / "zoo", Foundation("digits_cnn", random=0))
    file = digits_file(tmp_path / "d.safetensors")

    with sources.open(file) as source:
        made = import_weights(repository, source, "refs/heads/other", "other", describe("digits_cnn", source))

    assert made.parents == () and repository.manifest(made).spec.outputs == 10


def test_weights_trained_elsewhere_continue_head(tmp_path: Path):
    repository = init(tmp_path / "zoo", Foundation("digits_cnn", random=0))
    before = repository.head()

    made = commit_weights(repository, digits_file(tmp_path / "d.safetensors"), "elsewhere")

    assert made.parents[0].commit == before.id
    assert repository.manifest(made).spec == repository.manifest(before).spec


def test_another_width_of_the_head_clears_the_classes(tmp_path: Path):
    repository = init(tmp_path / "zoo", Foundation("digits_cnn", random=0))

    made = commit_weights(repository, digits_file(tmp_path / "d.safetensors", outputs=4), "four classes")

    spec = repository.manifest(made).spec
    assert spec.outputs == 4 and spec.classes is None


def test_another_model_is_refused(tmp_path: Path):
    repository = init(tmp_path / "zoo", Foundation("digits_cnn", random=0))

    with pytest.raises(WvcError, match="do not fit"):
        commit_weights(repository, saved(tmp_path / "x.safetensors", a=torch.ones(2)), "no")
    assert Repository(tmp_path / "zoo").head().kind == "create"
