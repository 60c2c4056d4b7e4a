"""What a model has seen: which tasks, which of their domains, which images are left to validate it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvc.repo.objects import Commit
from wvc.repo.repository import Repository


@dataclass(frozen=True)
class Context:
    """task, fingerprint, object: name, data and description of the task.

    test: domains of which the model has not seen an image.
    trial: the 80/20 split that it was trained on; None where there were several, and no image of a domain that was
    trained on is safe to validate on. limit: images per domain of a smoke run, None for all.
    """

    task: str
    fingerprint: str
    object: str
    test: tuple[str, ...]
    trial: int | None
    limit: int | None

    @classmethod
    def read(cls, how: Mapping[str, Any]) -> Context | None:
        """What a commit says of itself; None where it says nothing."""
        task = how.get("task")
        if not isinstance(task, Mapping):
            return None
        test = tuple(how["test_domains"])
        return cls(task["name"], task["fingerprint"], task["object"], test, how["trial"], how.get("limit"))

    def json(self) -> dict[str, Any]:
        """As `how` has it."""
        task = {"name": self.task, "fingerprint": self.fingerprint, "object": self.object}
        return {"task": task, "test_domains": list(self.test), "trial": self.trial, "limit": self.limit}


def history(repository: Repository, commit: Commit) -> list[Context]:
    """What a commit and all that its weights were made from say of themselves, the nearest first."""
    found, seen = [], {commit.id}
    todo = [commit]
    for current in todo:  # grows as it is walked: breadth first
        context = Context.read(current.how)
        found += [] if context is None else [context]
        parents = [p.commit for p in current.parents if p.coefficient] or [p.commit for p in current.parents[:1]]
        base = current.how.get("base")  # what changes were counted from has a part in them
        taken = [side["commit"] for side in current.how.get("taken", ())]
        fresh = [id for id in dict.fromkeys([*parents, *([base] if base else []), *taken]) if id not in seen]
        seen.update(fresh)
        todo += map(repository.commit, fresh)
    return found


def of_task(contexts: Iterable[Context], fingerprint: str) -> Context | None:
    """All that is said of one task, together; None if nothing is."""
    return common([context for context in contexts if context.fingerprint == fingerprint])


def common(contexts: Sequence[Context]) -> Context | None:
    """What holds for a model that has seen all of this; None where the tasks differ, or there is none."""
    if len({context.fingerprint for context in contexts}) != 1:
        return None
    first = contexts[0]
    test = tuple(domain for domain in first.test if all(domain in context.test for context in contexts))
    same = len({(context.trial, context.limit) for context in contexts}) == 1
    trial, limit = (first.trial, first.limit) if same else (None, None)
    return Context(first.task, first.fingerprint, first.object, test, trial, limit)


def is_of_other_data(contexts: Iterable[Context], name: str, fingerprint: str) -> bool:
    """True if a task of this name was seen with other data: what was trained on can then no longer be told."""
    return any(context.task == name and context.fingerprint != fingerprint for context in contexts)
