"""What a remote can do: the few things that folders, servers and buckets have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Literal, Self

Kind = Literal["log", "packs"]


class Remote(ABC):
    """Somebody else's log and packs. May be used by several threads at once.

    Everything here may raise Unreachable where nobody answers, and Refused where the other side says no. What is read
    is not checked. url: as errors show it, without secrets.
    actor: the only name that records may be put under; None for any.
    """

    url: str
    actor: str | None = None

    @abstractmethod
    def names(self, kind: Kind, after: str = "") -> list[str]:
        """File names greater than `after`, sorted."""

    @abstractmethod
    def size(self, kind: Kind, name: str) -> int | None:
        """Bytes of a file; None if it is not there."""

    @abstractmethod
    def read(self, kind: Kind, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes start..stop, to the end by default, in pieces. Raises MissingObject."""

    @abstractmethod
    def put(self, kind: Kind, name: str, source: BinaryIO, size: int) -> bool:
        """Put `size` bytes of `source` where nothing is, whole and durable before it returns.

        False if something else is there already; True too if the very same bytes are. Raises Unclear if the reply was
        lost, so that nobody knows whether it happened: read it back.
        """

    def ask(self, name: str, record: bytes) -> None:  # noqa: B027  (not every place has a will of its own)
        """Ask whether a record that moves these refs would be taken, before any packs go. Raises Refused.

        record: as it will be put, but that it announces no packs.
        """

    @abstractmethod
    def probe(self) -> list[tuple[str, bool]]:
        """Try whether the place keeps its promises: (what was tried, whether it held). Leaves nothing behind."""

    def close(self) -> None:  # noqa: B027  (only some hold something open)
        """Let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
