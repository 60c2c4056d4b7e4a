"""Which names wvc takes for refs, tasks, remotes and side files, and how refs are spelled in short and in full."""

from __future__ import annotations

import re

from wvc.errors import BadName
from wvc.store.records import REF

HEADS, TAGS, REMOTES, TASKS, PROBES = "refs/heads/", "refs/tags/", "refs/remotes/", "refs/tasks/", "refs/probes/"
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
HEX = re.compile(r"[0-9a-f]{40,64}")


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
