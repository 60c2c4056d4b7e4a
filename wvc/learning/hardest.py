"""Look at the hardest images first, so that a pass over an average that fails ends early.

An average is rejected as soon as it got more images wrong than the bar leaves room for. Models that share a start get
much the same images wrong; those that most of them got wrong tell soonest, and the decision is that of a whole pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wvc.learning.counts import Metric
from wvc.learning.ensemble import Logits
from wvc.learning.evaluate import parts
from wvc.learning.pixels import Indices, Pixels

Numbers = NDArray[np.int64]


@dataclass
class Difficulty:
    """How often each image was got wrong so far: sums, in which the order of the models has no part.

    metric: what the averages are judged by. Under "macro" an image of a small domain decides more than another.
    """

    metric: Metric = "micro"
    _wrong: dict[str, Numbers] = field(default_factory=dict)
    _seen: dict[str, Numbers] = field(default_factory=dict)

    def add(self, record: Mapping[str, NDArray[np.int8]]) -> None:
        """One pass, whole or not: domain -> for each image 1 if right, 0 if wrong, -1 if not seen."""
        for domain, results in record.items():
            self._note(domain, results == 0, results >= 0)

    def add_logits(self, domain: str, logits: Logits, labels: NDArray[np.int64]) -> None:
        """What a model says of all images of a domain, (n, outputs), and their labels, (n,)."""
        decisions = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
        self._note(domain, decisions != labels, np.ones(len(labels), dtype=np.bool_))

    def order(self, domains: Mapping[str, Pixels], batch_size: int) -> list[tuple[str, Indices]]:
        """All images once, as batches for `measure`: the same number of each size as without an order.

        Each is of one domain, where the image that went wrong most often comes first (the first of equals); the batch
        with the most errors to expect is the first of all.
        """
        batches: list[tuple[str, Indices]] = []
        errors: list[float] = []
        for name, pixels in domains.items():
            expected = self._expected(name, len(pixels))
            hardest = np.argsort(-expected, kind="stable")
            for part in parts(len(pixels), batch_size):
                batch = hardest[part]
                batches.append((name, batch))
                errors.append(float(expected[batch].sum()) / (len(pixels) if self.metric == "macro" else 1))
        return [batches[i] for i in np.argsort(-np.array(errors), kind="stable")]

    def _expected(self, domain: str, n: int) -> NDArray[np.float64]:
        r"""$(w_i + p) / (s_i + 1)$ for each of n images: wrong w times of s, and p the share of errors over all.

        One imagined look at an average image: what few have seen is neither first nor last.
        """
        seen = sum(int(numbers.sum()) for numbers in self._seen.values())
        wrong = sum(int(numbers.sum()) for numbers in self._wrong.values())
        share = wrong / seen if seen else 0.0
        none = np.zeros(n, dtype=np.int64)
        expected: NDArray[np.float64] = (self._wrong.get(domain, none) + share) / (self._seen.get(domain, none) + 1)
        return expected

    def _note(self, domain: str, wrong: NDArray[np.bool_], seen: NDArray[np.bool_]) -> None:
        none = np.zeros(len(seen), dtype=np.int64)
        self._wrong[domain] = self._wrong.get(domain, none) + wrong
        self._seen[domain] = self._seen.get(domain, none) + seen
