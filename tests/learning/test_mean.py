"""The running mean, against sums of all models at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wvc.learning.mean import Mean


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_running_mean_is_the_average(dtype, count):
    numbers = [torch.from_numpy(np.random.default_rng(seed).normal(size=300)).to(dtype) for seed in range(count)]
    mean = Mean()
    for seed, some in enumerate(numbers):
        mean = mean.plus({"w": some, "n": torch.tensor(seed)})

    found = mean.weights()

    wide = np.float64 if dtype == torch.float32 else np.float32
    average = np.add.reduce([some.to(torch.float64).numpy().astype(wide) for some in numbers]) / wide(count)
    assert mean.count == count
    assert torch.equal(found["w"], torch.from_numpy(average).to(dtype))
    assert found["n"].item() == 0  # the first that was added gives what is not averaged


def test_a_running_mean_grows_without_changing_the_one_before():
    one, two = {"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}
    before = Mean().plus(one)

    after = before.plus(two)

    assert (before.weights()["w"].item(), after.weights()["w"].item()) == (1.0, 2.0)
    assert one["w"].item() == 1.0
