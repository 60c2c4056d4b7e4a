"""Make a merge again and compare."""

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.errors import WvcError
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.replay import Replay


def command(
    revision: Annotated[str, typer.Argument(metavar="REV", help="The merge")] = "HEAD",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, for statistics that were estimated")] = "auto",
) -> None:
    """Compute a merge again from what its commit records, and compare bit for bit."""
    from wvc.verbs.replay import replay

    found = replay(Repository(), revision, device, console.progress())
    console.show(found, render)
    if found.odd:
        raise WvcError(
            f"{len(found.odd)} of {found.tensors} tensors came out otherwise",
            "another version of torch or another machine may round otherwise; else the commit is not what it says",
        )


def render(found: "Replay") -> str:
    if not found.odd:
        return f"[yellow]{found.commit.id[:10]}[/]: all {found.tensors} tensors are the same, bit for bit"
    some = ", ".join(console.safe(name) for name in found.odd[:3])
    return f"[yellow]{found.commit.id[:10]}[/]: {len(found.odd)} of {found.tensors} tensors differ: {some}"
