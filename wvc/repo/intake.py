"""Make a commit of what a source holds: its tensors and its side files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wvc.errors import WvcError
from wvc.progress import SILENT, Progress
from wvc.repo import commits
from wvc.repo.names import check_files
from wvc.repo.objects import Commit, Manifest, ModelSpec, Parent, Tensor
from wvc.repo.repository import Repository
from wvc.repo.sources import Source
from wvc.store.batch import Batch
from wvc.store.blobs import Blob

UNKNOWN = "0" * 64  # in the place of an id, before the bytes were read


@dataclass(frozen=True)
class Plan:
    """What a commit of a source is to be.

    ref: full name of the branch that it is for. how: what it says of the way it came to be.
    spec: the model that the tensors belong to, None for plain tensors.
    parent: the commit that it follows, at which `ref` must still be; None for a history of its own.
    kept: side files besides those of the source, by name.
    """

    ref: str
    message: str
    how: Mapping[str, Any]
    spec: ModelSpec | None = None
    parent: Commit | None = None
    kept: Mapping[str, str] = field(default_factory=dict)


def take(repository: Repository, source: Source, plan: Plan, progress: Progress = SILENT) -> Commit:
    """Store everything in `source` and record the commit of it. Raises BadFile, RefMoved, WvcError."""
    like = [] if plan.parent is None else [repository.manifest(plan.parent)]
    parents = [] if plan.parent is None else [Parent(plan.parent.id)]
    old = repository.refs.get(plan.ref) if plan.parent is None else plan.parent.id
    sketch = _sketch(source, plan)
    blobs = [*source.tensors.values(), *source.files.values()]
    progress.start("reading weights", sum(blob.size for blob in blobs), "B")
    with repository.batch([blob.shape for blob in blobs], commits.room(sketch, plan.how)) as batch:
        manifest = _store(batch, source, plan, like, progress)
        progress.stop()
        commit = commits.make(repository, manifest, parents, plan.message, plan.how)
        commits.put(repository, batch, manifest, commit)
        commits.record(repository, batch, commit, ref=plan.ref, old=old)
    return commit


def how(source: Source, key: str | None) -> dict[str, Any]:
    """What a commit says of weights that came from `source`. key: as `sources.open` was given it."""
    return {"kind": "import", "format": source.format} | ({} if key is None else {"key": key})


def _sketch(source: Source, plan: Plan) -> Manifest:
    """The manifest to be, without ids. Raises WvcError for files that cannot lie side by side."""
    files = dict.fromkeys(source.files, UNKNOWN) | dict(plan.kept)
    try:
        check_files(files)
    except ValueError as error:
        hint = "commit the whole model folder in place of its weights"
        raise WvcError(f"they do not go with HEAD's side files: {error}", hint) from None
    tensors = (Tensor(name, blob.dtype, blob.shape, UNKNOWN) for name, blob in source.tensors.items())
    return Manifest(tuple(tensors), tuple(files.items()), plan.spec)


def _store(batch: Batch, source: Source, plan: Plan, like: Sequence[Manifest], progress: Progress) -> Manifest:
    tensors = {name: Tensor(name, blob.dtype, blob.shape, UNKNOWN) for name, blob in source.tensors.items()}
    named: list[tuple[str | Tensor, Blob]] = list(source.files.items())
    for name, blob in source.tensors.items():
        named.append((tensors[name], replace(blob, bases=commits.bases(tensors[name], like))))
    named.sort(key=lambda item: -item[1].size)  # large ones need no padding behind them
    ids = batch.store((blob for _, blob in named), progress)
    files = dict(plan.kept)
    for (what, _), id in zip(named, ids, strict=True):
        if isinstance(what, Tensor):
            tensors[what.name] = replace(what, id=id)
        else:
            files[what] = id
    return Manifest(tuple(tensors[name] for name in sorted(tensors)), tuple(sorted(files.items())), plan.spec)
