"""Average models."""

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

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
    coefficients: Annotated[
        str | None, typer.Option(help="One for each model, such as 1/2,1/4,0.25, instead of a selection")
    ] = None,
    featurizer_only: Annotated[
        bool, typer.Option("--featurizer-only", help="Leave the heads out of the average: the first model's stays")
    ] = False,
    fuse: Annotated[
        int | None, typer.Option(metavar="SEED", help="Draw the coefficients, and average featurizers only")
    ] = None,
    fuse_range: Annotated[
        float | None, typer.Option(help="How far apart the draws of --fuse may be: 4 by default, 0 for even ones")
    ] = None,
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
    from wvc.verbs import blend, judge
    from wvc.verbs.merge import merge

    _check("--select", select, (None, "all", "greedy"))
    _check("--tie", tie, ("accept", "reject"))
    _check("--metric", metric, ("micro", "macro"))
    _check("--buffers", buffers, ("average", "first"))
    _check("--precision", precision, ("fp32", "bf16"))
    options = judge.Options(
        task=task,
        test_domains=tuple(test_domain) if test_domain else None,
        strategy=strategy,
        select=select,
        tie=cast(Literal["accept", "reject"], tie),
        metric=cast(Literal["micro", "macro"], metric),
        buffers=buffers,
        featurizer_only=featurizer_only,
        with_head=not no_head,
        fast_forward=not no_ff,
        allow_unrelated=allow_unrelated,
        precision=precision,
        device=device,
        message=message,
        dry_run=dry_run,
    )
    if fuse_range is not None and fuse is None:
        raise UsageError("--fuse-range goes with --fuse", "give --fuse a seed, or leave --fuse-range out")
    if coefficients is None and fuse is None:
        merged = merge(Repository(), revisions, options, console.progress())
    else:
        _check_stated("--fuse" if coefficients is None else "--coefficients", options)
        stated = blend.Options(
            coefficients=None if coefficients is None else blend.coefficients_of(coefficients),
            featurizer_only=featurizer_only,
            fuse_seed=fuse,
            fuse_range=4.0 if fuse_range is None else fuse_range,
            buffers=buffers,
            allow_unrelated=allow_unrelated,
            message=message,
            dry_run=dry_run,
        )
        merged = blend.blend(Repository(), revisions, stated, console.progress())
    console.show(merged, render)


def _check(option: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{option} {value} is not one of {', '.join(name for name in allowed if name)}")


# Options that choose or measure, with what they are where nobody gave them.
CHOOSING: Mapping[str, tuple[str, Any]] = {
    "--select": ("select", None), "--strategy": ("strategy", "linear"), "--task": ("task", None),
    "--test-domain": ("test_domains", None), "--tie": ("tie", "accept"), "--metric": ("metric", "micro"),
    "--no-head": ("with_head", True), "--precision": ("precision", "fp32"), "--device": ("device", "auto"),
}  # fmt: skip


def _check_stated(how: str, options: object) -> None:
    """Raises UsageError for options that mean nothing where the coefficients are known."""
    for option, (name, default) in CHOOSING.items():
        if getattr(options, name) != default:
            raise UsageError(
                f"{how} does not go with {option}", f"it averages the models named as they are: leave {option} out"
            )


def render(merged: "Merged") -> RenderableType:
    parts: list[RenderableType] = []
    if merged.shares:
        parts.append(_weighed(merged))
    elif merged.rows:
        parts.append(_decided(merged))
    parts += [console.safe(note) for note in merged.notes]
    parts.append(_summary(merged))
    return Group(*parts)


def _summary(merged: "Merged") -> str:
    where = f"[yellow]{merged.commit.id[:10]}[/]" if merged.commit else ""
    if merged.forward:
        return f"Fast-forward to {where}" if where else "Fast-forward"
    shares = [share.coefficient > 0 for share in merged.shares]
    kept, total = sum(shares or [row.accepted for row in merged.rows]), len(shares or merged.rows)
    what = f"{kept} of {total} models"
    if merged.head is not None:
        what = f"the featurizers of {what} under the head of {console.safe(merged.head)}"
    if not where:
        return f"would average {what}"
    if kept == 1:
        return f"Kept one of {total} models as it is: {where}"
    return f"Averaged {what} into {where}"


def _weighed(merged: "Merged") -> Table:
    """The models and their coefficients."""
    grid = Table("model", box=None, pad_edge=False)
    grid.add_column("coefficient", justify="right")
    for share in merged.shares:
        grid.add_row(console.safe(share.candidate.name), _number(share.coefficient))
    return grid


def _number(coefficient: Fraction) -> str:
    """As a fraction where somebody may have written it."""
    return str(coefficient) if coefficient.denominator <= 1000 else f"{float(coefficient):.6f}"


def _decided(merged: "Merged") -> Table:
    """The candidates in the order of the decisions."""
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
