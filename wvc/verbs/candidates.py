"""Who takes part in a merge: named revisions, HEAD, and the ingredients of what is a merge itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from wvc.errors import MergeProblem
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository
from wvc.repo.revisions import GLOB, expand, resolve
from wvc.verbs.context import Context, history


@dataclass(frozen=True)
class Candidate:
    """A model that may become part of the average. name: how the user called it, or its abbreviated id."""

    name: str
    commit: Commit
    manifest: Manifest

    @property
    def key(self) -> str:
        """Settles every order: the id of the weights."""
        return self.commit.weights


@dataclass(frozen=True)
class Field:
    """head: the commit that the merge begins at; the branch must still be there at its end.

    candidates: no two with the same weights, by weights id. contexts: what each has seen, the nearest first.
    merges: commit -> its ingredients, for those that were taken apart.
    forward: the commit to fast-forward to, where nothing needs blending.
    """

    head: Commit
    candidates: tuple[Candidate, ...]
    contexts: tuple[list[Context], ...]
    merges: Mapping[str, list[str]]
    forward: Commit | None


def gather(
    repository: Repository, patterns: Sequence[str], *, with_head: bool = True, allow_unrelated: bool = False
) -> Field:
    """The candidates of merging `patterns` into HEAD (design, "HEAD"). Raises MergeProblem, UnknownRevision."""
    head = repository.head()
    named = {resolve(repository, name): names.short(name) for name in expand(repository, list(patterns))}
    others = {id: name for id, name in named.items() if id != head.id}
    graph = Graph(repository)
    if not others:
        raise MergeProblem("there is nothing to merge", "name branches or commits other than HEAD")
    if not allow_unrelated and not graph.bases([head.id, *others]):
        raise MergeProblem("the models have no common ancestor", "--allow-unrelated averages them all the same")
    behind_all = all(graph.is_ancestor(head.id, id) for id in others)
    wanted = head.id in {resolve(repository, name) for name in patterns if not GLOB.search(name)}
    members = dict(others)
    if with_head and (wanted or not behind_all):
        members = {head.id: named.get(head.id, "HEAD"), **members}
    forward = repository.commit(next(iter(others))) if behind_all and len(others) == 1 and not wanted else None
    return _field(repository, head, members, forward)


def _field(repository: Repository, head: Commit, members: Mapping[str, str], forward: Commit | None) -> Field:
    found: dict[str, Candidate] = {}
    merges = {}
    for id, name in sorted(members.items()):  # of two commits with the same weights, the smaller id stays
        commit = repository.commit(id)
        parts = _ingredients(commit)
        if parts:
            merges[id] = parts
        for part in parts or [id]:
            made = repository.commit(part)
            label = name if part == id else members.get(part, part[:10])
            found.setdefault(made.weights, Candidate(label, made, repository.manifest(made)))
    candidates = tuple(found[key] for key in sorted(found))
    _check_compatible(candidates)
    contexts = tuple(history(repository, candidate.commit) for candidate in candidates)
    return Field(head, candidates, contexts, merges, forward)


def _ingredients(commit: Commit) -> list[str]:
    """What an even merge was made of: it is extended, not averaged as one. Other commits have none."""
    if commit.kind != "merge" or commit.how.get("strategy") != "linear":
        return []
    parts = [parent for parent in commit.parents if parent.coefficient]
    return [p.commit for p in parts] if all(p.coefficient == Fraction(1, len(parts)) for p in parts) else []


def _check_compatible(candidates: Sequence[Candidate]) -> None:
    """Names, shapes, dtypes and classes must agree. Raises MergeProblem that names the first tensors that do not."""
    first = candidates[0]
    for other in candidates[1:]:
        mine = {t.name: (t.dtype, t.shape) for t in first.manifest.tensors}
        theirs = {t.name: (t.dtype, t.shape) for t in other.manifest.tensors}
        odd = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        if odd:
            more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
            raise MergeProblem(
                f"{first.name} and {other.name} differ in {', '.join(odd[:3])}{more}",
                "leave HEAD out with --no-head" if "HEAD" in (first.name, other.name) else "they are different models",
            )
        _check_specs(first, other)


def _check_specs(first: Candidate, other: Candidate) -> None:
    one, two = first.manifest.spec, other.manifest.spec
    known = [spec.classes for spec in (one, two) if spec is not None and spec.classes is not None]
    if len(set(known)) > 1:
        hint = "leave HEAD out with --no-head" if "HEAD" in (first.name, other.name) else "merge models of one task"
        raise MergeProblem(f"{first.name} and {other.name} have different classes", hint)
