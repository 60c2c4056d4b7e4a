"""Weights from elsewhere on top of HEAD: they must fit its model, and resemble its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wvc.errors import ModelProblem, WvcError
from wvc.repo.export import Options, export
from wvc.repo.repository import Repository
from wvc.verbs.commit import commit_weights
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import init
from wvc.weights import Weights

State = dict[str, torch.Tensor]


def state(repository: Repository) -> State:
    held = Weights.of(repository, repository.manifest(repository.head()))
    return {name: held[name].clone() for name in held}


def commit(repository: Repository, tensors: Mapping[str, torch.Tensor], name: str = "new.safetensors") -> Repository:
    save_file(dict(tensors), repository.path / name, {"format": "pt"})
    commit_weights(repository, repository.path / name, "new")
    return repository


@pytest.fixture
def zoo(tmp_path: Path) -> Repository:
    """HEAD is a digits network."""
    return init(tmp_path / "zoo", Foundation("digits_cnn", random=0))


@pytest.fixture
def normed(tmp_path: Path) -> Repository:
    """HEAD is a network with BatchNorm."""
    return init(tmp_path / "zoo", Foundation("resnet18", random=0))


def test_weights_in_another_precision_fit(zoo):
    commit(zoo, {name: tensor.bfloat16() for name, tensor in state(zoo).items()})

    assert {t.dtype for t in zoo.manifest(zoo.head()).tensors} == {"BF16"}
    assert zoo.manifest(zoo.head()).spec is not None


@pytest.mark.parametrize("width", [3, 1000])
def test_another_width_of_the_head_is_taken_from_its_weight(zoo, width):
    spec = zoo.manifest(zoo.head()).spec
    features = state(zoo)["head.weight"].shape[1]
    commit(zoo, state(zoo) | {"head.weight": torch.zeros(width, features), "head.bias": torch.zeros(width)})

    after = zoo.manifest(zoo.head()).spec
    assert (after.outputs, after.classes, after.head) == (width, None, spec.head)


MISFITS = {
    "a bias of another width": ({"head.weight": (4, 128)}, "head.bias is 10 instead of 4"),
    "a head for other features": ({"head.weight": (10, 64)}, "head.weight is 10x64 instead of 10x128"),
    "a head without dimensions": ({"head.weight": ()}, "head.weight is a scalar instead of 10x128"),
    "one tensor too many": ({"extra": (1,)}, "unexpected extra"),
    "no head": ({"head.weight": None}, "no head.weight"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_named(zoo, case):
    changes, text = MISFITS[case]
    tensors = state(zoo)
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)

    with pytest.raises(ModelProblem, match="do not fit digits/digits_cnn") as caught:
        commit(zoo, tensors)

    assert text in caught.value.message and "wvc import" in str(caught.value.hint)


def test_counters_of_batches_may_come_and_go(normed):
    tensors = state(normed)
    bare = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}

    commit(normed, bare)
    commit(normed, tensors)

    assert len(normed.manifest(normed.head()).tensors) == len(tensors)


def test_plain_tensors_may_become_any_others(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    repository = init(tmp_path / "zoo", Foundation(weights=tmp_path / "a.safetensors"))

    commit(repository, {"b": torch.zeros(3)})

    assert [t.name for t in repository.manifest(repository.head()).tensors] == ["b"]


def packs(repository: Repository) -> int:
    return sum(path.stat().st_size for path in (repository.folder / "packs").iterdir())


def test_a_fine_tuned_tensor_is_stored_as_a_difference(tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(300, 1000)
    save_file({"w": weight}, tmp_path / "a.safetensors")
    repository = init(tmp_path / "zoo", Foundation(weights=tmp_path / "a.safetensors"))
    before = packs(repository)

    commit(repository, {"w": weight * (1 + 1e-6 * torch.randn_like(weight))})

    assert packs(repository) - before < 0.7 * weight.nbytes


def folder(path: Path, tensors: State, **sides: str) -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    for name, text in sides.items():
        (path / f"{name}.json").write_text(text)
    return path


def names(repository: Repository) -> list[str]:
    return [name for name, _ in repository.manifest(repository.head()).files]


def test_a_folder_takes_the_place_of_the_side_files_and_a_file_of_the_weights_only(tmp_path):
    tensors = {"w": torch.ones(2)}
    repository = init(tmp_path / "zoo", Foundation(weights=folder(tmp_path / "a", tensors, config="{}", old="{}")))
    commit_weights(repository, folder(tmp_path / "b", tensors, config="{1}"), "a folder")
    assert names(repository) == ["config.json", "model.safetensors.header"]
    assert repository.head().how == {"kind": "import", "format": "hf"}

    commit(repository, {"w": torch.zeros(2)})
    export(repository, repository.manifest(repository.head()), tmp_path / "out", Options("hf"))

    assert names(repository) == ["config.json", "model.safetensors.header"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (repository.path / "new.safetensors").read_bytes()
    assert (tmp_path / "out" / "config.json").read_text() == "{1}"


def test_a_checkpoint_keeps_the_files_that_the_weights_lay_in(tmp_path):
    came = folder(tmp_path / "a", {"w": torch.ones(2), "v": torch.ones(3)}, config="{}")
    repository = init(tmp_path / "zoo", Foundation(weights=came))
    torch.save({"w": torch.zeros(2), "v": torch.ones(3)}, tmp_path / "x.pt")

    commit_weights(repository, tmp_path / "x.pt", "from torch")
    export(repository, repository.manifest(repository.head()), tmp_path / "out", Options("hf"))

    assert repository.head().how == {"kind": "import", "format": "pytorch"}
    before, after = ((path / "model.safetensors").read_bytes() for path in (came, tmp_path / "out"))
    assert len(before) == len(after) and before[: -5 * 4] == after[: -5 * 4] and before != after


def test_side_files_that_cannot_lie_beside_those_of_head_are_refused(tmp_path):
    came = folder(tmp_path / "a", {"w": torch.ones(2)}, config="{}")
    (came / "model.SAFETENSORS.header").touch()
    repository = init(tmp_path / "zoo", Foundation(weights=tmp_path / "a" / "model.safetensors"))
    assert names(repository) == ["model.safetensors.header"]

    with pytest.raises(WvcError, match="only by case"):
        commit_weights(repository, came, "no")
