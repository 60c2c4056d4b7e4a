"""Write the weights of a commit to a file."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo import files, revisions
from wvc.repo.repository import Repository


def command(
    revision: Annotated[str, typer.Argument(metavar="[REV] OUT", help="Commit or branch, by default HEAD")],
    out: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the file")] = False,
) -> None:
    """Write the weights of a commit to a safetensors file, byte for byte as they came."""
    if out is None:
        revision, out = "HEAD", Path(revision)
    if out.suffix != ".safetensors":
        raise UsageError(f"{out} does not end in .safetensors", "that is the format that is written")
    repository = Repository()
    commit = repository.commit(revisions.resolve(repository, revision))
    manifest = repository.manifest(commit)
    size = files.export(repository, manifest, out, force=force, progress=console.progress())
    facts = {"path": str(out), "bytes": size, "commit": commit.id, "tensors": len(manifest.tensors)}
    console.show(facts, render)


def render(facts: dict[str, object]) -> str:
    return f"{console.safe(facts['path'])}: {facts['tensors']} tensors, {facts['bytes']} bytes"
