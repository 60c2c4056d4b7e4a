"""DomainBed's convolutional network for MNIST, grey or coloured."""

from __future__ import annotations

from torch import Tensor, nn

from wvc.architectures import Card
from wvc.errors import ModelProblem

CHANNELS = {"mnist_cnn": 1, "mnist_cnn_colored": 2}
WIDTH = 128


class MnistNet(nn.Module):
    """Four 3x3 convolutions, the mean over places, then a linear head: (B, channels, H, W) -> (B, outputs).

    Gulrajani and Lopez-Paz, In search of lost domain generalization, 2021, https://arxiv.org/abs/2007.01434, appendix
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(channels, 64),
            *_block(64, WIDTH, stride=2),
            *_block(WIDTH, WIDTH),
            *_block(WIDTH, WIDTH),
            nn.AdaptiveAvgPool2d(1),  # (B, 128, 1, 1)
            nn.Flatten(),
        )
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def names() -> list[str]:
    return list(CHANNELS)


def card(name: str) -> Card:
    channels = CHANNELS[name]
    outputs = 10 if channels == 1 else 2
    return Card(outputs=outputs, image_size=28, smallest=4, mean=(0.0,) * channels, std=(1.0,) * channels)


def build(name: str, outputs: int, image_size: int | None) -> nn.Module:
    return MnistNet(CHANNELS[name], outputs)


def pretrained(name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    raise ModelProblem(f"{name} has no published weights", "start from random ones: `wvc init --random`")


def _block(channels: int, wider: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, wider, 3, stride, padding=1), nn.ReLU(), nn.GroupNorm(8, wider)
