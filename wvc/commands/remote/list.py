"""List the remotes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wvc import console
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.remote import Known


def command() -> None:
    """List the remotes and where they are."""
    from wvc.verbs import remote

    console.show(remote.listed(Repository()), render)


def render(remotes: Sequence[Known]) -> str:
    width = max((len(known.name) for known in remotes), default=0)
    return "\n".join(
        f"{console.safe(f'{known.name:{width}}')}  {console.safe(known.url)}{'' if known.weights else '  (no weights)'}"
        for known in remotes
    )
