"""Whether all that new refs and objects need is there, and is what they take it for."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import TypeVar

from wvc.errors import Damage
from wvc.repo import names
from wvc.repo.commits import mentioned
from wvc.repo.objects import Attachment, Commit, Manifest, TaskDescription
from wvc.store.header import size_of
from wvc.store.records import Move
from wvc.web.incoming import Incoming, Object
from wvc.web.problems import Problem

# Nothing says how large a side file must be: it may not be larger than this and so many times what is stored of it.
LARGE, PROPORTION = 1 << 30, 1000
T = TypeVar("T", Commit, Manifest, Attachment, TaskDescription)


class Connected:
    """A walk over what is new, which ends at what can be reached already.

    commits: those that were walked over, and the parents of each.
    """

    def __init__(self, incoming: Incoming, reached: Container[str]) -> None:
        """reached: commits that a ref reaches before the push; all that they need is there."""
        self._incoming, self._reached = incoming, reached
        self._sizes: dict[str, int | None] = {}
        self._done, self._manifests = set[str](), set[str]()
        self.commits: dict[str, tuple[str, ...]] = {}

    def check(self, moves: Iterable[Move], attachments: Iterable[str]) -> None:
        """Raises Problem, which names the first thing that is missing or wrong."""
        try:
            for move in moves:
                if move.new is not None:
                    self._want_either(move.new, move.ref.startswith(names.TASKS), move.ref)
            for id in attachments:
                self._want(id, Attachment, "the record")
            todo = [*(move.new for move in moves if move.new is not None), *attachments, *self._incoming.objects()]
            while todo:
                todo += self._visit(todo.pop())
        except Damage as error:
            hint = "run `wvc fsck` where it comes from"
            raise Problem(422, f"the push is not complete: {error.message}", hint) from None

    def _visit(self, id: str) -> Iterator[str]:
        """Look at one object; what it needs and was not looked at yet."""
        if id in self._done or id in self._reached:
            return
        self._done.add(id)
        item = self._incoming.parsed(id)
        if isinstance(item, Commit):
            self._check_commit(item)
            self.commits[id] = tuple(parent.commit for parent in item.parents)
            yield from (*self.commits[id], *mentioned(item))
        elif isinstance(item, Manifest):
            self._check_manifest(item)
        elif isinstance(item, Attachment):
            self._want(item.subject, Commit, f"attachment {id[:12]}")
            yield item.subject

    def _check_commit(self, commit: Commit) -> None:
        own = f"commit {commit.id[:12]}"
        manifest = self._want(commit.manifest, Manifest, own)
        self._check_manifest(manifest)
        if manifest.weights != commit.weights:
            raise Damage(f"{own} states other weights than its manifest holds")
        generations = [self._want(parent.commit, Commit, own).generation for parent in commit.parents]
        if commit.generation != 1 + max(generations, default=0):
            raise Damage(f"{own} states a wrong generation")
        task = commit.how.get("task")
        described = task.get("object") if isinstance(task, dict) else None
        for id in mentioned(commit):
            self._want_either(id, id == described, own)

    def _check_manifest(self, manifest: Manifest) -> None:
        if manifest.id in self._manifests:
            return
        self._manifests.add(manifest.id)
        self._incoming.locate([*(tensor.id for tensor in manifest.tensors), *(id for _, id in manifest.files)])
        for tensor in manifest.tensors:
            self._check_bytes(tensor.id, size_of(tensor.dtype, tensor.shape))
        for _, id in manifest.files:
            self._check_bytes(id, None)

    def _check_bytes(self, id: str, size: int | None) -> None:
        """A tensor or file must be there, with as many bytes as it takes; every copy of it was looked at, or is old."""
        if id in self._sizes and size in (None, self._sizes[id]):
            return
        stored = self._incoming.best(id, size).stored
        if size is None and stored.raw > max(LARGE, PROPORTION * stored.size):
            raise Damage(f"file {id[:12]} of {stored.size} bytes would grow to {stored.raw}")
        self._sizes[id] = stored.raw

    def _want(self, id: str, kind: type[T], who: str) -> T:
        item: Object = self._incoming.parsed(id)
        if not isinstance(item, kind):
            raise Damage(f"{who} names {id[:12]}: a {type(item).__name__}, where a {kind.__name__} is wanted")
        return item

    def _want_either(self, id: str, task: bool, who: str) -> None:
        """What is no task is a commit."""
        if task:
            self._want(id, TaskDescription, who)
        else:
            self._want(id, Commit, who)

    def leads_to(self, new: str, old: str, reached: Container[str]) -> bool:
        """True if `old` is `new` or an ancestor of it. reached: the commits that led to `old` before the push."""
        todo, seen = [new], set[str]()
        while todo:
            id = todo.pop()
            if id == old or id in reached:
                return True
            if id not in seen:
                seen.add(id)
                todo += self.commits.get(id, ())
        return False
