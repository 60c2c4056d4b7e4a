"""Who takes part in a merge: named revisions, HEAD, and the ingredients of what is a merge itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from wvc.errors import MergeProblem
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.objects import Commit, Manifest, Tensor
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

    candidates: no two with the same weights, by weights id. order: their keys as they were named, HEAD first.
    contexts: what each has seen, and whatever else has a part in the result; the nearest first.
    first: the one that was named first, not taken apart; it gives its head where only featurizers are averaged.
    merges: commit -> its ingredients, for those that were taken apart.
    forward: the commit to fast-forward to, where nothing needs blending.
    """

    head: Commit
    candidates: tuple[Candidate, ...]
    order: tuple[str, ...]
    contexts: tuple[list[Context], ...]
    first: Candidate
    merges: Mapping[str, list[str]]
    forward: Commit | None

    @property
    def of_candidates(self) -> tuple[list[Context], ...]:
        """What the candidates have seen: not a base, and not a side that gives some tensors."""
        return self.contexts[: len(self.candidates)]


def gather(
    repository: Repository,
    patterns: Sequence[str],
    *,
    with_head: bool = True,
    allow_unrelated: bool = False,
    featurizer_only: bool = False,
    apart: bool = True,
) -> Field:
    """The candidates of merging `patterns` into HEAD (design, "HEAD"). Raises MergeProblem, UnknownRevision.

    apart: take even merges apart into what they were made of.
    """
    head = repository.head()
    named = {resolve(repository, name): names.short(name) for name in expand(repository, list(patterns))}
    others = {id: name for id, name in named.items() if id != head.id}
    graph = Graph(repository)
    check_related(graph, head, list(others), allow_unrelated=allow_unrelated)
    behind_all = all(graph.is_ancestor(head.id, id) for id in others)
    one_by_one = [name for name in patterns if not GLOB.search(name) or "@{" in name]
    wanted = head.id in {resolve(repository, name) for name in expand(repository, one_by_one)}
    members = dict(others)
    if with_head and (wanted or not behind_all):
        members = {head.id: named.get(head.id, "HEAD"), **members}
    forward = repository.commit(next(iter(others))) if behind_all and len(others) == 1 and not wanted else None
    first = next(id for id in named if id in members)
    return _field(repository, head, members, forward, first, featurizer_only=featurizer_only, apart=apart)


def check_related(graph: Graph, head: Commit, others: Sequence[str], *, allow_unrelated: bool) -> None:
    """Raises MergeProblem unless there are `others`, all of which have an ancestor in common with `head`."""
    if not others:
        raise MergeProblem("there is nothing to merge", "name branches or commits other than HEAD")
    if not allow_unrelated and not graph.bases([head.id, *others]):
        raise MergeProblem("the models have no common ancestor", "--allow-unrelated averages them all the same")


def _field(
    repository: Repository,
    head: Commit,
    members: Mapping[str, str],
    forward: Commit | None,
    first: str,
    *,
    featurizer_only: bool,
    apart: bool,
) -> Field:
    found: dict[str, Candidate] = {}
    merges = {}
    parts: dict[str, list[str]] = {}
    for id, name in sorted(members.items()):  # of two commits with the same weights, the smaller id stays
        commit = repository.commit(id)
        inside = _ingredients(commit) if apart else []
        if inside:
            merges[id] = inside
        parts[id] = inside or [id]
        for part in parts[id]:
            made = repository.commit(part)
            label = name if part == id else members.get(part, part[:10])
            found.setdefault(made.weights, Candidate(label, made, repository.manifest(made)))
    candidates = tuple(found[key] for key in sorted(found))
    order = dict.fromkeys(repository.commit(part).weights for id in members for part in parts[id])
    made = repository.commit(first)
    leader = Candidate(members[first], made, repository.manifest(made))
    check_compatible([leader, *candidates] if featurizer_only else candidates, featurizer_only=featurizer_only)
    contexts = tuple(history(repository, candidate.commit) for candidate in candidates)
    return Field(head, candidates, tuple(order), contexts, leader, merges, forward)


def _ingredients(commit: Commit) -> list[str]:
    """What an even merge of whole models was made of: it is extended, not averaged as one. Other commits have none."""
    how = commit.how
    if commit.kind != "merge" or how.get("strategy") != "linear":
        return []
    if how.get("select") == "stated" or how.get("featurizer_only"):
        return []
    parts = [parent for parent in commit.parents if parent.coefficient]
    return [p.commit for p in parts] if all(p.coefficient == Fraction(1, len(parts)) for p in parts) else []


def averaged(manifest: Manifest, *, featurizer_only: bool) -> dict[str, Tensor]:
    """The tensors that an average is made of, by name: all of them, or those that are not the head's."""
    spec = manifest.spec if featurizer_only else None
    return {name: tensor for name, tensor in manifest.by_name.items() if spec is None or not spec.is_head(name)}


def check_compatible(candidates: Sequence[Candidate], *, featurizer_only: bool = False) -> None:
    """Raises MergeProblem unless what is averaged has the same names, shapes and dtypes in all.

    The classes must agree too where they are known; of featurizers the architecture and what it is fed with.
    """
    for other in candidates:
        first = candidates[0]
        if featurizer_only:
            _check_featurizers(first, other)
        odd = differing(first, other, featurizer_only=featurizer_only)
        if odd:
            spec = first.manifest.spec or other.manifest.spec
            hint = _hint(first, other, heads=spec is not None and all(spec.is_head(name) for name in odd))
            if shapes(first) == shapes(other):
                hint = "models are merged in one dtype: export one of them, convert it, and commit it again"
            raise MergeProblem(f"{first.name} and {other.name} differ in {listed(odd.values())}", hint)
        if not featurizer_only:
            _check_classes(first, other)


def shapes(candidate: Candidate) -> dict[str, tuple[int, ...]]:
    """Of all tensors, by name."""
    return {name: tensor.shape for name, tensor in candidate.manifest.by_name.items()}


def differing(first: Candidate, other: Candidate, *, featurizer_only: bool = False) -> dict[str, str]:
    """Tensor -> how its dtype or shape differs in the two models, in words; sorted by name."""
    mine = averaged(first.manifest, featurizer_only=featurizer_only)
    theirs = averaged(other.manifest, featurizer_only=featurizer_only)
    found = {}
    for name in sorted(mine.keys() | theirs.keys()):
        one, two = mine.get(name), theirs.get(name)
        if one is None or two is None:
            found[name] = f"{name} (only {(other if one is None else first).name} has it)"
        elif (one.dtype, one.shape) != (two.dtype, two.shape):
            found[name] = f"{name} ({_form(one)}, {_form(two)})"
    return found


def listed(items: Iterable[str]) -> str:
    """The first three, and how many there are beside."""
    known = list(items)
    more = f" and {len(known) - 3} more" if len(known) > 3 else ""
    return f"{', '.join(known[:3])}{more}"


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}"


def _check_featurizers(first: Candidate, other: Candidate) -> None:
    one, two = first.manifest.spec, other.manifest.spec
    if one is None or two is None:
        name = (other if two is None else first).name
        raise MergeProblem(f"nothing tells which tensors of {name} are its head", "`wvc import FILE --arch NAME`")
    odd = [part for part in ("architecture", "channels", "mean", "std") if getattr(one, part) != getattr(two, part)]
    if odd:
        raise MergeProblem(f"{first.name} and {other.name} differ in {', '.join(odd)}", "they are different models")


def _check_classes(first: Candidate, other: Candidate) -> None:
    one, two = first.manifest.spec, other.manifest.spec
    known = [spec.classes for spec in (one, two) if spec is not None and spec.classes is not None]
    if len(set(known)) > 1:
        raise MergeProblem(f"{first.name} and {other.name} have different classes", _hint(first, other, heads=True))


def _hint(first: Candidate, other: Candidate, *, heads: bool) -> str:
    """What to do about two models that differ. heads: in nothing but their heads."""
    if "HEAD" in (first.name, other.name):
        return "leave HEAD out with --no-head" + (", or the heads with --featurizer-only" if heads else "")
    return "--featurizer-only leaves the heads out of the average" if heads else "they are different models"
