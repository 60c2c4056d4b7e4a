"""Every family of torchvision learns a step, and comes back from a repository as torchvision's own model.

The smallest architecture of each; with --long, all of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

import wvc
from wvc import architectures, weights
from wvc.architectures import torchvision as family
from wvc.learning.network import Network, Normalise, reset_head
from wvc.learning.pixels import Pixels
from wvc.learning.settings import Settings
from wvc.learning.train import train
from wvc.repo import commits
from wvc.repo.objects import Manifest, ModelSpec
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import init

SMALLEST = {
    "alexnet": "alexnet", "convnext": "convnext_tiny", "densenet": "densenet121", "efficientnet": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_s", "googlenet": "googlenet", "inception": "inception_v3",
    "maxvit": "maxvit_t", "mnasnet": "mnasnet0_5", "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3_small", "regnet": "regnet_y_400mf", "resnet": "resnet18",
    "resnext": "resnext50_32x4d", "shufflenet": "shufflenet_v2_x0_5", "squeezenet": "squeezenet1_1",
    "swin": "swin_t", "swin_v2": "swin_v2_t", "vgg": "vgg11", "vit": "vit_b_32",
    "wide_resnet": "wide_resnet50_2",
}  # fmt: skip
OTHERS = sorted(set(family.names()) - set(SMALLEST.values()))
STEP = Settings(
    steps=1, evaluate_every=1, batch_size=4, learning_rate=1e-3, augmentation="none", freeze_statistics=False
)


def family_of(name: str) -> str:
    """The longest name of a family that `name` begins with."""
    return max((known for known in SMALLEST if name.startswith(known)), key=len, default="")


def spec_of(name: str) -> ModelSpec:
    """Two classes of small images: 32 pixels, or the smallest that it takes."""
    card = family.card(name)
    side = max(card.smallest, -(-32 // card.multiple) * card.multiple)
    return replace(architectures.describe(name, 2), image_size=side)


def pixels(spec: ModelSpec, n: int) -> Pixels:
    random = np.random.default_rng(n)
    side = spec.image_size
    return Pixels(random.integers(0, 256, (n, 3, side, side), dtype=np.uint8), np.arange(n) % 2)


def kept(path: Path, spec: ModelSpec, state: dict[str, Tensor]) -> nn.Module:
    """The model after it was committed to a new repository at `path` and read from there."""
    repository = init(path, Foundation())
    with repository.batch([tuple(t.shape) for t in state.values()], 200 * len(state) + 20_000) as batch:
        manifest = Manifest(weights.store(batch, state), spec=spec)
        commit = commits.make(repository, manifest, [], "trained", {"kind": "import"})
        commits.put(repository, batch, manifest, commit)
        commits.record(repository, batch, commit, ref=repository.branch, old=None)
    return wvc.load(path)


def theirs(spec: ModelSpec, state: dict[str, Tensor]) -> nn.Module:
    """torchvision's own model with these weights, auxiliary heads off."""
    name, side = spec.architecture.partition("/")[2], spec.image_size
    options: dict[str, object] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        options = {"image_size": side}
    if name.startswith("maxvit_"):
        options = {"input_size": (side, side)}
    model = torchvision.models.get_model(name, num_classes=2, **options)
    versioned = model.state_dict()  # with the versions that MNASNet wants to see
    versioned.update(state)
    model.load_state_dict(versioned)
    return model.eval()


def test_every_architecture_is_of_a_family():
    assert {family_of(name) for name in family.names()} == set(SMALLEST)
    assert all(family_of(name) == known for known, name in SMALLEST.items())


def lively(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """The same with a head that gives other logits than 0, and no layer skipped by chance: all of it learns at once."""
    head = model.get_submodule(spec.head)
    reset_head(head, 0)
    if isinstance(head, nn.Conv2d):  # before a ReLU
        nn.init.ones_(head.bias)
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    return model


@pytest.mark.parametrize("name", [*SMALLEST.values(), *OTHERS])
def test_a_family_learns_a_step_and_comes_back(name: str, tmp_path: Path, request: pytest.FixtureRequest):
    if name in OTHERS and not request.config.getoption("--long"):
        pytest.skip("needs --long")
    spec = spec_of(name)
    torch.manual_seed(0)
    model = lively(architectures.build(spec), spec)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    network = Network.of(model, spec)

    train(network, [pixels(spec, 5)], {"all": pixels(spec, 2)}, STEP, device=torch.device("cpu"))
    state = network.family_state(spec)
    loaded = kept(tmp_path / "zoo", spec, state)

    still = [key for key, tensor in before.items() if torch.equal(tensor, state[key])]
    assert len(still) <= 0.1 * len(before)  # some biases before a normalisation have no gradient
    found = loaded.state_dict()
    assert [key for key in state if not torch.equal(found[key], state[key])] == []
    images = torch.rand(2, 3, spec.image_size, spec.image_size)
    with torch.no_grad():
        normal = Normalise(spec.mean, spec.std)(images)
        logits = loaded(normal)
        assert torch.equal(theirs(spec, state)(normal), logits)
        assert torch.allclose(network.eval()(images), logits, atol=1e-4)
