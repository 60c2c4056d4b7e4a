"""Average models."""

from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console
from wvc.errors import UsageError
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.merge import Merged


def command(
    revisions: Annotated[list[str], typer.Argument(help="Branches, commits or globs over branches")],
    select: Annotated[
        str | None, typer.Option(help="Which to average: all or greedy, by default greedy where a task is given")
    ] = None,
    strategy: Annotated[str, typer.Option(help="How to blend: linear, the average")] = "linear",
    task: Annotated[str | None, typer.Option("--task", "-t", help="Task whose validation images decide")] = None,
    test_domain: Annotated[list[str] | None, typer.Option(help="Domain that was held out")] = None,
    tie: Annotated[str, typer.Option(help="accept or reject what changes nothing")] = "accept",
    metric: Annotated[str, typer.Option(help="micro (images pooled) or macro (mean over domains)")] = "micro",
    buffers: Annotated[
        str, typer.Option(help="BatchNorm statistics: average, or those of the first (the best)")
    ] = "average",
    no_head: Annotated[bool, typer.Option("--no-head", help="Leave HEAD out of the average")] = False,
    no_ff: Annotated[bool, typer.Option("--no-ff", help="Make a commit even where moving the branch would do")] = False,
    allow_unrelated: Annotated[
        bool, typer.Option("--allow-unrelated", help="Average models without a common ancestor")
    ] = False,
    precision: Annotated[str, typer.Option(help="fp32 or bf16, of the evaluations")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the table and change nothing")] = False,
) -> None:
    """Average models into the current branch, all of them or those that validation accepts."""
    from wvc.verbs.judge import Options
    from wvc.verbs.merge import merge

    choices = {
        "--select": (select, (None, "all", "greedy")),
        "--tie": (tie, ("accept", "reject")),
        "--metric": (metric, ("micro", "macro")),
        "--buffers": (buffers, ("average", "first")),
        "--precision": (precision, ("fp32", "bf16")),
    }
    for option, (value, allowed) in choices.items():
        if value not in allowed:
            raise UsageError(f"{option} {value} is not one of {', '.join(str(a) for a in allowed if a)}")
    options = Options(
        task=task,
        test_domains=tuple(test_domain) if test_domain else None,
        strategy=strategy,
        select=select,
        tie=cast(Literal["accept", "reject"], tie),
        metric=cast(Literal["micro", "macro"], metric),
        buffers=buffers,
        with_head=not no_head,
        fast_forward=not no_ff,
        allow_unrelated=allow_unrelated,
        precision=precision,
        device=device,
        message=message,
        dry_run=dry_run,
    )
    merged = merge(Repository(), revisions, options, console.progress())
    console.show(merged, render)


def render(merged: "Merged") -> RenderableType:
    parts: list[RenderableType] = []
    if merged.rows:
        parts.append(table(merged))
    parts += [console.safe(note) for note in merged.notes]
    kept = sum(row.accepted for row in merged.rows)
    if merged.forward:
        where = f" to [yellow]{merged.commit.id[:10]}[/]" if merged.commit else ""
        parts.append(f"Fast-forward{where}")
    elif merged.commit is None:
        parts.append(f"would average {kept} of {len(merged.rows)} models")
    elif kept == 1:
        parts.append(f"Kept one of {len(merged.rows)} models as it is: [yellow]{merged.commit.id[:10]}[/]")
    else:
        parts.append(f"Averaged {kept} of {len(merged.rows)} models into [yellow]{merged.commit.id[:10]}[/]")
    return Group(*parts)


def table(merged: "Merged") -> Table:
    grid = Table("candidate", box=None, pad_edge=False)
    grid.add_column("alone", justify="right")
    grid.add_column("average with it", justify="right")
    grid.add_column("")
    for row in merged.rows:
        average = "" if row.average is None else f"{'' if row.exact else '< '}{100 * float(row.average):.2f} %"
        alone = "" if row.own is None else f"{100 * float(row.own):.2f} %"
        verdict = "[green]accepted[/]" if row.accepted else "[red]rejected[/]"
        grid.add_row(console.safe(row.candidate.name), alone, average, verdict)
    return grid
