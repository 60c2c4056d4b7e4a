"""Ensembles: what several models decide together, against plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from wvc.errors import ModelProblem
from wvc.learning.ensemble import SPACES, Ensemble, Space, logits, probabilities

from .conftest import World

GOLDEN = [[4, 0, 0], [0, 1.5, 0], [0, 1.5, 0]]
# Multiples of 1/8: sums are exact, so that no order may matter.
SOME = arrays(np.float32, (5, 4), elements=st.integers(-80, 80).map(lambda k: k / 8))
COLUMN = arrays(np.float32, (5, 1), elements=st.integers(-80, 80).map(lambda k: k / 8))


def of(members: Sequence[NDArray[np.float32]], space: Space) -> Ensemble:
    made = Ensemble(space)
    for member in members:
        made.add(member)
    return made


def rows(*values: Sequence[float]) -> list[NDArray[np.float32]]:
    """Models that each answer to one image."""
    return [np.array([value], dtype=np.float32) for value in values]


@pytest.mark.parametrize(
    ("space", "mean", "winner"), [("logit", [4 / 3, 1, 0], 0), ("prob", [0.424408, 0.466848, 0.108743], 1)]
)
def test_the_mean_of_logits_and_the_mean_of_probabilities_can_disagree(space: Space, mean: list[float], winner: int):
    found = of(rows(*GOLDEN), space)

    assert found.mean()[0] == pytest.approx(mean, abs=1e-6)
    assert found.decisions().tolist() == [winner]


@given(model=SOME | COLUMN, copies=st.integers(1, 7), space=st.sampled_from(SPACES))
def test_copies_of_a_model_decide_as_the_model_itself(model: NDArray[np.float32], copies: int, space: Space):
    own = [int(row[0] > 0) if len(row) == 1 else row.index(max(row)) for row in model.tolist()]

    assert of([model] * copies, space).decisions().tolist() == own


@given(members=st.lists(SOME, min_size=1, max_size=5), seed=st.integers(0, 100))
def test_the_order_of_the_models_does_not_matter(members: list[NDArray[np.float32]], seed: int):
    shuffled = [members[i] for i in np.random.default_rng(seed).permutation(len(members))]

    assert (of(members, "logit").mean() == of(shuffled, "logit").mean()).all()
    assert of(members, "prob").mean() == pytest.approx(of(shuffled, "prob").mean(), rel=1e-15, abs=1e-15)


def test_among_equals_the_lowest_class_wins():
    tied = rows([1, 3, 0], [2, 0, 3])  # means 1.5, 1.5, 1.5

    assert of(tied, "logit").decisions().tolist() == [0]


def test_a_division_makes_no_equals_of_what_is_not():
    tiny = 2.0**-52
    three = rows([1, 1], [1, 1], [0, 3 * tiny])  # sums 2 and 2 + 3 ulp/2; a third of them: 2/3 twice

    assert of(three, "logit").decisions().tolist() == [1]


@pytest.mark.parametrize(("scores", "by_logit", "by_prob"), [((4, -1.5, -1.5), 1, 0), ((-4, 1.5, 1.5), 0, 1)])
def test_one_output_decides_by_its_sign_or_by_its_sigmoid(scores: tuple[float, ...], by_logit: int, by_prob: int):
    members = rows(*[[score] for score in scores])
    sigmoids = sum(1 / (1 + math.exp(-score)) for score in scores) / 3

    assert of(members, "logit").decisions().tolist() == [by_logit]
    assert of(members, "prob").decisions().tolist() == [by_prob] == [int(sigmoids > 0.5)]
    assert of(members, "prob").mean()[0, 1] == pytest.approx(sigmoids)


def test_huge_logits_are_still_probabilities():
    found = probabilities(np.array([[3e38, -3e38, 0], [-3e38, -3e38, -3e38]], dtype=np.float32))

    assert found == pytest.approx(np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]))


def test_answers_to_other_questions_do_not_go_together():
    with pytest.raises(ModelProblem, match="do not go"):
        of(rows([1, 2], [1, 2, 3]), "logit")
    with pytest.raises(ModelProblem, match="no models"):
        Ensemble().decisions()


def test_logits_are_what_the_network_says_in_eval_mode_in_the_images_order(world: World):
    network, pixels = world.network().train(), world.pixels(11, 3)
    images = torch.tensor(pixels.images / 255, dtype=torch.float32)

    found = logits(network, pixels, device=world.device, batch_size=4)

    assert found.dtype == np.float32
    assert found.shape == (11, 3)
    assert network.training
    with torch.no_grad():
        said = network.eval()(images)
    assert found == pytest.approx(said.numpy(), rel=1e-5)
