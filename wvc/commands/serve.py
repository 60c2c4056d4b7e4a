"""Let others read and push over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wvc import console
from wvc.errors import WvcError
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.web.guard import Line
    from wvc.web.serve import Started

Protect = Annotated[list[str] | None, typer.Option(help="Branches that only move forward, as a glob")]


def command(
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on, 0 for a free one", min=0, max=65535)] = 8420,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate for HTTPS, a PEM file")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, a PEM file")] = None,
    protect: Protect = None,
    max_pack_mb: Annotated[int, typer.Option(help="Largest pack that is taken, in MB", min=1, max=1_000_000)] = 16_000,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Form of the request log")] = "text",
) -> None:
    """Let others read and push over HTTP, until told to stop."""
    try:
        from wvc.web import serve as web
    except ModuleNotFoundError as error:
        if error.name not in ("anyio", "h11", "starlette", "uvicorn"):
            raise
        raise WvcError("the server needs packages that are not installed", "pip install 'wvc[server]'") from None

    options = web.Options(host, port, tls_cert, tls_key, tuple(protect or ()), max_pack_mb)
    web.serve(Repository(), options, _say(log_format), lambda started: console.show(started, render))


def render(started: Started) -> str:
    lines = [f"serving {console.safe(started.repository)} at [bold]{console.safe(started.url)}[/]"]
    if started.open:
        lines.append("everybody on this machine may read and push; `wvc token create` makes tokens")
    if started.protected:
        lines.append(f"protected: {console.safe(', '.join(started.protected))}")
    return "\n".join(lines)


def _say(form: str) -> Callable[[Line], None]:
    def text(line: Line) -> None:
        who, why = line.caller or "-", f" ({line.problem})" if line.problem else ""
        what = f"{line.client} {who} {line.method} {line.path} {line.status}"
        console.line(f"{what} {line.sent}B {line.milliseconds:.0f}ms{why}")

    def facts(line: Line) -> None:
        console.line(json.dumps(vars(line)))

    return facts if form == "json" else text
