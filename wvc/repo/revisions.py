"""Revision syntax, git's: HEAD~2, main^2, soup@{1}, run/*, abbreviated ids, a..b; and what a run began with.

`run/0@{probe}` is the linear probe whose head the training of run/0 began with, `run/0@{foundation}` the model that the
probe was fitted to. Both take a commit that is a training: of a merge or an import they name nothing.
"""

from __future__ import annotations

import difflib
import fnmatch
import re

from sqlalchemy import select

from wvc.errors import AmbiguousRevision, NoCommitYet, UnknownRevision, WvcError
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.repo.schema import CommitRow, MoveRow

STEP = re.compile(r"~(\d{0,9})(?!\d)|\^(\d{0,9})(?!\d)|@\{(probe|foundation)\}")
ABBREVIATION = re.compile(r"[0-9a-f]{4,64}")
GLOB = re.compile(r"[*?\[]")
PREFIXES = ("", "refs/", names.TAGS, names.HEADS, names.REMOTES)


def resolve(repository: Repository, text: str) -> str:
    """The id of the commit that `text` names.

    Raises UnknownRevision, AmbiguousRevision, NoCommitYet, and WvcError where no training began with what is asked for.
    """
    if not text:
        raise UnknownRevision(text)
    match = re.search(r"[~^]|@\{", text)
    base, steps = (text, "") if match is None else (text[: match.start()], text[match.start() :])
    base = base or "HEAD"
    first = re.match(r"@\{(\d{1,9})\}", steps)
    if first:
        id, steps = _reflog(repository, base, int(first[1])), steps[first.end() :]
    else:
        id = _base(repository, base)
    while steps:
        step = STEP.match(steps)
        if step is None:
            raise UnknownRevision(text)
        id = _follow(repository, id, step, text) if step[3] is None else _began_with(repository, id, step[3])
        steps = steps[step.end() :]
    return id


def ref(repository: Repository, text: str) -> str | None:
    """Full name of the ref that `text` names in short or in full; None if there is none."""
    if text in ("HEAD", "@"):
        return repository.branch
    for prefix in PREFIXES:
        if prefix + text in repository.refs and (prefix + text).startswith("refs/"):
            return prefix + text
    return None


def expand(repository: Repository, patterns: list[str]) -> list[str]:
    """Revisions; globs over branches (`*` crosses `/`) as full names, sorted; ranges A..B.

    A glob means local branches; where none matches, those that were seen at remotes.
    A range is what B has and A has not, along first parents, the oldest first; HEAD stands for a side left out.
    """
    found: list[str] = []
    for pattern in patterns:
        if ".." in pattern:
            found.extend(_range(repository, pattern))
            continue
        if not GLOB.search(pattern) or "@{" in pattern:
            found.append(pattern)
            continue
        fitting = sorted(r for r in repository.refs if fnmatch.fnmatchcase(names.short(r), pattern))
        matches = next(
            (some for kind in (names.HEADS, names.REMOTES) if (some := [r for r in fitting if r.startswith(kind)])), []
        )
        if not matches:
            raise UnknownRevision(pattern, message=f"no branch matches {pattern!r}")
        found.extend(matches)
    return list(dict.fromkeys(found))


def _range(repository: Repository, pattern: str) -> list[str]:
    """The commits of A..B, as B~n. Raises UnknownRevision where there are none."""
    start, _, stop = pattern.partition("..")
    stop = stop or "HEAD"
    graph = Graph(repository)
    known = graph.ancestors([resolve(repository, start or "HEAD")])
    found: list[str] = []
    id: str | None = resolve(repository, stop)
    while id is not None and id not in known:
        found.append(f"{stop}~{len(found)}" if found else stop)
        parents = graph.nodes[id].parents
        id = parents[0][0] if parents else None
    if not found:
        raise UnknownRevision(pattern, message=f"nothing is in {pattern!r}: {start or 'HEAD'} has all that {stop} has")
    return found[::-1]


def _base(repository: Repository, text: str) -> str:
    name = ref(repository, text)
    if name is not None:
        if name not in repository.refs:
            raise NoCommitYet(names.short(name))
        return repository.refs[name]
    if ABBREVIATION.fullmatch(text):
        return _abbreviated(repository, text)
    known = [names.short(r) for r in repository.refs]
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.6)
    raise UnknownRevision(text, near[0] if near else None)


def _abbreviated(repository: Repository, text: str) -> str:
    with repository.lineage.read() as connection:
        query = select(CommitRow.id).where(CommitRow.id >= text, CommitRow.id < text + "g").limit(10)
        ids = list(connection.scalars(query))
    if not ids:
        raise UnknownRevision(text)
    if len(ids) > 1:
        raise AmbiguousRevision(text, ids)
    return ids[0]


def _reflog(repository: Repository, text: str, back: int) -> str:
    name = ref(repository, text) or names.HEADS + text  # the reflog outlives the ref
    with repository.lineage.read() as connection:
        query = select(MoveRow.new).where(MoveRow.ref == name).order_by(MoveRow.number.desc())
        moves = list(connection.scalars(query.limit(back + 1)))
    if len(moves) <= back or moves[back] is None:
        raise UnknownRevision(f"{text}@{{{back}}}")
    return str(moves[back])


def _follow(repository: Repository, id: str, step: re.Match[str], text: str) -> str:
    """One step: ~n goes n first parents back, ^n to the n-th parent."""
    hops, position = (int(step[1] or 1), 1) if step[1] is not None else (1, int(step[2] or 1))
    if position == 0:
        return id
    for _ in range(hops):
        parents = repository.commit(id).parents
        if len(parents) < position:
            raise UnknownRevision(text)
        id = parents[position - 1].commit
    return id


def _began_with(repository: Repository, id: str, what: str) -> str:
    """The probe or the foundation of the training that made the commit `id`. Raises WvcError."""
    commit = repository.commit(id)
    start = commit.how.get("start")
    found = start.get(what) if isinstance(start, dict) else None
    if isinstance(found, str):
        return found
    words = {"probe": "linear probe", "foundation": "foundation"}
    if not isinstance(start, dict):
        raise WvcError(f"{id[:12]} is no training: it began with no {words[what]}", "name the commit of a fine-tuning")
    hint = (
        "its head was kept or random: name a run whose head was replaced" if what == "probe" else "its history has none"
    )
    raise WvcError(f"the training of {id[:12]} began with no {words[what]}", hint)


def span(repository: Repository, text: str) -> tuple[list[str], list[str]]:
    """(ids to show from, ids to leave out) for `a`, `a..b`."""
    if ".." not in text:
        return [resolve(repository, text)], []
    if "..." in text:
        raise WvcError("'...' is not supported", "use `a..b`: what b has and a has not")
    left, right = text.split("..", 1)
    return [resolve(repository, right or "HEAD")], [resolve(repository, left or "HEAD")]
