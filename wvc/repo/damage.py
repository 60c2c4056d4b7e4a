"""What damage touches: which tensors and commits need bytes that are lost, and from which refs they are reached.

From the lineage, which may know more than what can still be read. Looked up only once something went wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from wvc.errors import Damage, MissingObject
from wvc.repo import names
from wvc.repo.lineage import Lineage
from wvc.repo.schema import WIDTH, AttachmentRow, CommitRow, EntryRow, LayoutRow, ManifestRow, ParentRow

SHOWN = 3  # names, commits and refs that a message lists, at most one more


@dataclass
class Touched:
    """What needs the bytes `id`.

    kind: "tensor", "file", "manifest", "commit", "attachment", "task", or "object" where nobody knows.
    names: what manifests call a tensor or file, sorted.
    commits: ids of those that it is part of, the newest first.
    refs: full names of the refs from which one of them is reached, HEAD's first, then branches, tags and the others.
    bases: those of the ids that were asked for that it is stored as a difference to.
    """

    id: str
    kind: str = "object"
    names: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """What it is: "tensor 'head.weight' (0123456789ab)"."""
        short = self.id[:12]
        return f"{self.kind} {_listed(map(repr, self.names))} ({short})" if self.names else f"{self.kind} {short}"

    @property
    def place(self) -> str:
        """Where it belongs: "it belongs to 2 commits, 0123456789 and 9876543210, on main and tag v1"."""
        refs = _listed(map(_spoken, self.refs)) or "no branch or tag"
        if not self.commits or self.kind == "commit":
            return f"it is on {refs}" if self.kind == "commit" else f"it is named by {refs}"
        count = "commit" if len(self.commits) == 1 else f"{len(self.commits)} commits,"
        return f"it belongs to {count} {_listed(id[:10] for id in self.commits)}, on {refs}"

    def explain(self, problem: Damage) -> None:
        """Let `problem`, which was met when this was read, say what it is and where it belongs, if that is known."""
        if not self.commits and not self.refs:
            return
        mine = self.id[:12] in problem.message
        what = "missing" if mine and isinstance(problem, MissingObject) else "damaged"
        why = "" if mine else f" ({problem.message})"
        problem.message = f"{self.subject} is {what}{why}: {self.place}"
        problem.args = (problem.message,)


def touched(lineage: Lineage, refs: Mapping[str, str], ids: Iterable[str], current: str | None = None) -> list[Touched]:
    """What needs each of `ids`, in their order.

    refs: every ref and what it names. current: full name of the branch that HEAD names.
    """
    found = {id: Touched(id) for id in ids}
    with lineage.read() as connection:
        rows = connection.execute(select(CommitRow.id, CommitRow.created))
        created = {row.id: row.created for row in rows}
        parents = connection.execute(select(ParentRow.commit, ParentRow.parent)).all()
        holders = _holders(connection, found)
        for id, base in _bases(connection, list(found)):
            if base in found and base not in found[id].bases:
                found[id].bases.append(base)
    children: dict[str, list[str]] = {}
    for child, parent in parents:
        children.setdefault(parent, []).append(child)
    ordered = sorted(refs, key=lambda ref: (ref != current, _rank(ref), ref))
    for id, item in found.items():
        named = [ref for ref in ordered if refs[ref] == id]
        if id in created or id in children or (named and item.kind == "object"):
            item.kind = "task" if named and named[0].startswith(names.TASKS) else "commit"
            holders[id] = {id}
        item.names.sort()
        item.commits = sorted(holders[id], key=lambda commit: (-created.get(commit, 0), commit))
        reached = _descendants(holders[id], children)
        item.refs = [ref for ref in ordered if refs[ref] in reached]
    return list(found.values())


def _holders(connection: Connection, found: Mapping[str, Touched]) -> dict[str, set[str]]:
    """Id -> commits that it is part of; kinds and names are noted in `found`."""
    manifests: dict[str, set[str]] = {}
    for commit, manifest in connection.execute(select(CommitRow.id, CommitRow.manifest)):
        manifests.setdefault(manifest, set()).add(commit)
    holders: dict[str, set[str]] = {id: set(manifests.get(id, ())) for id in found}
    for id in found.keys() & manifests.keys():
        found[id].kind = "manifest"
    for id, subject in connection.execute(select(AttachmentRow.id, AttachmentRow.subject)):
        if id in found:
            found[id].kind = "attachment"
            holders[id].add(subject)
    wanted = {bytes.fromhex(id) for id in found}
    columns = (ManifestRow.id, ManifestRow.layout, ManifestRow.tensors, ManifestRow.files)
    for manifest, layout, ids, files in connection.execute(select(*columns)):
        held = [(id, "file", name) for name, id in json.loads(files).items() if id in found]
        places = [i for i in range(len(ids) // WIDTH) if ids[i * WIDTH : (i + 1) * WIDTH] in wanted]
        if places:
            body = json.loads(connection.scalars(select(LayoutRow.body).where(LayoutRow.id == layout)).one())
            held += [(ids[i * WIDTH : (i + 1) * WIDTH].hex(), "tensor", body[i][0]) for i in places]
        for id, kind, name in held:
            found[id].kind = kind
            found[id].names += [] if name in found[id].names else [name]
            holders[id] |= manifests.get(manifest, set())
    return holders


def _bases(connection: Connection, ids: Sequence[str]) -> list[tuple[str, str]]:
    """(id, base) of copies that are differences."""
    found: list[tuple[str, str]] = []
    for start in range(0, len(ids), 500):
        some = EntryRow.id.in_(ids[start : start + 500])
        query = select(EntryRow.id, EntryRow.base).where(some, EntryRow.base.is_not(None)).order_by(EntryRow.id)
        found += [(id, base) for id, base in connection.execute(query) if base is not None]
    return found


def _descendants(starts: Iterable[str], children: Mapping[str, Sequence[str]]) -> set[str]:
    """Commits from which one of `starts` is reached, themselves included."""
    seen: set[str] = set()
    todo = list(starts)
    while todo:
        id = todo.pop()
        if id not in seen:
            seen.add(id)
            todo += children.get(id, ())
    return seen


def _rank(ref: str) -> int:
    prefixes = (names.HEADS, names.TAGS, names.REMOTES)
    return next((i for i, prefix in enumerate(prefixes) if ref.startswith(prefix)), len(prefixes))


def _spoken(ref: str) -> str:
    """How people call a ref among others of any kind."""
    return f"tag {names.short(ref)}" if ref.startswith(names.TAGS) else names.short(ref)


def _listed(words: Iterable[str]) -> str:
    """ "a", "a and b", "a, b, c and 2 more"; nothing for nothing."""
    several = list(words)
    if len(several) > SHOWN + 1:
        several[SHOWN:] = [f"{len(several) - SHOWN} more"]
    return " and ".join([", ".join(several[:-1]), *several[-1:]] if len(several) > 1 else several)
