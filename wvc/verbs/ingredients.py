"""What linear merges are made of: merging them again goes back to it, so that nothing is rounded twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.verbs.candidates import Candidate, check_compatible


@dataclass(frozen=True)
class Ingredients:
    """models: by weights id, no two with the same. coefficients: of each, none of them 0.

    apart: commits that were replaced by what they are made of.
    """

    models: tuple[Candidate, ...]
    coefficients: tuple[Fraction, ...]
    apart: tuple[str, ...]


def of(repository: Repository, shares: Sequence[tuple[Candidate, Fraction]], *, apart: bool = True) -> Ingredients:
    """The models that a sum of `shares` comes down to, with exact coefficients.

    Models of the same weights are one, so that naming a model twice changes no bit. apart: take merges apart.
    """
    models: dict[str, Candidate] = {}
    totals: dict[str, Fraction] = {}
    taken: list[str] = []
    todo = list(shares)
    for candidate, share in todo:  # grows as it is walked
        parts = _parts(repository, candidate) if apart else []
        if parts:
            taken.append(candidate.commit.id)
            todo += [(part, share * coefficient) for part, coefficient in parts]
        else:
            models.setdefault(candidate.key, candidate)
            totals[candidate.key] = totals.get(candidate.key, Fraction(0)) + share
    keys = sorted(key for key, total in totals.items() if total)
    return Ingredients(tuple(models[k] for k in keys), tuple(totals[k] for k in keys), tuple(dict.fromkeys(taken)))


def is_sum(commit: Commit) -> bool:
    """True if the weights are the sum of the parents' times their coefficients, and nothing else."""
    how = commit.how
    if commit.kind != "merge" or how.get("strategy") != "linear" or how.get("buffers") != "average":
        return False
    return not any(how.get(key) for key in ("featurizer_only", "taken", "layers", "recalibrated"))


def _parts(repository: Repository, candidate: Candidate) -> list[tuple[Candidate, Fraction]]:
    """The ingredients of a sum whose parents still fit it; else nothing."""
    commit = candidate.commit
    shares: Mapping[str, Fraction] = {p.commit: p.coefficient for p in commit.parents if p.coefficient}
    if not is_sum(commit) or len(shares) < 2 or sum(shares.values()) != 1:
        return []
    found = []
    for id, share in shares.items():
        made = repository.commit(id)
        found.append((Candidate(id[:10], made, repository.manifest(made)), share))
    check_compatible([candidate, *(part for part, _ in found)])
    return found
