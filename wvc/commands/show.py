"""Show one commit, or one of its tensors."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from wvc import console
from wvc.commands._layout import layout
from wvc.commands._shared import bring
from wvc.commands._words import decoration, percent, short, when
from wvc.errors import WvcError
from wvc.repo import history, scores
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.repo.scores import Score
from wvc.repo.summary import Summary, summary
from wvc.store.header import size_of


@dataclass(frozen=True)
class Shown:
    """A commit, the model in it, the refs that name it (full names), its scores, the oldest first."""

    commit: Commit
    manifest: Manifest
    refs: Sequence[str]
    scores: Sequence[Score]

    @property
    def parameters(self) -> int:
        """How many numbers the tensors hold."""
        return sum(math.prod(tensor.shape) for tensor in self.manifest.tensors)

    @property
    def bytes(self) -> int:
        """How many bytes the tensors have, uncompressed."""
        return sum(size_of(tensor.dtype, tensor.shape) for tensor in self.manifest.tensors)

    def json(self) -> dict[str, object]:
        model = {"tensors": len(self.manifest.tensors), "parameters": self.parameters, "bytes": self.bytes}
        return {
            "id": self.commit.id,
            **self.commit.json(),
            "refs": list(self.refs),
            "scores": list(self.scores),
            "model": {**model, "spec": self.manifest.spec},
        }


def command(
    target: Annotated[str, typer.Argument(metavar="REV[:TENSOR]", help="Commit, or tensor in it")] = "HEAD",
) -> None:
    """Show one commit, or one of its tensors."""
    repository = Repository()
    revision, colon, name = target.partition(":")
    commit = repository.commit(resolve(repository, revision or "HEAD"))
    manifest = repository.manifest(commit)
    if colon:
        console.show(measured(repository, manifest, name), render_tensor)
        return
    refs = history.refs_by_commit(repository).get(commit.id, [])
    shown = Shown(commit, manifest, refs, scores.of_commit(repository, commit.id))
    console.show(shown, lambda shown: render(shown, repository.branch))


def measured(repository: Repository, manifest: Manifest, name: str) -> Summary:
    """The tensor `name` in numbers. Raises WvcError where there is none."""
    tensor = manifest.by_name.get(name)
    if tensor is None:
        near = difflib.get_close_matches(name, manifest.by_name, n=1)
        first = ", ".join(list(manifest.by_name)[:3])
        raise WvcError(f"there is no tensor {name!r}", f"did you mean {near[0]!r}?" if near else f"it has {first} ...")
    bring(repository, [replace(manifest, tensors=(tensor,), files=())])
    return summary(tensor, repository.tensor(tensor))


def render(shown: Shown, current: str) -> str:
    commit = shown.commit
    lines = [f"{short(commit.id)} {console.safe(commit.kind)}{decoration(shown.refs, current)}"]
    lines += [f"{console.safe(commit.author)}, {when(commit.created)}", f"id {commit.id}"]
    lines += [f"parent {short(parent.commit)} × {parent.coefficient}" for parent in commit.parents]
    lines += ["", *[f"    {line}" for line in console.lines(commit.message)], "", _model(shown)]
    lines += [_score(score) for score in shown.scores]
    return "\n".join([*lines, *layout({key: value for key, value in commit.how.items() if key != "kind"})])


def _model(shown: Shown) -> str:
    spec = shown.manifest.spec
    size = f"{len(shown.manifest.tensors)} tensors, {shown.parameters:,} numbers, {shown.bytes:,} bytes"
    if spec is None:
        return f"plain tensors: {size}"
    pixels = f", {spec.image_size} px" if spec.image_size else ""
    return f"{console.safe(spec.architecture)}, {spec.outputs} classes{pixels}: {size}"


def _score(score: Score) -> str:
    domains = ", ".join(f"{console.safe(name)} {right}/{total}" for name, (right, total) in score.domains.items())
    where = f"{console.safe(score.circumstances.split)} of split {console.safe(score.circumstances.trial)}"
    return f"score {percent(score.micro)} on {where} (task {short(score.circumstances.task)}): {domains}"


def render_tensor(found: Summary) -> str:
    shape = "×".join(map(str, found.shape)) or "scalar"
    lines = [f"{console.safe(found.name)}: {found.dtype} {shape}, {found.numbers:,} numbers", f"id {found.id}"]
    if found.finite is None:
        return "\n".join([*lines, f"{found.dtype} has no meaning as real numbers"])
    if found.finite < found.numbers:
        lines.append(f"[red]{found.numbers - found.finite:,} of them infinite or NaN[/]")
    facts = {"min": found.min, "max": found.max, "mean": found.mean, "std": found.std, "L2": found.l2}
    return "\n".join([*lines, *(f"{name:4} {value:.6g}" for name, value in facts.items() if value is not None)])
