"""Measure a commit on a task, or several together as an ensemble."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console
from wvc.errors import UsageError
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.repo.scores import Score
    from wvc.verbs.ensemble import EnsembleEvaluation
    from wvc.verbs.eval import Evaluation

CHOICES = {"--split": ("val", "in", "all"), "--space": ("logit", "prob"), "--precision": ("fp32", "bf16")}


def command(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="REV", help="Commit or branch, HEAD by default; several, or globs, with --ensemble"),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Measure them together: the mean of their answers decides")
    ] = False,
    space: Annotated[str | None, typer.Option(help="Mean of what: logit (the default) or prob")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Task, by default the commit's own")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Domain, by default all of them")] = None,
    split: Annotated[str | None, typer.Option(help="val, in (the training images) or all")] = None,
    test_domain: Annotated[list[str] | None, typer.Option(help="Domain that was held out")] = None,
    trial_seed: Annotated[int | None, typer.Option(min=0, help="Which 80/20 split")] = None,
    precision: Annotated[str, typer.Option(help="fp32 or bf16")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    record: Annotated[bool, typer.Option("--record/--no-record", help="Attach the scores to the commit")] = True,
) -> None:
    """Measure commits on a task: test domains whole, the others on their validation images."""
    _check(revisions or [], ensemble=ensemble, choices={"--split": split, "--space": space, "--precision": precision})
    from wvc.verbs import ensemble as together
    from wvc.verbs.eval import evaluate

    options = together.Options(
        task=task,
        domains=tuple(domain) if domain else None,
        split=split,
        test_domains=tuple(test_domain) if test_domain else None,
        trial=trial_seed,
        precision=precision,
        device=device,
        record=record,
        space=cast(Literal["logit", "prob"], space or "logit"),
    )
    wanted, progress = revisions or ["HEAD"], console.progress()
    if ensemble:
        console.show(together.ensemble(Repository(), wanted, options, progress), render_ensemble)
    else:
        console.show(evaluate(Repository(), wanted[0], options, progress), render)


def _check(revisions: list[str], *, ensemble: bool, choices: dict[str, str | None]) -> None:
    """Raises UsageError."""
    for option, value in choices.items():
        if value is not None and value not in CHOICES[option]:
            raise UsageError(f"{option} {value} is not one of {', '.join(CHOICES[option])}")
    if len(revisions) > 1 and not ensemble:
        raise UsageError(
            f"eval measures one commit, not {len(revisions)}", "add --ensemble to measure them together, as one"
        )
    if choices["--space"] is not None and not ensemble:
        raise UsageError("--space is for ensembles", "add --ensemble")


def render(evaluation: "Evaluation") -> RenderableType:
    title = f"[yellow]{evaluation.commit.id[:10]}[/] on {console.safe(evaluation.task)}"
    return Group(title, table(evaluation.scores, evaluation.test))


def render_ensemble(evaluation: "EnsembleEvaluation") -> RenderableType:
    n = len(evaluation.members)
    models = "1 model" if n == 1 else f"{n} models"
    title = f"ensemble of {models} ({evaluation.space}) on {console.safe(evaluation.task)}"
    return Group(title, table(evaluation.scores, evaluation.test))


def table(scores: "Sequence[Score]", test: Sequence[str]) -> Table:
    grid = Table("domain", "images", box=None, pad_edge=False)
    grid.add_column("right", justify="right")
    grid.add_column("accuracy", justify="right")
    for score in scores:
        what = {"val": "validation", "in": "training", "all": "all"}[score.circumstances.split]
        for domain, (right, total) in score.domains.items():
            held = " [cyan](held out)[/]" if domain in test else ""
            # 80 % of a domain held out are a split like any other, but nobody trained on them.
            part = "80 %" if held and what == "training" else what
            share = f"{100 * right / total:.1f} %"
            grid.add_row(console.safe(domain) + held, part, f"{right}/{total}", share)
        if len(score.domains) > 1:
            grid.add_row("[bold]pooled[/]", what, "", f"[bold]{100 * float(score.micro):.1f} %[/]")
            grid.add_row("[bold]mean[/]", what, "", f"[bold]{100 * float(score.macro):.1f} %[/]")
    return grid
