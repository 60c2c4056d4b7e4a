"""What the server says no with."""

from __future__ import annotations

from wvc.errors import WvcError


class Problem(WvcError):
    """A request that is not answered as asked.

    status: HTTP's number for it. offset: bytes of an upload that are there, where that helps.
    """

    def __init__(self, status: int, message: str, hint: str | None = None, *, offset: int | None = None) -> None:
        super().__init__(message, hint)
        self.status, self.offset = status, offset

    def json(self) -> dict[str, str | None]:
        return {"error": self.message, "hint": self.hint}


def nothing_here() -> Problem:
    """The one answer for what is not there and for what is not for the caller: it must not tell them apart."""
    return Problem(404, "there is nothing here, or it is not for you", "check the address and the token")


def conflict(why: str) -> Problem:
    """Somebody else was first: the client looks again."""
    return Problem(409, why, "look at the log again, then try again")
