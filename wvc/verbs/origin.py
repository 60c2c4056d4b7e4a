"""Where the models of a merge come from: the base of their changes, and the probes that their heads began with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wvc.errors import MergeProblem
from wvc.repo.graph import Graph
from wvc.repo.objects import Commit, Tensor
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.verbs.candidates import Candidate, averaged, check_compatible, differing, listed

NAME_ONE = "name the model that they were fine-tuned from with --base"


def base_of(
    repository: Repository, head: Commit, models: Sequence[Candidate], wanted: str | None, *, featurizer_only: bool
) -> Candidate:
    """The model that the changes of `models` are counted from.

    That is the merge base of them and HEAD; where its head is another (it answers other questions), the linear probe
    that all of them began with, if that has the same featurizer. wanted: a revision instead.
    Raises MergeProblem where there is none, or where there are several.
    """
    if wanted is not None:
        named = _candidate(repository, wanted, resolve(repository, wanted))
        check_compatible([models[0], named], featurizer_only=featurizer_only)
        return named
    ids = [head.id, *(model.commit.id for model in models)]
    bases = Graph(repository).bases(ids)
    if not bases:
        raise MergeProblem("the models have no common ancestor to count changes from", NAME_ONE)
    if len(bases) > 1:
        some = ", ".join(id[:10] for id in bases[:3])
        raise MergeProblem(f"the models have {len(bases)} merge bases: {some}", NAME_ONE)
    found = _candidate(repository, "the merge base", bases[0])
    if featurizer_only or not differing(models[0], found):
        return found
    probes = {_probe(repository, model.commit) for model in models}
    probe = next(iter(probes)) if len(probes) == 1 else None
    if probe is not None:
        fitted = _candidate(repository, "the linear probe", probe)
        if not differing(models[0], fitted) and _featurizer(fitted) == _featurizer(found):
            return fitted
    odd = listed(differing(models[0], found).values())
    raise MergeProblem(
        f"{models[0].name} and the merge base {bases[0][:10]} differ in {odd}",
        f"{NAME_ONE}, or leave the heads out with --featurizer-only",
    )


def strangers(repository: Repository, models: Sequence[Candidate]) -> str | None:
    """A note where heads are averaged that did not begin as one linear probe; None where they did, or nobody can tell.

    Linear connectivity rests on a common probe (design, Starts).
    """
    heads: dict[str | None, str] = {}
    for model in models:
        spec = model.manifest.spec
        if spec is None:
            return None
        began = _probe(repository, model.commit)
        heads.setdefault(began, model.name)
    if len(heads) <= 1:
        return None
    one, two, *_ = heads.values()
    return (
        f"the heads of {one} and {two} did not begin as the same linear probe: "
        "what is averaged may be worth nothing before it is measured"
    )


def changes(
    models: Sequence[Candidate], base: Candidate, *, featurizer_only: bool = False
) -> Mapping[str, Candidate] | None:
    """Tensor -> the only model that changed it; None if two models changed one tensor, each in its own way.

    Tensors that nobody changed are not in it.
    """
    found: dict[str, Candidate] = {}
    for name, before in averaged(base.manifest, featurizer_only=featurizer_only).items():
        changed = [m for m in models if m.manifest.by_name[name].id != before.id]
        if len({m.manifest.by_name[name].id for m in changed}) > 1:
            return None
        if changed:
            found[name] = changed[0]
    return found


def _probe(repository: Repository, commit: Commit) -> str | None:
    """The linear probe that the head of a model began as; the model's own root where it had none."""
    seen = set()
    while commit.id not in seen:
        seen.add(commit.id)
        start = commit.how.get("start")
        if isinstance(start, Mapping) and start.get("probe"):
            return str(start["probe"])
        if isinstance(start, Mapping) and start.get("head") == "random":
            return commit.id
        if commit.how.get("probe"):  # it is a probe itself
            return commit.id
        sources = [p.commit for p in commit.parents if p.coefficient] or [p.commit for p in commit.parents[:1]]
        if not sources:
            return commit.id
        commit = repository.commit(sources[0])
    return None


def _candidate(repository: Repository, name: str, id: str) -> Candidate:
    commit = repository.commit(id)
    return Candidate(name, commit, repository.manifest(commit))


def _featurizer(candidate: Candidate) -> dict[str, str]:
    tensors: Mapping[str, Tensor] = averaged(candidate.manifest, featurizer_only=True)
    return {name: tensor.id for name, tensor in tensors.items()}
