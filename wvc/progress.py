"""How long work tells how far it is: three methods that the library calls and the console draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Progress(Protocol):
    """One piece of work at a time; `start` ends the one before."""

    def start(self, title: str, total: int, unit: str = "") -> None:
        """Begin a piece of work of `total` units ("B", "steps", "images" ...)."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more units are done; `note` replaces the text behind the bar, if not empty."""

    def stop(self) -> None:
        """The work is over, well or not."""


class Board(Protocol):
    """Several pieces of work at a time, and how far they are together."""

    def draw(self, lines: Sequence[str], together: str) -> None:
        """One line for each piece of work that is going on, and one for all of it; plain text."""

    def stop(self) -> None:
        """All of it is over."""


class Silent:
    """A Progress, and a Board, that shows nothing."""

    def start(self, title: str, total: int, unit: str = "") -> None:
        pass

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass

    def draw(self, lines: Sequence[str], together: str) -> None:
        pass

    def stop(self) -> None:
        pass


class Both:
    """A Progress that tells two others."""

    def __init__(self, one: Progress, other: Progress) -> None:
        self._all = (one, other)

    def start(self, title: str, total: int, unit: str = "") -> None:
        for progress in self._all:
            progress.start(title, total, unit)

    def advance(self, amount: int = 1, note: str = "") -> None:
        for progress in self._all:
            progress.advance(amount, note)

    def stop(self) -> None:
        for progress in self._all:
            progress.stop()


SILENT: Progress = Silent()
NO_BOARD: Board = Silent()
