"""A small convolutional network for 16x16 digits, to try things in seconds."""

from __future__ import annotations

from torch import Tensor, nn

from wvc.architectures import Card
from wvc.errors import ModelProblem

NAME = "digits_cnn"


class DigitsNet(nn.Module):
    """Three 3x3 convolutions of 8, 16 and 32 channels, then a linear head: (B, 1, H, W) -> (B, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(1, 8),
            nn.MaxPool2d(2),
            *_block(8, 16),
            nn.MaxPool2d(2),
            *_block(16, 32),
            nn.AdaptiveAvgPool2d(2),  # (B, 32, 2, 2)
            nn.Flatten(),
        )
        self.head = nn.Linear(128, outputs)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def names() -> list[str]:
    return [NAME]


def card(name: str) -> Card:
    return Card(outputs=10, image_size=16, smallest=4, mean=(0.0,), std=(1.0,))


def build(name: str, outputs: int, image_size: int | None) -> nn.Module:
    return DigitsNet(outputs)


def pretrained(name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    raise ModelProblem(f"{name} has no published weights", "start from random ones and train on the source digits")


def _block(channels: int, wider: int) -> tuple[nn.Module, ...]:
    """GroupNorm rather than BatchNorm: no running statistics that averaging weights would spoil."""
    return nn.Conv2d(channels, wider, 3, padding=1), nn.GroupNorm(4, wider), nn.ReLU()
