"""How long work tells how far it is: three methods that the library calls and the console draws."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One piece of work at a time; `start` ends the one before."""

    def start(self, title: str, total: int, unit: str = "") -> None:
        """Begin a piece of work of `total` units ("B", "steps", "images" ...)."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more units are done; `note` replaces the text behind the bar, if not empty."""

    def stop(self) -> None:
        """The work is over, well or not."""


class Silent:
    """A Progress that shows nothing."""

    def start(self, title: str, total: int, unit: str = "") -> None:
        pass

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass

    def stop(self) -> None:
        pass


SILENT: Progress = Silent()
