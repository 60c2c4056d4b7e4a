"""What a model was trained on: which task, which domains it has not seen, which images validate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvc.repo.objects import Commit
from wvc.repo.repository import Repository


@dataclass(frozen=True)
class Context:
    """task, fingerprint, object: name, data and description of the task.

    test: domains of which no ingredient has seen an image.
    trial: the 80/20 split that all ingredients share; None where they do not, and no image of a domain that was
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


def context_of(repository: Repository, commit: Commit, name: str | None = None) -> Context | None:
    """The context of a commit: its own, else that of what it was made from. None if it never saw a task.

    name: of the task that matters, or None for whatever comes first.
    """
    known: dict[str, Context | None] = {}
    todo = [commit.id]
    while todo:
        current = repository.commit(todo[-1])
        own = Context.read(current.how)
        parents = [p.commit for p in current.parents if p.coefficient] or [p.commit for p in current.parents[:1]]
        unknown = [id for id in parents if id not in known]
        if own is not None and name in (None, own.task):
            known[todo.pop()] = own
        elif unknown:
            todo += unknown
        else:
            found = [context for context in (known[id] for id in parents) if context is not None]
            known[todo.pop()] = common(found)
    return known[commit.id]


def common(contexts: Sequence[Context]) -> Context | None:
    """The context of an average of models with these; None where they are of different tasks, or there are none."""
    if len({context.fingerprint for context in contexts}) != 1:
        return None
    first, *others = contexts
    test = tuple(domain for domain in first.test if all(domain in other.test for other in others))
    same = len({(context.trial, context.limit) for context in contexts}) == 1
    trial, limit = (first.trial, first.limit) if same else (None, None)
    return Context(first.task, first.fingerprint, first.object, test, trial, limit)
