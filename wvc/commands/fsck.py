"""Check everything that is stored."""

import typer

from wvc import console
from wvc.repo.fsck import Report, fsck
from wvc.repo.repository import Repository


def command() -> None:
    """Check the log, every byte of every pack, and that nothing is missing."""
    report = fsck(Repository(), console.progress())
    console.show(report, render)
    if report.problems:
        raise typer.Exit(1)


def render(report: Report) -> str:
    checked = ", ".join(f"{count} {what}" for what, count in report.counts.items())
    if not report.problems:
        return f"[green]ok[/]: {checked}"
    listed = "\n".join(f"[red]damage:[/] {console.safe(problem)}" for problem in report.problems)
    plural = "problem" if len(report.problems) == 1 else "problems"
    return f"{listed}\n{len(report.problems)} {plural}; checked {checked}"
