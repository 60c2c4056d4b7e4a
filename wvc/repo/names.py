"""Which names wvc takes for refs, tasks, remotes and side files, and how refs are spelled in short and in full."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wvc.errors import BadName
from wvc.store.records import REF

HEADS, TAGS, REMOTES, TASKS, PROBES = "refs/heads/", "refs/tags/", "refs/remotes/", "refs/tasks/", "refs/probes/"
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
HEX = re.compile(r"[0-9a-f]{40,64}")
# On Windows these are devices in every folder, whatever follows the first dot.
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
DEPTH = 4  # components of the name of a side file at most


def branch(name: str) -> str:
    """The full name of branch `name`. Raises BadName."""
    return _full("branch", HEADS, name)


def tag(name: str) -> str:
    """The full name of tag `name`. Raises BadName."""
    return _full("tag", TAGS, name)


def task(name: str) -> str:
    """The full name of the ref that holds the description of task `name`. Raises BadName."""
    if not WORD.fullmatch(name):
        raise BadName("task", name)
    return TASKS + name


def check_file(name: str) -> None:
    """Raises ValueError unless a side file may have this name, which is a place below a folder on every system."""
    parts = name.split("/")
    if len(parts) > DEPTH:
        raise ValueError(f"file name {name[:80]!a} has more than {DEPTH} parts")
    for part in parts:
        if not WORD.fullmatch(part) or part.endswith("."):
            raise ValueError(f"file name {name[:80]!a} is not made of 1 to 128 letters, digits, '.', '_' and '-'")
        if DEVICE.fullmatch(part.lower()):
            raise ValueError(f"file name {name[:80]!a} is that of a device on Windows")


def check_files(names: Iterable[str]) -> None:
    """Raises ValueError unless all of `names` may lie side by side, on a file system that ignores case too."""
    spelled: dict[str, str] = {}
    folders: set[str] = set()
    files: set[str] = set()
    for name in names:
        check_file(name)
        parts = name.split("/")
        above = ["/".join(parts[:i]) for i in range(1, len(parts))]
        for place in (*above, name):
            if spelled.setdefault(place.lower(), place) != place:
                raise ValueError(f"file names {place!r} and {spelled[place.lower()]!r} differ only by case")
        if name in files or name in folders or not files.isdisjoint(above):
            raise ValueError(f"file name {name!r} is there twice, or is that of a folder too")
        files.add(name)
        folders.update(above)


def short(ref: str) -> str:
    """How a user calls the ref: without refs/heads/, refs/tags/ or refs/remotes/."""
    for prefix in (HEADS, TAGS, REMOTES, "refs/"):
        if ref.startswith(prefix):
            return ref.removeprefix(prefix)
    return ref


def _full(what: str, prefix: str, name: str) -> str:
    """Names that a revision could not tell from HEAD, an option or an id are refused."""
    if (
        name in ("HEAD", "@")
        or name.startswith("-")
        or HEX.fullmatch(name)
        or not REF.fullmatch(prefix + name)
        or ".." in name
    ):
        raise BadName(what, name)
    return prefix + name
