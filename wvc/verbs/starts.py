"""Where a training starts: which featurizer, which head, and whether the featurizer is first kept still."""

from __future__ import annotations

from dataclasses import dataclass

from wvc.errors import UsageError
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository
from wvc.tasks import Task


@dataclass(frozen=True)
class Start:
    """How a training begins.

    head: "keep" (the start's own), "probe" (the linear probe of the foundation) or "random".
    foundation: the commit whose probe is the head, None for a training from random weights.
    recycled: the featurizer is not the foundation's, so it waits while the head settles (design, Starts).
    live: BatchNorm statistics are learnt too, as a training from random weights must.
    """

    head: str
    foundation: Commit | None
    recycled: bool
    live: bool


def choose(
    repository: Repository, start: Commit, task: Task, *, wanted: str | None, foundation: Commit | None
) -> Start:
    """The start of a training of `start` on `task` (design, "Starts").

    wanted: the head that is asked for, "fresh", "keep" or "random"; None leaves it to the rule.
    foundation: --probe-from, or None to find it in history.
    Raises UsageError where a head that does not fit shall be kept.
    """
    base = foundation or find_foundation(repository, start)
    live = base is None
    if wanted == "random":
        return Start("random", base, recycled=False, live=live)
    if _goes_on(start, task) and wanted != "fresh":
        return Start("keep", base, recycled=False, live=live)
    spec = repository.manifest(start).spec
    if wanted == "keep":
        if spec is None or spec.classes != task.classes:
            raise UsageError("--keep-head needs a model with the same classes", "leave it out: a new head is made")
        return Start("keep", base, recycled=False, live=live)
    if base is None:
        return Start("random", None, recycled=False, live=True)
    recycled = _featurizer(repository.manifest(start)) != _featurizer(repository.manifest(base))
    return Start("probe", base, recycled=recycled, live=False)


def find_foundation(repository: Repository, commit: Commit) -> Commit | None:
    """The nearest first-parent ancestor that is an import or a pretrained create.

    After a random create it is the first `train`; None if there is none yet.
    """
    first_train = None
    while True:
        if commit.kind == "import" or (commit.kind == "create" and commit.how.get("weights") != "random"):
            return commit
        first_train = commit if commit.kind == "train" else first_train
        if not commit.parents:
            return first_train
        commit = repository.commit(commit.parents[0].commit)


def _goes_on(start: Commit, task: Task) -> bool:
    """True if `start` was trained or merged on this very task."""
    known = start.how.get("task")
    return start.kind in ("train", "merge") and isinstance(known, dict) and known["fingerprint"] == task.fingerprint


def _featurizer(manifest: Manifest) -> dict[str, str]:
    spec = manifest.spec
    return {t.name: t.id for t in manifest.tensors if spec is None or not spec.is_head(t.name)}
