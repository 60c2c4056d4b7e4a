"""Commit weights that were trained elsewhere on top of HEAD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wvc import architectures
from wvc.errors import ModelProblem
from wvc.progress import SILENT, Progress
from wvc.repo import commits, files
from wvc.repo.objects import Commit, Manifest, ModelSpec, Parent
from wvc.repo.repository import Repository


def commit_weights(repository: Repository, path: Path, message: str, progress: Progress = SILENT) -> Commit:
    """Record the weights in a safetensors file as the child of HEAD. Raises BadFile, ModelProblem, RefMoved."""
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    head = repository.head()
    before = repository.manifest(head)
    with files.Source(path) as source:
        spec = _spec(before, source.shapes)
        how = {"kind": "import", "format": "safetensors"}
        sketch = Manifest(source.tensors(), before.files, spec)
        with repository.batch([*source.shapes.values(), (1,)], commits.room(sketch, how)) as batch:
            tensors, header = source.store(batch, progress)
            side = dict(before.files) | dict([header])
            manifest = Manifest(tensors, tuple(sorted(side.items())), spec)
            commit = commits.make(repository, manifest, [Parent(head.id)], message, how)
            commits.put(repository, batch, manifest, commit)
            commits.record(repository, batch, commit, ref=repository.branch, old=head.id)
    return commit


def _spec(before: Manifest, shapes: dict[str, tuple[int, ...]]) -> ModelSpec | None:
    """HEAD's spec where the new weights fit it; another width of the head is allowed, and clears the classes."""
    spec = before.spec
    if spec is None or {t.name: t.shape for t in before.tensors} == shapes:
        return spec
    try:
        outputs = architectures.infer_outputs(spec.architecture, shapes)
    except ModelProblem as error:
        hint = "another model is a history of its own: `wvc import FILE --branch NAME`"
        raise ModelProblem(error.message, hint) from None
    return spec if outputs == spec.outputs else replace(spec, outputs=outputs, classes=None)
