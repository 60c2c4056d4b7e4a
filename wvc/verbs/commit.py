"""Commit weights that were trained elsewhere on top of HEAD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wvc.errors import ModelProblem
from wvc.progress import SILENT, Progress
from wvc.repo import arrangement, intake, sources
from wvc.repo.objects import Commit, Manifest, ModelSpec
from wvc.repo.repository import Repository
from wvc.repo.sources import Source
from wvc.repo.states import COUNTER, check, completed

Shapes = Mapping[str, tuple[int, ...]]


def commit_weights(
    repository: Repository, path: Path, message: str, progress: Progress = SILENT, *, key: str | None = None
) -> Commit:
    """Record the weights at `path`, as `sources.open` takes it, as the child of HEAD.

    Raises BadFile, ModelProblem where they do not fit HEAD's model, RefMoved.
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    head = repository.head()
    before = repository.manifest(head)
    with sources.open(path, key) as source:
        spec = _spec(before, {name: blob.shape for name, blob in source.tensors.items()})
        kept = _kept(repository, before, source)
        plan = intake.Plan(repository.branch, message, intake.how(source, key), spec, head, kept)
        return intake.take(repository, source, plan, progress)


def _kept(repository: Repository, before: Manifest, source: Source) -> dict[str, str]:
    """HEAD's side files that stay: none where a whole folder comes, none on the layout of files where another comes."""
    if source.format == "hf":
        return {}
    gone = arrangement.names(repository, before) if source.files else set()
    return {name: id for name, id in before.files if name not in gone}


def _spec(before: Manifest, shapes: Shapes) -> ModelSpec | None:
    """HEAD's spec where the new weights fit it; another width of the head is allowed, and clears the classes."""
    spec = before.spec
    expected = {t.name: t.shape for t in before.tensors}
    if spec is None or expected == shapes:
        return spec
    outputs = (shapes.get(spec.head + ".weight") or (0,))[0] or spec.outputs
    expected = {name: _resized(spec, name, shape, outputs) for name, shape in expected.items()}
    counters = {name: shape for name, shape in shapes.items() if name.endswith(COUNTER)}
    try:
        check(spec.architecture, counters | expected, completed(shapes, expected, (), ()))
    except ModelProblem as error:
        hint = "another model is a history of its own: `wvc import PATH --branch NAME`"
        raise ModelProblem(error.message, hint) from None
    return spec if outputs == spec.outputs else replace(spec, outputs=outputs, classes=None)


def _resized(spec: ModelSpec, name: str, shape: tuple[int, ...], outputs: int) -> tuple[int, ...]:
    """The shape of a tensor of HEAD under a head for `outputs` classes."""
    return (outputs, *shape[1:]) if spec.is_head(name) and shape[:1] == (spec.outputs,) else shape
