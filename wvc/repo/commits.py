"""Make commits: what every verb that makes a model does at its end."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from wvc.errors import BadName
from wvc.repo.config import now
from wvc.repo.objects import Attachment, Commit, Manifest, Parent, Tensor
from wvc.repo.repository import Repository
from wvc.store.batch import Batch
from wvc.store.canonical import dumps
from wvc.store.records import Move

LINE = 150  # bytes that a tensor takes in a manifest, name and shape apart
FILE = 80  # bytes that a side file takes, name apart


def make(
    repository: Repository, manifest: Manifest, parents: Sequence[Parent], message: str, how: Mapping[str, Any]
) -> Commit:
    """The commit of `manifest`, dated now, by the author whom the configuration names."""
    generation = 1 + max((repository.commit(p.commit).generation for p in parents), default=0)
    return Commit(
        manifest=manifest.id,
        weights=manifest.weights,
        parents=tuple(parents),
        author=repository.config.author(),
        created=now(),
        generation=generation,
        message=_text(message),
        how=how,
    )


def put(repository: Repository, batch: Batch, manifest: Manifest, commit: Commit) -> None:
    """Add `commit` and its manifest to `batch`, and rely on the tensors that are stored already."""
    batch.put(manifest.data)
    batch.put(commit.data)
    for id in manifest.ids():
        batch.rely_on(id)


def record(
    repository: Repository, batch: Batch, commit: Commit, *, ref: str, old: str | None, said: Sequence[Attachment] = ()
) -> None:
    """Record `commit` as the new value of `ref`, which must still be at `old`. Raises RefMoved.

    said: statements about the commit that begin with it.
    """
    ids = [batch.put(attachment.data) for attachment in said]
    message = f"{commit.kind}: {commit.subject}"
    repository.record(batch, [Move(ref, old, commit.id)], message, ids)


def room(manifest: Manifest, how: Mapping[str, Any]) -> int:
    """Bytes of JSON that a commit of something like `manifest` made by `how` will take, generously."""
    tensors = sum(LINE + len(t.name.encode()) + 8 * len(t.shape) for t in manifest.tensors)
    files = sum(FILE + len(name) for name, _ in manifest.files)
    spec = len(dumps(manifest.spec.json())) if manifest.spec else 0
    return tensors + files + spec + 2048 + len(dumps(how))


def bases(tensor: Tensor, like: Sequence[Manifest]) -> tuple[str, ...]:
    """Ids of the tensors of the same name, dtype and shape in `like`, whose bytes may resemble those of `tensor`."""
    found = (manifest.by_name.get(tensor.name) for manifest in like)
    return tuple(dict.fromkeys(t.id for t in found if t and (t.dtype, t.shape) == (tensor.dtype, tensor.shape)))


def mentioned(commit: Commit) -> list[str]:
    """Ids that `how` names besides the parents: the task's description, the commits that a run started from."""
    task, start = commit.how.get("task"), commit.how.get("start")
    found = [task.get("object")] if isinstance(task, dict) else []
    found += [start.get(name) for name in ("featurizer", "foundation", "probe")] if isinstance(start, dict) else []
    found += [commit.how.get(name) for name in ("base", "first")]
    return [id for id in found if isinstance(id, str)]


def _text(message: str) -> str:
    """A message is text that can be stored: NFC is what canonical JSON asks for."""
    text = unicodedata.normalize("NFC", message.strip())
    if any(unicodedata.category(c) == "Cs" for c in text):
        raise BadName("message", text)
    return text
