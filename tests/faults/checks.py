"""What must hold after a fault, whatever the fault was."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from wvc.repo.fsck import fsck
from wvc.repo.location import FOLDER
from wvc.repo.repository import Repository

from .world import Answer, Operation, State, command, state

ERROR = re.compile(r"(warning: .+\n)*error: .+\nhint: .+\n")  # without a hint, it is none of wvc's own
LEFT = re.compile(r"\.wvc[.-].+|\..+\.safetensors\..+")  # of what is written aside
UNTOUCHED = "nothing was changed"


class Violation(Exception):
    """Something that must not be."""


def inspect(folder: Path, operation: Operation, before: State, after: State, *, done: bool) -> None:
    """Raises Violation unless the world at `folder` is as it was before the operation or as it is after it.

    done: the operation was acknowledged, so it must be as after it.
    """
    now = state(folder, operation)
    _check_state(operation, before, after, now, done=done)
    if now.refs is not None:
        check_whole(folder / operation.place)
    _age(folder, operation)
    _go_on(folder, operation, after, now)
    left = sorted(str(path.relative_to(folder)) for path in leftovers(folder, operation))
    _must(not left, f"left behind: {left}")


def check_answer(answer: Answer, before: State, now: State) -> None:
    """Raises Violation unless the command ended well, or with one clear error that is true."""
    if answer.code == 0:
        return
    _must(answer.code == 1, f"exit {answer.code}")
    _must(ERROR.fullmatch(answer.err) is not None, f"not one clear error: {answer.err}")
    _must("internal error" not in answer.err and "raceback" not in answer.err, f"a bug: {answer.err}")
    _must(UNTOUCHED not in answer.err or now == before, f"something was changed: {answer.err}")


def _check_state(operation: Operation, before: State, after: State, now: State, *, done: bool) -> None:
    allowed = (after,) if done else (before, after)
    for name in ("refs", "head", "settings", "file"):
        found = getattr(now, name)
        _must(any(found == getattr(one, name) for one in allowed), f"{name}: {found!r}"[:300])
    if operation.makes:
        _must(any(now.repository == one.repository for one in allowed), "a repository that is not whole")


def check_whole(path: Path) -> None:
    """Raises Violation unless fsck is content and every tensor that a ref reaches can be read and is what it should be.

    The second is looked at without fsck's help.
    """
    repository = Repository(path)
    problems = fsck(repository).problems
    _must(not problems, f"fsck: {problems}")
    _ = repository.branch
    todo = [id for ref, id in repository.refs.items() if not ref.startswith("refs/tasks/")]
    seen: set[str] = set()
    while todo:
        commit = repository.commit(todo.pop())
        if commit.id not in seen:
            seen.add(commit.id)
            todo += [parent.commit for parent in commit.parents]
            _check_tensors(repository, commit.id)


def _check_tensors(repository: Repository, id: str) -> None:
    for tensor in repository.manifest(repository.commit(id)).tensors:
        data = repository.tensor(tensor)
        _must(hashlib.sha256(data).hexdigest() == tensor.id, f"{tensor.name} of {id[:12]} is not what was committed")


def _go_on(folder: Path, operation: Operation, after: State, now: State) -> None:
    """The next command works: the same again, or another where the first has done its work."""
    answer = command(folder, operation.next if now == after else operation.line)
    _must(answer.code == 0, f"the next command failed: {answer.err}")
    _must(now == after or state(folder, operation) == after, "the next command did not do what it should")


def _age(folder: Path, operation: Operation) -> None:
    """What was left behind, a day later: it is no longer too young to be swept."""
    for path in leftovers(folder, operation):
        for each in (path, *path.rglob("*")):
            if not each.is_symlink():
                os.utime(each, (time.time() - 86400,) * 2)


def leftovers(folder: Path, operation: Operation) -> Iterator[Path]:
    """Files and folders that were being written."""
    place = folder / operation.place
    for parent in (folder, place):
        if parent.is_dir():
            yield from (path for path in parent.iterdir() if LEFT.fullmatch(path.name))
    if (place / FOLDER / "tmp").is_dir():
        yield from (place / FOLDER / "tmp").iterdir()


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
