"""What has to travel between two repositories, and how it is packed: nothing that was not asked for leaves."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wvc.errors import Damage
from wvc.progress import SILENT, Progress
from wvc.repo.commits import mentioned
from wvc.repo.objects import Commit, parse
from wvc.repo.repository import Repository
from wvc.store import threads
from wvc.store.batch import Batch
from wvc.store.blobs import Blob
from wvc.store.copies import Copy
from wvc.store.durable import flushing
from wvc.store.header import BITS, size_of
from wvc.store.packs import Pack
from wvc.store.reader import Reader
from wvc.store.verify import verify, verify_stored

Wanted = Mapping[str, int | None]  # ids, and of tensors the bytes that they must have

# Nothing says how large a side file must be: it may not be larger than this and so many times what is stored of it.
LARGE, PROPORTION = 1 << 30, 1000


@dataclass(frozen=True)
class Needed:
    """What some refs need and the other side lacks.

    commits: ids, for the statements about them. objects: ids of JSON objects. weights: of tensors and side files.
    """

    commits: frozenset[str]
    objects: frozenset[str]
    weights: Wanted


def needed(
    origin: Repository,
    starts: Iterable[str],
    known: Callable[[Iterable[str]], set[str]] = lambda ids: set(),
    *,
    weights: bool = True,
) -> Needed:
    """All that `starts` need: commits, their ancestors, manifests, tasks, probes, tensors, files. Raises Damage.

    known: those of some ids that the other side has; of a commit, all that it needs too. weights: False for history
    alone.
    """
    commits: set[str] = set()
    objects: set[str] = set()
    bytes_of: dict[str, int | None] = {}
    todo = list(starts)
    while todo:
        id = todo.pop()
        if id in objects or known([id]):
            continue
        objects.add(id)
        item = parse(origin.reader.object(id))
        if isinstance(item, Commit):
            commits.add(id)
            manifest = origin.manifest(item)
            objects.add(item.manifest)
            if weights:
                bytes_of |= dict.fromkeys(file for _, file in manifest.files)
                bytes_of |= {tensor.id: size_of(tensor.dtype, tensor.shape) for tensor in manifest.tensors}
            todo += [*(parent.commit for parent in item.parents), *mentioned(item)]
    there = known([*objects, *bytes_of])
    lacking = {id: size for id, size in bytes_of.items() if id not in there}
    return Needed(frozenset(commits), frozenset(objects - there), lacking)


def statements(origin: Repository, about: Container[str]) -> list[str]:
    """Ids of the attachments to commits in `about`, in the order in which they were made."""
    with origin.lineage.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, subject FROM attachments ORDER BY number, id").all()
    return [id for id, subject in rows if subject in about]


def pack(
    reader: Reader,
    packs: Sequence[Pack],
    wanted: Needed,
    batch: Batch,
    depth_of: Callable[[str], int | None] = lambda id: None,
    progress: Progress = SILENT,
    *,
    raw: bool = True,
) -> None:
    """Put what is wanted into `batch`, every entry checked. Raises Damage.

    A pack of which all is wanted comes along as it is. Of the others, entries are copied as they are stored; a
    difference to what the other side lacks is stored anew.
    reader, packs: where it lies. depth_of: of what the other side has, how deep; None of what it lacks.
    raw: whether raw bytes are checked, too, for which everything is decoded; stored bytes always are.
    """
    every = wanted.objects | wanted.weights.keys()
    depths: dict[str, int] = {}
    done: set[str] = set()
    progress.start("checking", sum(size or 0 for size in wanted.weights.values()), "B")
    whole = _whole_packs(packs, every, depth_of)
    with flushing(pack.path for pack in whole):
        _check(reader, whole, progress, raw=raw)
    for adopted in whole:
        for id in adopted.ids():
            done.add(id)
            depths[id] = min(adopted.stored(id).depth, depths.get(id, adopted.stored(id).depth))
        batch.adopt(adopted)
    for id in sorted(wanted.objects - done):
        batch.put(reader.object(id))
    rest = {id: size for id, size in wanted.weights.items() if id not in done}
    copies = threads.spread(lambda item: _copy(reader, *item, raw=raw), rest.items())
    for copy in sorted(copies, key=lambda copy: copy.stored.depth):
        stored = copy.stored
        base = None if stored.base is None else depths.get(stored.base, depth_of(stored.base))
        if stored.base is None or (base is not None and base < stored.depth):
            batch.copy(copy)
            depths[copy.id] = stored.depth
        else:
            numbers = stored.raw * 8 // BITS[stored.dtype]
            checked = copy if raw else reader.whole(copy.id, stored.raw)
            batch.store([Blob(stored.dtype, (numbers,), checked.piece)])
            depths[copy.id] = 0
        progress.advance(stored.raw)
    progress.stop()


def _whole_packs(packs: Sequence[Pack], wanted: Container[str], depth_of: Callable[[str], int | None]) -> list[Pack]:
    """Packs of which everything is wanted, and whose differences rest on what will be there."""
    found = [pack for pack in packs if all(id in wanted for id in pack.ids())]
    while True:  # until none rests on one that was left out
        depths: dict[str, int] = {}
        for pack in found:
            for id in pack.ids():
                depths[id] = min(pack.stored(id).depth, depths.get(id, pack.stored(id).depth))
        good = [pack for pack in found if _rests(pack, depths, depth_of)]
        if len(good) == len(found):
            return good
        found = good


def _rests(pack: Pack, depths: Mapping[str, int], depth_of: Callable[[str], int | None]) -> bool:
    for id in pack.ids():
        stored = pack.stored(id)
        if stored.base is not None:
            known = [depth for depth in (depths.get(stored.base), depth_of(stored.base)) if depth is not None]
            if not known or min(known) >= stored.depth:
                return False
    return True


def _check(reader: Reader, packs: Sequence[Pack], progress: Progress, *, raw: bool) -> None:
    """Raises Damage unless all entries of `packs` are what they promise."""
    places = [(pack, id) for pack in packs for id in pack.ids()]
    checked = verify(reader, places) if raw else verify_stored(places)
    for pack, id, problem in checked:
        with reader.explained(id):
            if problem is not None:
                raise problem
            if pack.is_object(id):
                parse(bytes(pack.read(id)))
        progress.advance(pack.stored(id).raw)
    for pack in packs:
        pack.check_padding()


def _copy(reader: Reader, id: str, size: int | None, *, raw: bool) -> Copy:
    """A copy that is what its id promises. Raises Damage, also for a file that would grow out of all proportion."""
    if size is None:
        stored = reader.best(id).stored
        if stored.raw > max(LARGE, PROPORTION * stored.size):
            raise Damage(f"file {id[:12]} of {stored.size} bytes would grow to {stored.raw}")
    if raw:
        return reader.whole(id, size)
    with reader.explained(id):
        copy = reader.best(id, size)
        copy.pack.check(id)
        return copy
