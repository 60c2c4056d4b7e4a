"""Scores: how many images a model got right, under circumstances that are written down."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import Executable, select

from wvc.repo.objects import Attachment
from wvc.repo.repository import Repository
from wvc.repo.schema import AttachmentRow, ScoreRow

# Anybody may write attachments: what is no score is left out.
NO_SCORE = (KeyError, TypeError, ValueError, ZeroDivisionError)


@dataclass(frozen=True)
class Circumstances:
    """Under which a score was measured; two scores may be compared only where all of it is equal.

    weights: Manifest.weights of the model.
    task: fingerprint of the data.
    trial: which 80/20 split (design, Splits); only "in" and "val" depend on it.
    split: "val", "in" or "all".
    image_size: side in pixels.
    limit: images per domain in a smoke run, None for all of them.
    transform: name of what was done to the images.
    precision: "fp32" or "bf16".
    device: kind of device, "cpu" or "cuda": their last bits differ.
    """

    weights: str
    task: str
    trial: int
    split: str
    image_size: int
    limit: int | None = None
    transform: str = "resize"
    precision: str = "fp32"
    device: str = "cpu"


@dataclass(frozen=True)
class Score:
    """domains: name -> (right, total)."""

    circumstances: Circumstances
    domains: Mapping[str, tuple[int, int]]

    @property
    def micro(self) -> Fraction:
        """Right over total, all domains pooled."""
        return Fraction(sum(r for r, _ in self.domains.values()), sum(t for _, t in self.domains.values()))

    @property
    def macro(self) -> Fraction:
        """Unweighted mean of the domains' accuracies."""
        return sum((Fraction(r, t) for r, t in self.domains.values()), Fraction(0)) / len(self.domains)

    def by(self, metric: str) -> Fraction:
        """micro or macro, by name."""
        return self.macro if metric == "macro" else self.micro

    def json(self) -> dict[str, object]:
        return {**vars(self.circumstances), "domains": [[d, r, t] for d, (r, t) in sorted(self.domains.items())]}

    def attachment(self, commit: str) -> Attachment:
        return Attachment("score", commit, self.json())


def read(body: Mapping[str, object]) -> Score:
    """The score in the body of an attachment. Raises KeyError, TypeError or ValueError where it is none."""
    rest = dict(body)
    domains = rest.pop("domains")
    if not isinstance(domains, list):
        raise TypeError("domains must be a list")
    return Score(Circumstances(**rest), {str(d): (int(r), int(t)) for d, r, t in domains})  # type: ignore[arg-type]


def find(repository: Repository, circumstances: Circumstances, domains: list[str]) -> Score | None:
    """A score under exactly these circumstances that covers exactly `domains`; None if nobody measured one."""
    query = (
        select(AttachmentRow.id)
        .join(ScoreRow, ScoreRow.attachment == AttachmentRow.id)
        .where(ScoreRow.weights == circumstances.weights, ScoreRow.task == circumstances.task)
        .distinct()
    )
    with repository.lineage.read() as connection:
        ids = connection.scalars(query).all()
    found: dict[str, tuple[int, int]] = {}
    for id in ids:  # read again and checked: merges rest on it
        with contextlib.suppress(*NO_SCORE):
            score = read(repository.attachment(id).body)
            if score.circumstances == circumstances:
                found.update(score.domains)
    return Score(circumstances, {d: found[d] for d in domains}) if set(domains) <= found.keys() else None


def by_commit(repository: Repository, commit: str | None = None) -> Mapping[str, list[Score]]:
    """Commit id -> its scores, the oldest first; of one commit only, if named."""
    query = select(AttachmentRow.subject, AttachmentRow.body).where(AttachmentRow.kind == "score")
    if commit is not None:
        query = query.where(AttachmentRow.subject == commit)
    found: dict[str, list[Score]] = {}
    for subject, score in _scores(repository, query.order_by(AttachmentRow.number, AttachmentRow.id)):
        found.setdefault(subject, []).append(score)
    return found


def of_commit(repository: Repository, commit: str) -> list[Score]:
    """All scores that were attached to `commit`, the oldest first."""
    return by_commit(repository, commit).get(commit, [])


def validation(scores: list[Score]) -> Fraction | None:
    """The best accuracy on held-out images of the training domains, None if nobody measured it."""
    return max((score.micro for score in scores if score.circumstances.split == "val"), default=None)


def _scores(repository: Repository, query: Executable) -> Iterator[tuple[str, Score]]:
    """(subject, score) of each attachment, for display."""
    with repository.lineage.read() as connection:
        rows = connection.execute(query).all()
    for subject, body in rows:
        with contextlib.suppress(*NO_SCORE):
            score = read(json.loads(body))
            if 0 <= score.micro <= 1:
                yield subject, score
