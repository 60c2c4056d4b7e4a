"""Check everything: the log, every byte of every pack, what objects name, and the lineage."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wvc.errors import Damage
from wvc.progress import SILENT, Progress
from wvc.repo.damage import Touched, touched
from wvc.repo.lineage import Lineage
from wvc.repo.objects import Attachment, Commit, Manifest, TaskDescription, parse
from wvc.repo.repository import Repository
from wvc.store.header import size_of
from wvc.store.packs import ID, NAME, SUFFIX, Pack
from wvc.store.reader import Reader
from wvc.store.verify import verify

Object = Commit | Manifest | Attachment | TaskDescription


@dataclass
class Report:
    """problems: one line each, worst first; empty if all is well. counts: what was checked.

    lost: what no pack holds whole, and what that touches.
    """

    problems: list[str] = field(default_factory=list)
    lost: list[Touched] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def json(self) -> dict[str, object]:
        lost = [vars(item) for item in self.lost]
        return {"ok": not self.problems, "problems": self.problems, "lost": lost, "checked": dict(self.counts)}


@dataclass
class Contents:
    """What was found whole. objects: parsed, by id. sizes: raw bytes of everything, by id."""

    objects: dict[str, Object] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def fsck(repository: Repository, progress: Progress = SILENT) -> Report:
    """Read everything there is and report what is wrong with it; changes nothing."""
    report = Report()
    try:
        state = repository.log.verify()
    except Damage as error:
        report.problems.append(error.message)
        return report
    report.counts["transactions"] = state.number
    packs = _open(repository.folder / "packs", state.packs, report)
    names = (path.name.removesuffix(SUFFIX) for path in (repository.folder / "packs").iterdir())
    if unknown := sum(NAME.fullmatch(name) is not None and name not in state.packs for name in names):
        report.counts["packs that no transaction names"] = unknown
    holders: dict[str, list[str]] = {}
    for pack in packs:
        for id in pack.ids():
            holders.setdefault(id, []).append(pack.name)
    reader = Reader(repository.folder / "packs", lambda id: holders.get(id, []))
    contents = Contents()
    _check_objects(packs, contents, report)
    _check_weights(reader, packs, contents, report, progress)
    objects = contents.objects
    partial = repository.config.without_weights() is not None
    _check_links(objects, contents.sizes, report, partial=partial)
    _check_refs(repository, objects, report)
    _check_attachments(repository, objects, report)
    report.lost = _lost(repository, contents, holders) if report.problems else []
    if not report.problems:  # what is damaged makes projections differ, and is named already
        _check_lineage(repository, report)
    return report


def _open(packs: Path, names: Iterable[str], report: Report) -> list[Pack]:
    opened = []
    for name in sorted(names):
        try:
            pack = Pack(packs, name)
            pack.check_padding()
            opened.append(pack)
        except Damage as error:
            report.problems.append(error.message)
    report.counts["packs"] = len(opened)
    return opened


def _lost(repository: Repository, contents: Contents, holders: Iterable[str]) -> list[Touched]:
    """Everything that ought to be here and of which no pack has a good copy."""
    wanted = {*holders, *repository.refs.values()}
    wanted |= {target for item in contents.objects.values() for _, target, _ in _named(item)}
    lost = sorted(id for id in wanted - contents.sizes.keys() if ID.fullmatch(id))
    try:
        current = repository.branch
    except Damage:
        current = None
    return touched(repository.lineage, repository.refs, lost, current) if lost else []


def _check_objects(packs: Iterable[Pack], contents: Contents, report: Report) -> None:
    """Every JSON object must be what its name says, and one that is known."""
    for pack in packs:
        for id in pack.objects():
            try:
                contents.objects[id] = parse(bytes(pack.read(id)))
                contents.sizes[id] = pack.stored(id).raw
                report.counts["objects"] += 1
            except Damage as error:
                report.problems.append(f"{error.message} (in pack {pack.name[:12]})")


def _check_weights(
    reader: Reader, packs: Sequence[Pack], contents: Contents, report: Report, progress: Progress
) -> None:
    """Every tensor and side file must be what its header and its name say."""
    places = [(pack, id) for pack in packs for id in pack.ids() if not pack.is_object(id)]
    progress.start("checking", sum(pack.stored(id).size for pack, id in places), "B")
    found = {}
    for pack, id, problem in verify(reader, places):
        if problem is None:
            contents.sizes[id] = pack.stored(id).raw
            report.counts["tensors"] += 1
        else:
            found[pack.name, id] = f"{problem.message} (in pack {pack.name[:12]})"
        progress.advance(pack.stored(id).size)
    progress.stop()
    report.problems += [found[pack.name, id] for pack, id in places if (pack.name, id) in found]


def _check_links(objects: dict[str, Object], found: dict[str, int], report: Report, *, partial: bool) -> None:
    """Whatever an object names must be there, and be what the object takes it for.

    partial: weights may have stayed with a remote.
    """
    away = {
        target
        for item in objects.values()
        for _, target, kind in _named(item)
        if partial and kind is None and isinstance(item, Manifest) and target not in found
    }
    if away:
        report.counts["tensors and files that a remote has"] = len(away)
    for id, item in objects.items():
        for what, target, kind in _named(item):
            if target in away:
                continue
            if target not in found:
                report.problems.append(f"{type(item).__name__.lower()} {id[:12]} names {what} {target[:12]}: missing")
            elif kind is not None and not isinstance(objects.get(target), kind):
                report.problems.append(
                    f"{type(item).__name__.lower()} {id[:12]} names {what} {target[:12]}: wrong type"
                )
        if isinstance(item, Commit):
            _check_commit(item, objects, report)
        for tensor in item.tensors if isinstance(item, Manifest) else ():
            if found.get(tensor.id, size := size_of(tensor.dtype, tensor.shape)) != size:
                report.problems.append(f"manifest {id[:12]} gives tensor {tensor.name!r} a shape that does not fit")


def _named(item: Object) -> Iterator[tuple[str, str, type[Object] | None]]:
    if isinstance(item, Commit):
        yield "manifest", item.manifest, Manifest
        yield from (("parent", parent.commit, Commit) for parent in item.parents)
        task = item.how.get("task")
        if isinstance(task, dict):
            yield "task", str(task.get("object")), TaskDescription
    elif isinstance(item, Manifest):
        yield from ((f"tensor {tensor.name!r}", tensor.id, None) for tensor in item.tensors)
        yield from ((f"file {name!r}", id, None) for name, id in item.files)
    elif isinstance(item, Attachment):
        yield "commit", item.subject, Commit


def _check_commit(commit: Commit, objects: dict[str, Object], report: Report) -> None:
    manifest = objects.get(commit.manifest)
    if isinstance(manifest, Manifest) and manifest.weights != commit.weights:
        report.problems.append(f"commit {commit.id[:12]} states other weights than its manifest holds")
    parents = [objects.get(parent.commit) for parent in commit.parents]
    generations = [parent.generation for parent in parents if isinstance(parent, Commit)]
    if len(generations) == len(parents) and commit.generation != 1 + max(generations, default=0):
        report.problems.append(f"commit {commit.id[:12]} states a wrong generation")


def _check_refs(repository: Repository, objects: dict[str, Object], report: Report) -> None:
    try:
        _ = repository.branch
    except Damage as error:
        report.problems.append(error.message)
    for ref, id in sorted(repository.refs.items()):
        wanted: type[Object] = TaskDescription if ref.startswith("refs/tasks/") else Commit
        if not isinstance(objects.get(id), wanted):
            report.problems.append(f"{ref} names {id[:12]}, which is no {wanted.__name__} that is stored whole")
        report.counts["refs"] += 1


def _check_attachments(repository: Repository, objects: dict[str, Object], report: Report) -> None:
    for transaction, _ in repository.log.since(0):
        for id in transaction.attachments:
            if not isinstance(objects.get(id), Attachment):
                report.problems.append(f"transaction {transaction.number} lists attachment {id[:12]}: missing")


def _check_lineage(repository: Repository, report: Report) -> None:
    """The projection must be what packs and log say; it is derived, so deleting it mends it."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Lineage(Path(folder) / "lineage.db", repository.folder / "packs", repository.log)
        if fresh.dump() != repository.lineage.dump():
            report.problems.append("lineage.db differs from what packs and log say: delete it, it will be made again")
