"""Add up what the models changed of their base."""

from __future__ import annotations

from fractions import Fraction

from wvc.strategies._blended import blended
from wvc.strategies._consensus import normalized, stated
from wvc.strategies._models import Models
from wvc.strategies.linear import weighted_sum
from wvc.weights import Weights


def merge(models: Models, base: Weights, *, scale: Fraction = Fraction(1), normalize: bool = False) -> Weights:
    r"""Return $\theta_0 + \lambda \sum_i w_i (\theta_i - \theta_0)$; a negative weight takes away what a model learnt.

    $w_i$ are the coefficients, 1 each by default.

    scale: $\lambda$, any fraction; the paper tries 0.1 to 1.
    normalize: divide the weights by their sum.

    It is one sum of models and base with exact coefficients, as in `linear`: nothing is subtracted on the way.

    Ilharco et al., Editing models with task arithmetic, 2023, https://arxiv.org/abs/2212.04089
    """
    weights = normalized(stated(models)) if normalize else stated(models)
    shares = [scale * weight for weight in weights]
    return blended(models, base, lambda stack: weighted_sum([*shares, 1 - sum(shares, Fraction(0))], stack))
