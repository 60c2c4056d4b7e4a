"""What a push brings, together with what is there: packs in two folders, read as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wvc.errors import CorruptPack, Damage
from wvc.repo.objects import Attachment, Commit, Manifest, TaskDescription, parse
from wvc.repo.repository import Repository
from wvc.store.packs import MAX_ENTRIES, SUFFIX, Pack
from wvc.store.reader import Reader
from wvc.store.records import State
from wvc.store.verify import verify
from wvc.web.problems import Problem
from wvc.web.quarantine import BadPack

Object = Commit | Manifest | Attachment | TaskDescription

LARGEST = 32 << 20  # bytes of a JSON object: reading one takes many times as much memory


class Incoming(Reader):
    """New packs over those that count in `state`: nothing else is seen, and so nothing condemned."""

    def __init__(self, repository: Repository, state: State, packs: Mapping[str, Path]) -> None:
        """packs: where each new pack lies, by name. Raises Problem for one that is none, or not whole."""
        super().__init__(repository.folder / "packs", self._find)
        self._repository, self._state = repository, state
        self.new = {name: _opened(path, name) for name, path in packs.items()}
        self._holders: dict[str, list[str]] = {}
        for name, pack in self.new.items():
            for id in pack.ids():
                self._holders.setdefault(id, []).append(name)

    def pack(self, name: str) -> Pack:
        return self.new[name] if name in self.new else super().pack(name)

    def _find(self, id: str) -> Sequence[str]:
        known = [name for name in self._repository.packs_with(id) if name in self._state.packs]
        return [*self._holders.get(id, ()), *known]

    def locate(self, ids: Iterable[str]) -> None:
        """Look up which packs hold `ids`, all at once."""
        self._repository.locate(list(ids))

    def objects(self) -> list[str]:
        """Ids of the JSON objects that are new, or said to be."""
        return list(dict.fromkeys(id for pack in self.new.values() for id in pack.objects()))

    def parsed(self, id: str) -> Object:
        """Object `id`, checked against its id. Raises Damage."""
        return parse(self.object(id))

    def verify(self) -> None:
        """Read every byte of the new packs. Raises Problem unless all of it is what headers and names promise."""
        for pack in self.new.values():
            objects = dict.fromkeys(pack.objects())
            if large := [id for id in objects if pack.stored(id).raw > LARGEST]:
                raise BadPack(pack.name, f"object {large[0][:12]} is too large")
            try:
                pack.check_padding()
            except Damage as error:
                raise BadPack(pack.name, error.message) from None
        places = [(new, id) for new in self.new.values() for id in new.ids()]
        bases = (new.stored(id).base for new, id in places)
        self.locate([*self._holders, *(base for base in bases if base is not None)])
        for new, id, problem in verify(self, places):
            if problem is not None:
                raise self._refusal(new, id, problem)

    def _refusal(self, pack: Pack, id: str, problem: Damage) -> Problem:
        """Stored bytes that are wrong make a pack worthless; what is wrong besides may be for want of another pack."""
        try:
            pack.check(id)
        except Damage as error:
            return BadPack(pack.name, error.message)
        hint = "send what its differences rest on, too"
        return Problem(422, f"pack {pack.name[:12]} is refused: {problem.message}", hint)


def _opened(path: Path, name: str) -> Pack:
    try:
        pack = Pack(path.parent, name)
        if path.name != name + SUFFIX or len(pack.entries) > MAX_ENTRIES:
            raise CorruptPack(name, "it has too many entries")
    except Damage as error:
        raise Problem(
            422, f"pack {name[:12]} is not there, or not all of it: {error.message}", "send it, then the record"
        ) from None
    return pack
