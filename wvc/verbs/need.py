"""Bring weights when they are needed: a history may have come without them."""

from __future__ import annotations

from collections.abc import Iterable

from wvc.progress import SILENT, Progress
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.verbs.fetch import bring, weights_of
from wvc.weights import Weights


def need(repository: Repository, manifests: Iterable[Manifest], progress: Progress = SILENT) -> None:
    """Have the weights of `manifests` here, if a remote has them from which history came without weights.

    What that remote lacks, too, is found to be missing by who reads it. Raises what remotes raise, Rewound, Damage.
    """
    origin = repository.config.without_weights()
    if origin is None:
        return
    wanted = weights_of(manifests)
    here = repository.holds(wanted)
    if lacking := {id: size for id, size in wanted.items() if id not in here}:
        bring(repository, origin, lacking, progress)


def weights(repository: Repository, manifest: Manifest, model: str = "", progress: Progress = SILENT) -> Weights:
    """The tensors of `manifest`, as `Weights.of` has them. Raises as `need` does."""
    need(repository, [manifest], progress)
    return Weights.of(repository, manifest, model)
