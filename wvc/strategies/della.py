"""Drop changes at random, small ones more often than large ones, and merge what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from wvc.dtypes import Array
from wvc.errors import UsageError
from wvc.strategies._blended import Blend, blended
from wvc.strategies._consensus import Consensus, fused, moved, weighted
from wvc.strategies._draws import ONE, Draws, draws, norm_ratios
from wvc.strategies._models import Chunk, Models, Stack
from wvc.strategies._ranges import check_choice, check_density
from wvc.strategies._rows import Ranks, Spans
from wvc.weights import Weights

Rescale = Literal["element", "norm", "none"]


def merge(
    models: Models,
    base: Weights,
    *,
    density: float = 0.5,
    epsilon: float = 0.15,
    rescale: Rescale = "element",
    consensus: Consensus = "ties",
    scale: Fraction = Fraction(1),
    seed: int = 0,
    normalize: bool = True,
) -> Weights:
    r"""Return $\theta_0 + \lambda \tau$, where $\tau$ is made of all $w_i m_i (\theta_i - \theta_0) / p_i$.

    Masks $m_i$ are 1 with probability $p_i$, which rises evenly by rank from density - epsilon for the smallest
    magnitude of a row to density + epsilon for the largest. A row is what belongs to one index of the first axis (the
    weights of an output); a tensor with one axis is one row. In rows of more than 2^18 elements, magnitudes that
    differ by less than 1 % may share a rank. What is drawn depends on the seed, the model, the tensor's name and the
    element's index alone. $w_i$, the coefficients, are 1 each by default.

    density: the mean probability that a change is kept, in (0, 1]; 1 keeps all.
    epsilon: half of the range of probabilities, as in mergekit (the paper's is all of it), 0 or more.
    rescale: divide by p_i (element, paper), or keep the sum of magnitudes of each tensor (norm, mergekit), or none.
    consensus: fuse what has the sign that is elected for its element (ties), or add up all that is kept (none).
    scale: $\lambda$, any fraction.
    seed: of the draws, any integer.
    normalize: divide by the sum of the weights; with consensus=ties, of the models that agree.

    Deep et al., DELLA-Merging, 2024, https://arxiv.org/abs/2406.11617
    """
    check_density(density)
    if not epsilon >= 0 or (density < 1 and not 0 < density - epsilon <= density + epsilon < 1):
        raise UsageError(
            f"density {density} and epsilon {epsilon} do not fit",
            "density - epsilon and density + epsilon are probabilities, between 0 and 1; epsilon=0.15 is usual",
        )
    check_choice("rescale", rescale, Rescale)
    check_choice("consensus", consensus, Consensus)
    fuse = fused(models, consensus, normalize=normalize)

    def rule(stack: Stack) -> Blend:
        pruned = _Pruned(Ranks(stack), draws(models, stack, seed), density, epsilon, rescale == "element")
        factors = [1.0] * len(models)
        if rescale == "norm":
            factors = norm_ratios((chunk.deltas, pruned(chunk)) for chunk in pruned.ranks.chunks())

        def change(chunk: Chunk) -> Array:
            return fuse(weighted(pruned(chunk), factors))

        spans = Spans(stack, pruned.ranks, change)
        return lambda chunk: moved(chunk.origin, spans.read(chunk.start, chunk.start + len(chunk.origin)), scale)

    return blended(models, base, rule, drops=True)


@dataclass(frozen=True)
class _Pruned:
    """What is left of the changes in a span. divides: by the probabilities."""

    ranks: Ranks
    drawn: Sequence[Draws]
    density: float
    epsilon: float
    divides: bool

    def __call__(self, chunk: Chunk) -> list[Array]:
        if self.density == 1:
            return list(chunk.deltas)
        return [self._model(i, chunk.start, change) for i, change in enumerate(chunk.deltas)]

    def _model(self, i: int, start: int, change: Array) -> Array:
        chances = self.density - self.epsilon + 2 * self.epsilon * self.ranks.of(i, start, change)
        change *= self.drawn[i](start, start + len(change)) < chances * ONE
        if self.divides:
            change /= chances.astype(change.dtype)
        return change
