"""Show how much room the weights take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from wvc import console
from wvc.commands._columns import columns, shortened, size
from wvc.commands._words import percent, when
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.revisions import span
from wvc.repo.usage import Added, Item, Packs, Usage

SUBJECT = 40  # characters that are shown of it


@dataclass(frozen=True)
class Room:
    """added: what each commit brought, the newest first. packs: all there are, whatever was asked for.

    origin: the remote that has weights which are not here.
    """

    added: Sequence[Added]
    packs: Packs
    origin: str | None = None

    @property
    def items(self) -> list[Item]:
        """All tensors and files, those that take most room first."""
        return sorted((item for added in self.added for item in added.items), key=lambda i: (-i.stored, -i.raw, i.name))


def command(
    revisions: Annotated[
        list[str] | None, typer.Argument(metavar="REV|A..B", help="Whose history to look at, HEAD's by default")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Look at the history of every branch, tag and probe")] = False,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List tensors and files instead of commits, the largest first")
    ] = False,
    number: Annotated[
        int | None, typer.Option("-n", "--max-count", metavar="N", min=0, max=2**53, help="Show the first N lines")
    ] = None,
) -> None:
    """Show how much room the weights take: what each commit added, raw and as it is stored.

    A commit adds the tensors and side files that no commit before it has. What is stored of them may be a compressed
    difference to another tensor. Packs are counted whole, whatever history was asked for; what is dead there belongs
    to no commit that a ref reaches.
    """
    repository = Repository()
    spans = [span(repository, text) for text in revisions or ([] if all else ["HEAD"])]
    starts = [id for wanted, _ in spans for id in wanted]
    if all:
        starts += [id for ref, id in repository.refs.items() if not ref.startswith(names.TASKS)]
    usage = Usage(repository)
    left_out = [id for _, ids in spans for id in ids]
    room = Room(usage.added(starts, left_out, items=tensors), usage.packs(), repository.config.without_weights())
    if console.wants_json():
        console.show(facts(room, tensors=tensors, number=number), str)
    else:
        console.show(room, lambda room: render(room, tensors=tensors, number=number))


def facts(room: Room, *, tensors: bool, number: int | None) -> dict[str, object]:
    """Everything in bytes."""
    lines: dict[str, object]
    if tensors:
        lines = {"tensors": room.items[:number]}
    else:
        lines = {"commits": [_sums(added) for added in room.added[:number]]}
    total = {
        "tensors": sum(added.tensors for added in room.added),
        "files": sum(added.files for added in room.added),
        "raw": sum(added.raw for added in room.added),
        "stored": sum(added.stored for added in room.added),
    }
    return {**lines, "total": total, "packs": room.packs}


def _sums(added: Added) -> dict[str, object]:
    counts = {name: getattr(added, name) for name in ("tensors", "files", "raw", "stored")}
    return {"id": added.commit.id, **added.commit.json(), **counts}


def render(room: Room, *, tensors: bool = False, number: int | None = None) -> str:
    rows = _items(room, number) if tensors else _commits(room, number)
    aligned = columns(rows, right=range(2, 5) if tensors else range(1, 5), styles={0: "yellow"})
    return "\n".join([*([*aligned, ""] if len(rows) > 1 else []), *_totals(room)])


def _commits(room: Room, number: int | None) -> list[list[str]]:
    rows = [["commit", "tensors", "raw", "stored", "", "date", "subject"]]
    for added in room.added[:number]:
        node = added.commit
        sizes = [size(added.raw), size(added.stored), _ratio(added.stored, added.raw)]
        rows.append([node.id[:10], str(added.tensors), *sizes, when(node.created), shortened(node.subject, SUBJECT)])
    return rows


def _items(room: Room, number: int | None) -> list[list[str]]:
    rows = [["commit", "tensor", "raw", "stored", "", "how"]]
    for item in room.items[:number]:
        how = f"difference to {item.base[:10]}" if item.base else ""
        rows.append(
            [item.commit[:10], item.name, size(item.raw), size(item.stored), _ratio(item.stored, item.raw), how]
        )
    return rows


def _totals(room: Room) -> list[str]:
    raw, stored = sum(added.raw for added in room.added), sum(added.stored for added in room.added)
    packs, tensors = room.packs, sum(added.tensors for added in room.added)
    share = f" ({_ratio(packs.needed, packs.raw)} of {size(packs.raw)})" if packs.raw else ""
    rest = [f"{size(packs.needed)} needed{share}", f"{size(packs.dead)} dead"]
    rest += [f"{size(packs.copies)} there twice"] if packs.copies else []
    rest += [f"{size(packs.objects)} history", f"{size(packs.rest)} headers and padding"]
    shown = f"{len(room.added)} commits: {tensors} tensors, {size(raw)} raw, {size(stored)} stored"
    lines = [f"{shown} ({_ratio(stored, raw)})" if raw else shown]
    lines.append(f"{packs.count} packs, {size(packs.bytes)}: {', '.join(rest)}")
    if packs.missing and room.origin is not None:
        lines.append(
            f"{packs.missing} tensors or files are with {console.safe(room.origin)}, until something needs them"
        )
    elif packs.missing:
        lines.append(f"[red]{packs.missing} tensors or files are in no pack[/]: run `wvc fsck`")
    return lines


def _ratio(stored: int, raw: int) -> str:
    return percent(stored / raw) if raw else ""
