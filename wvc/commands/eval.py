"""Measure a commit on a task."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.eval import Evaluation


def command(
    revision: Annotated[str, typer.Argument(help="Commit or branch")] = "HEAD",
    task: Annotated[str | None, typer.Option("--task", "-t", help="Task, by default the commit's own")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Domain, by default all of them")] = None,
    split: Annotated[str | None, typer.Option(help="val, in (the training images) or all")] = None,
    test_domain: Annotated[list[str] | None, typer.Option(help="Domain that was held out")] = None,
    trial_seed: Annotated[int | None, typer.Option(min=0, help="Which 80/20 split")] = None,
    precision: Annotated[str, typer.Option(help="fp32 or bf16")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    record: Annotated[bool, typer.Option("--record/--no-record", help="Attach the scores to the commit")] = True,
) -> None:
    """Measure a commit on a task: test domains whole, the others on their validation images."""
    from wvc.verbs.eval import Options, evaluate

    options = Options(
        task=task,
        domains=tuple(domain) if domain else None,
        split=split,
        test_domains=tuple(test_domain) if test_domain else None,
        trial=trial_seed,
        precision=precision,
        device=device,
        record=record,
    )
    console.show(evaluate(Repository(), revision, options, console.progress()), render)


def render(evaluation: "Evaluation") -> RenderableType:
    table = Table("domain", "images", box=None, pad_edge=False)
    table.add_column("right", justify="right")
    table.add_column("accuracy", justify="right")
    for score in evaluation.scores:
        what = {"val": "validation", "in": "training", "all": "all"}[score.circumstances.split]
        for domain, (right, total) in score.domains.items():
            held = " [cyan](held out)[/]" if domain in evaluation.test else ""
            share = f"{100 * right / total:.1f} %"
            table.add_row(console.safe(domain) + held, what, f"{right}/{total}", share)
        if len(score.domains) > 1:
            table.add_row("[bold]pooled[/]", what, "", f"[bold]{100 * float(score.micro):.1f} %[/]")
            table.add_row("[bold]mean[/]", what, "", f"[bold]{100 * float(score.macro):.1f} %[/]")
    return Group(f"[yellow]{evaluation.commit.id[:10]}[/] on {console.safe(evaluation.task)}", table)
