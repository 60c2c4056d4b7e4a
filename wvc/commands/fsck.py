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
    lines = [f"[red]damage:[/] {console.safe(problem)}" for problem in report.problems]
    for item in report.lost:
        lines.append(f"[red]lost:[/] {console.safe(item.subject)}: {console.safe(item.place)}")
        lines += [f"  it is stored as a difference to {id[:12]}, which is lost too" for id in item.bases]
    plural = "problem" if len(report.problems) == 1 else "problems"
    return "\n".join([*lines, f"{len(report.problems)} {plural}; checked {checked}"])
