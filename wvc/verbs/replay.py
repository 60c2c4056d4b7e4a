"""Make a merge again from what its commit records, and compare the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from wvc.errors import WvcError
from wvc.progress import SILENT, Progress
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.store.header import size_of
from wvc.verbs.candidates import Candidate
from wvc.verbs.context import Context
from wvc.verbs.mix import Mix
from wvc.verbs.need import need
from wvc.verbs.strategy import named
from wvc.weights import Weights, ids


@dataclass(frozen=True)
class Replay:
    """odd: names of the tensors that came out otherwise; none of them if the commit is what it says."""

    commit: Commit
    tensors: int
    odd: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        return {"commit": self.commit.id, "tensors": self.tensors, "same": not self.odd, "different": list(self.odd)}


def replay(repository: Repository, revision: str, device: str = "auto", progress: Progress = SILENT) -> Replay:
    """Compute the merge `revision` again from the coefficients that it records: nothing is decided again.

    device: where BatchNorm statistics are estimated, for merges that did. Raises WvcError for what is no merge.
    """
    commit = repository.commit(resolve(repository, revision))
    if commit.kind != "merge":
        raise WvcError(f"{commit.id[:10]} is no merge but of kind {commit.kind}", "only merges can be replayed as yet")
    manifest = repository.manifest(commit)
    merged = _merged(repository, commit, device, progress)
    progress.start("replaying", sum(size_of(t.dtype, t.shape) for t in manifest.tensors), "B")
    made = ids(merged, progress)
    progress.stop()
    known = {tensor.name: tensor.id for tensor in manifest.tensors}
    odd = tuple(sorted(name for name in known.keys() | made.keys() if known.get(name) != made.get(name)))
    return Replay(commit, len(known), odd)


def mix_of(repository: Repository, commit: Commit) -> Mix:
    """What `how` says. Raises WvcError where that cannot be read."""
    how = commit.how
    try:
        return _mix(repository, how)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise WvcError(f"{commit.id[:10]} does not say how it was merged", "it was made by another version") from None


def _mix(repository: Repository, how: Mapping[str, Any]) -> Mix:
    parts = [(_candidate(repository, p["commit"]), p.get("coefficient")) for p in how["ingredients"]]
    coefficients = None if any(c is None for _, c in parts) else tuple(Fraction(c) for _, c in parts)
    layers = how.get("layers")
    return Mix(
        named(how["strategy"], {key: str(value) for key, value in how.get("options", {}).items()}),
        tuple(candidate for candidate, _ in parts),
        _candidate(repository, how["first"]),
        coefficients=coefficients,
        base=_candidate(repository, how["base"]) if "base" in how else None,
        buffers=how["buffers"],
        featurizer_only=bool(how.get("featurizer_only", False)),
        taken=tuple((side["tensors"], _candidate(repository, side["commit"])) for side in how.get("taken", ())),
        layers=layers and {name: tuple(map(Fraction, shares)) for name, shares in layers.items()},
    )


def _merged(repository: Repository, commit: Commit, device: str, progress: Progress) -> Weights:
    mix = mix_of(repository, commit)
    need(repository, mix.manifests, progress)
    merged = mix.weights(repository)
    estimated = commit.how.get("recalibrated")
    if estimated is None:
        return merged
    context = Context.read(commit.how)
    if context is None:
        raise WvcError(f"{commit.id[:10]} does not say which images its statistics were estimated from")
    from wvc.verbs import after  # noqa: PLC0415  (and with it torch, which other merges do without)

    return after.recalibrated(repository, mix, merged, context, estimated["images"], device, progress)[0]


def _candidate(repository: Repository, id: str) -> Candidate:
    commit = repository.commit(id)
    return Candidate(id[:10], commit, repository.manifest(commit))
