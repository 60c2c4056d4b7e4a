"""Write the weights of a commit to files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.commands._shared import bring
from wvc.errors import UsageError
from wvc.repo import revisions
from wvc.repo.export import FORMATS, Options, Written, export
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.repo.safefile import HEADER, MODEL

SUFFIXES = {".safetensors": "safetensors", ".pt": "pt", ".pth": "pt", ".bin": "pt"}
SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([KMGT]?)(i?)B", re.IGNORECASE)
VERSION = re.compile(r"\.[0-9].*")  # what looks like a suffix in llama-3.1-8b


def command(
    revision: Annotated[str, typer.Argument(metavar="[REV] OUT", help="Commit or branch, by default HEAD")],
    out: Annotated[Path | None, typer.Argument(hidden=True)] = None,
    format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="safetensors, sharded, hf or pt; by default as OUT suggests")
    ] = None,
    max_shard_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Cut weights anew into files of this size, such as 5GB or 2GiB")
    ] = None,
    tensors: Annotated[
        list[str] | None, typer.Option("--tensors", metavar="GLOB", help="Only tensors of such a name; * crosses dots")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the file, or write into the folder")] = False,
) -> None:
    """Write the weights of a commit to a file or a folder, byte for byte as they came.

    A name that ends in .safetensors is one file, one in .pt, .pth or .bin a checkpoint that torch loads, any other a
    folder: the whole model folder (hf) where the commit has one, else weights and their index (sharded).
    """
    if out is None:
        revision, out = "HEAD", Path(revision)
    named = format or _format(out)
    options = Options(named or "hf", None if max_shard_size is None else size(max_shard_size), tuple(tensors or ()))
    _check(options)
    repository = Repository()
    commit = repository.commit(revisions.resolve(repository, revision))
    manifest = repository.manifest(commit)
    bring(repository, [manifest])
    if options.format == "pt":
        from wvc.verbs.export import export_checkpoint

        written = export_checkpoint(repository, manifest, out, force=force, progress=console.progress())
    else:
        if named is None and not _is_folder(manifest):
            options = Options("sharded", options.limit, options.tensors)
        written = export(repository, manifest, out, options, force=force, progress=console.progress())
    console.show({**vars(written), "commit": commit.id}, lambda _: render(written))


def size(text: str) -> int:
    """Bytes in "500MB", "1.5 GB" or "2GiB". Raises UsageError."""
    match = SIZE.fullmatch(text.strip())
    bytes = match and int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "))
    if not bytes:
        raise UsageError(f"{text!r} is not a size", "such as 500MB, 5GB or 2GiB")
    return bytes


def render(written: Written) -> str:
    text = f"{console.safe(written.path)}: {written.tensors} tensors, {written.bytes} bytes"
    if written.format in ("sharded", "hf"):
        text += f" in {len(written.files)} files"
    if written.replaced:
        text += f"; {len(written.replaced)} replaced: {console.safe(', '.join(written.replaced[:5]))}"
    return text


def _format(out: Path) -> str | None:
    """The format that a name asks for, None for a folder. Raises UsageError."""
    if out.is_dir() or not out.suffix or VERSION.fullmatch(out.suffix):
        return None
    if out.suffix not in SUFFIXES:
        hint = "name one that ends in .safetensors or .pt, a folder, or the format with --format"
        raise UsageError(f"{out.suffix} is no format that wvc writes", hint)
    return SUFFIXES[out.suffix]


def _is_folder(manifest: Manifest) -> bool:
    """Whether the model came as more than one file."""
    return any(name != MODEL + HEADER for name, _ in manifest.files)


def _check(options: Options) -> None:
    """Raises UsageError for what does not go together."""
    known = (*FORMATS, "pt")
    if options.format not in known:
        raise UsageError(f"unknown format {options.format!r}", f"there are {', '.join(known)}")
    if options.limit is not None and options.format not in ("sharded", "hf"):
        raise UsageError(f"--max-shard-size does not go with {options.format}, which is one file", "--format sharded")
    if options.tensors and options.format == "pt":
        raise UsageError("--tensors does not go with pt", "name a file that ends in .safetensors")
