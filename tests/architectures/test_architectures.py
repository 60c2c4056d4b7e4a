from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from wvc import architectures
from wvc.errors import ModelProblem
from wvc.repo.objects import ModelSpec


@pytest.fixture
def spec() -> ModelSpec:
    return architectures.describe("digits_cnn")


@pytest.fixture
def state(spec: ModelSpec) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return architectures.build(spec).state_dict()


def test_a_near_miss_is_answered_with_what_was_meant():
    for wrong in ("mobilenetv2", "torchvision/mobilenet_v22", "timm/mobilenet_v2_x"):
        with pytest.raises(ModelProblem) as caught:
            architectures.describe(wrong)
        assert "mobilenet_v2" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "/", "../digits/digits_cnn", "_heads/x", "digits/../x"])
def test_a_strange_name_is_only_unknown(name: str, spec: ModelSpec):
    with pytest.raises(ModelProblem, match="unknown architecture"):
        architectures.build(replace(spec, architecture=name))


def test_the_head_is_named():
    heads = {
        "resnet18": "fc",
        "mobilenet_v2": "classifier.1",
        "squeezenet1_0": "classifier.1",
        "densenet121": "classifier",
        "vit_b_16": "heads.head",
        "vgg11": "classifier.6",
        "inception_v3": "fc",
        "digits_cnn": "head",
    }

    assert {name: architectures.describe(name).head for name in heads} == heads


def test_published_outputs_and_normalisation():
    resnet, inception = architectures.describe("resnet50"), architectures.describe("inception_v3")

    assert (resnet.outputs, resnet.channels, resnet.classes, resnet.image_size) == (1000, 3, None, None)
    assert resnet.mean == (0.485, 0.456, 0.406)
    assert inception.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "own", "size"),
    [("resnet18", None, 224), ("resnet18", 64, 64), ("inception_v3", None, 299), ("inception_v3", 64, 299),
     ("vit_b_16", 64, 224), ("vit_b_16", 448, 224), ("digits_cnn", None, 16), ("digits_cnn", 28, 28)],
)  # fmt: skip
def test_image_size_is_the_images_own_where_it_fits(name: str, own: int | None, size: int):
    spec = architectures.describe(name, 2)

    assert architectures.image_size(spec, own) == size
    assert architectures.image_size(replace(spec, image_size=96), own) == 96


def test_a_transformer_is_built_for_its_image_size():
    spec = replace(architectures.describe("vit_b_32", 2), image_size=64)

    with torch.device("meta"):
        assert architectures.build(spec)(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_tensors_become_float32(spec: ModelSpec, state: dict[str, Tensor], dtype: torch.dtype):
    loaded = architectures.load(spec, {name: tensor.to(dtype) for name, tensor in state.items()})

    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(loaded.get_parameter("head.weight"), state["head.weight"].to(dtype).float())


def test_integer_buffers_stay_integers_and_missing_counters_are_zero():
    spec = architectures.describe("resnet18", 2)
    state = architectures.build(spec).state_dict()
    state["bn1.num_batches_tracked"] += 2**40 + 1
    del state["layer1.0.bn1.num_batches_tracked"]

    loaded = architectures.load(spec, state).state_dict()

    assert loaded["bn1.num_batches_tracked"].item() == 2**40 + 1
    assert loaded["layer1.0.bn1.num_batches_tracked"].item() == 0


def test_auxiliary_heads_are_ignored():
    spec = architectures.describe("googlenet", 4)
    published = torchvision.models.googlenet(num_classes=4, init_weights=True).state_dict()

    architectures.load(spec, published)

    assert any(name.startswith("aux1.") for name in published)
    assert architectures.infer_outputs("googlenet", {name: tuple(t.shape) for name, t in published.items()}) == 4


def test_weights_that_do_not_fit_are_named_at_most_five_times(spec: ModelSpec, state: dict[str, Tensor]):
    wrong = {f"module.{name}": tensor for name, tensor in state.items()}
    wider = replace(spec, outputs=12)

    with pytest.raises(ModelProblem, match=r"no features.0.weight, .* and 23 more") as caught:
        architectures.load(spec, wrong)
    assert caught.value.message.count(", ") == 4
    with pytest.raises(ModelProblem, match=r"head.weight is 10x128 instead of 12x128"):
        architectures.load(wider, state)


def test_outputs_cannot_be_inferred_from_another_architecture(state: dict[str, Tensor]):
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}

    with pytest.raises(ModelProblem, match="do not fit torchvision/resnet18"):
        architectures.infer_outputs("resnet18", shapes)
    for shape in ((), (0, 128), (10,)):
        with pytest.raises(ModelProblem):
            architectures.infer_outputs("digits_cnn", shapes | {"head.weight": shape})


def test_without_a_network_published_weights_are_an_error_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    with pytest.raises(ModelProblem, match="cannot download the weights of resnet50") as caught:
        architectures.pretrained("resnet50")
    assert "--weights FILE" in str(caught.value.hint)


def test_published_weights_are_the_first_ones_and_fit(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def published(self: object, **kwargs: object) -> dict[str, Tensor]:
        asked.append(str(self))
        return torchvision.models.mobilenet_v2().state_dict()

    monkeypatch.setattr(torchvision.models.MobileNet_V2_Weights, "get_state_dict", published)

    state, classes = architectures.pretrained("mobilenet_v2")

    assert asked == ["MobileNet_V2_Weights.IMAGENET1K_V1"]
    assert (len(classes), classes[0]) == (1000, "tench")
    architectures.load(architectures.describe("mobilenet_v2"), state)


def test_the_small_net_has_no_published_weights():
    with pytest.raises(ModelProblem, match="no published weights"):
        architectures.pretrained("digits_cnn")


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_0"])
def test_real_weights_load_strictly_and_into_torchvision(real_data: Path, name: str):
    tensors = load_file(real_data / "weights" / f"{name}_imagenet.safetensors")
    spec = architectures.describe(name)

    model = architectures.load(spec, tensors).eval()

    theirs = torchvision.models.get_model(name)
    theirs.load_state_dict(model.state_dict())
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(theirs.eval()(batch), model(batch))
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    assert architectures.infer_outputs(name, shapes) == 1000
