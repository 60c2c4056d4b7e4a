"""Images in folders: domain/class/image or class/image, in a folder or a tar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wvc.errors import TaskProblem
from wvc.progress import Progress
from wvc.store.canonical import Json
from wvc.tasks import Task
from wvc.tasks._images import Source, gathered

NEEDS_DATA = True


def load(name: str, path: Path | None, parameters: Mapping[str, Json], cache: Path | None, progress: Progress) -> Task:
    """The task in the folder or tar `path`; images are sorted by class and file name.

    parameters: `layout` is "domain/class" or "class", by default the depth decides.
    Raises TaskProblem where the data cannot be used.
    """
    if unknown := set(parameters) - {"layout"}:
        raise TaskProblem(f"images in folders have no option {min(unknown)!r}", "their only option is layout")
    layout = str(parameters["layout"]) if "layout" in parameters else None
    return replace(gathered(Source(name, path, layout), cache, progress), parameters=dict(parameters))
