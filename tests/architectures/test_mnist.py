from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wvc import architectures
from wvc.errors import ModelProblem


@pytest.mark.parametrize(("name", "channels", "outputs"), [("mnist_cnn", 1, 10), ("mnist_cnn_colored", 2, 2)])
def test_it_is_domainbeds_network(name: str, channels: int, outputs: int):
    torch.manual_seed(0)
    model = architectures.build(architectures.describe(name)).eval()
    images = torch.rand(3, channels, 28, 28)

    with torch.no_grad():
        logits = model(images)

    numbers = list(model.state_dict().values())
    hidden = images
    for i, stride in enumerate((1, 2, 1, 1)):
        weight, bias, scale, shift = numbers[4 * i : 4 * i + 4]
        hidden = F.group_norm(F.relu(F.conv2d(hidden, weight, bias, stride, padding=1)), 8, scale, shift)
    assert hidden.shape == (3, 128, 14, 14)
    assert torch.allclose(logits, F.linear(hidden.mean((2, 3)), *numbers[16:]), atol=1e-5)
    assert logits.shape == (3, outputs)
    convolutions = 9 * (channels * 64 + 64 * 128 + 2 * 128 * 128)
    biases_and_norms = 3 * (64 + 3 * 128)
    assert sum(n.numel() for n in numbers) == convolutions + biases_and_norms + 128 * outputs + outputs


def test_there_are_no_published_weights():
    with pytest.raises(ModelProblem, match="no published weights"):
        architectures.pretrained("mnist_cnn")
