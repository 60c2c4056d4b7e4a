"""Ensembles: several models answer, and the mean of their logits or of their probabilities decides."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from wvc.errors import ModelProblem
from wvc.learning.evaluate import BATCH, SMALLER, evaluating, inference, parts
from wvc.learning.memory import advice
from wvc.learning.network import Network, Precision, place
from wvc.learning.pixels import Pixels, hold
from wvc.progress import SILENT, Progress

Space = Literal["logit", "prob"]
Logits = NDArray[np.float32]  # (n, outputs): what a network says of n images
Answers = NDArray[np.float64]  # (n, classes), or (n, 1) for the logits of networks with one output

SPACES: tuple[Space, ...] = ("logit", "prob")


class Ensemble:
    """The uniform mean of what models answer to the same images, held as one sum, however many they are.

    Sums are in float64. Where it could matter, in the last bit, the order is the caller's to fix.

    Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482, "logit ensembles"; Ramé et al., Model
    ratatouille, 2023, https://arxiv.org/abs/2212.10445
    """

    def __init__(self, space: Space = "logit") -> None:
        self.space = space
        self.models = 0
        self._sum: Answers | None = None

    def add(self, logits: Logits) -> None:
        """One more model. Raises ModelProblem where it answers for other images or other classes."""
        answers = probabilities(logits) if self.space == "prob" else logits.astype(np.float64)
        if self._sum is None:
            self._sum = answers
        elif self._sum.shape != answers.shape:
            raise ModelProblem(f"answers of {answers.shape} do not go with answers of {self._sum.shape}")
        else:
            self._sum += answers
        self.models += 1

    def mean(self) -> Answers:
        """Mean logits, or mean probabilities: (n, classes). Raises ModelProblem where there is no model."""
        return self._total() / self.models

    def decisions(self) -> NDArray[np.int64]:
        """The class of each image, (n,): the largest mean, the lowest class among equals.

        A single column, of logits, decides by its sign: class 1 if > 0, as in an evaluation. Raises as `mean` does.
        """
        total = self._total()  # decides as the mean does; the division could make equals of what is not
        return (total[:, 0] > 0).astype(np.int64) if total.shape[1] == 1 else total.argmax(axis=1)

    def _total(self) -> Answers:
        if self._sum is None:
            raise ModelProblem("an ensemble of no models decides nothing")
        return self._sum


def probabilities(logits: Logits) -> Answers:
    r"""$p_c = e^{z_c} / \sum_k e^{z_k}$, (n, classes); one output $z$ stands for two, $(0, z)$: its sigmoid."""
    scores = logits.astype(np.float64)
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Answers = powers / powers.sum(axis=1, keepdims=True)
    return shares


def logits(
    network: Network,
    pixels: Pixels,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    batch_size: int = BATCH,
    progress: Progress = SILENT,
) -> Logits:
    """What the network says of all images, one at least, in their order: in eval mode, as `measure` has it."""
    found: list[torch.Tensor] = []
    progress.start("evaluating", len(pixels), "images")
    try:
        with advice("while evaluating", SMALLER):
            place(network, device)
            hold([pixels], device)
            with evaluating(network), inference(device, precision):
                for positions in parts(len(pixels), batch_size):
                    images, _ = pixels.batch(positions, device)
                    found.append(network(images).float())
                    progress.advance(len(positions))
                said: Logits = torch.cat(found).cpu().numpy()
    finally:
        progress.stop()
    return said
