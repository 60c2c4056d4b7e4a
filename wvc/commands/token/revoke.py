"""Take a token back."""

from typing import Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository


def command(name: Annotated[str, typer.Argument(help="Whose it is")]) -> None:
    """Take a token back; a server that is running sees it at once."""
    from wvc.web.tokens import revoke

    token = revoke(Repository().folder, name)
    console.show({"revoked": token.name}, lambda facts: f"revoked the token of {console.safe(facts['revoked'])}")
