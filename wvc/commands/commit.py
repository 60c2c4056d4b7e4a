"""Fine-tune and commit."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo import names, scores
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.repo.scores import Score
from wvc.repo.sources import title

if TYPE_CHECKING:
    from wvc.verbs.probe import Form

TRAINING, STARTS, HPARAMS = "Training", "Start", "Hyperparameters"


def command(
    context: typer.Context,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Task to fine-tune on, by default HEAD's")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Commit this file, index or model folder instead of training")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Dictionary in a PyTorch checkpoint that holds the weights")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Give up an unfinished training")] = False,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="With --resume or --abort, which one")] = None,
    test_domain: Annotated[
        list[str] | None,
        typer.Option("--test-domain", help="Domain to hold out; none for none", rich_help_panel=TRAINING),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=10**9, help="Updates", rich_help_panel=TRAINING)] = 5001,
    eval_every: Annotated[
        int | None, typer.Option(min=1, help="Updates between validations", rich_help_panel=TRAINING)
    ] = None,
    trial_seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="Which 80/20 split, default 0", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the run, by default drawn", rich_help_panel=TRAINING)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, max=16384, help="Side of the images in pixels", rich_help_panel=TRAINING)
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or bf16", rich_help_panel=TRAINING)] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N", rich_help_panel=TRAINING)] = "auto",
    limit: Annotated[
        int | None, typer.Option(min=5, help="Images per domain, for a smoke run", rich_help_panel=TRAINING)
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="File that gets a line of JSON per validation", rich_help_panel=TRAINING)
    ] = None,
    hparams_seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="Draw what is not given; 0 has the defaults", rich_help_panel=HPARAMS),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(min=0, max=1e9, help="Learning rate, default 5e-5", rich_help_panel=HPARAMS)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=2**20, help="Images per step and domain, default 32", rich_help_panel=HPARAMS),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(min=0, max=1e9, help="L2 penalty, default 0", rich_help_panel=HPARAMS)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="Before the head, default 0", rich_help_panel=HPARAMS)
    ] = None,
    freeze_steps: Annotated[
        int | None,
        typer.Option(min=0, help="Updates of the head alone; 4 % of a recycled start", rich_help_panel=STARTS),
    ] = None,
    fresh_head: Annotated[
        bool, typer.Option("--fresh-head", help="A new head even on the same task", rich_help_panel=STARTS)
    ] = False,
    keep_head: Annotated[
        bool, typer.Option("--keep-head", help="Keep the head if the classes are the same", rich_help_panel=STARTS)
    ] = False,
    probe: Annotated[str, typer.Option(help="fast, or sgd as in the papers", rich_help_panel=STARTS)] = "fast",
    probe_steps: Annotated[
        int | None, typer.Option(min=1, max=10**9, help="Updates of the linear probe", rich_help_panel=STARTS)
    ] = None,
    probe_lr: Annotated[
        float | None, typer.Option(min=0, max=1e9, help="Learning rate of the linear probe", rich_help_panel=STARTS)
    ] = None,
    probe_from: Annotated[
        str | None, typer.Option(help="Foundation whose probe is the new head", rich_help_panel=STARTS)
    ] = None,
) -> None:
    """Fine-tune HEAD on a task and commit the result, or commit weights from a file."""
    repository = Repository()
    _check(context, weights=weights, going_on=resume or abort, run=run)
    if abort:
        from wvc.verbs import runs

        given_up = runs.choose(repository, run)
        given_up.remove()
        console.show({"aborted": given_up.id}, lambda facts: f"gave up run {facts['aborted']}")
        return
    if weights is not None:
        from wvc.verbs.commit import commit_weights

        made = commit_weights(repository, weights, message or title(weights), console.progress(), key=key)
        console.show(made, lambda commit: render(commit, names.short(repository.branch)))
        return
    from wvc.verbs import plan, train

    if resume:
        trained = train.resume(repository, run, console.progress(), metrics)
    else:
        if fresh_head and keep_head:
            raise UsageError("--fresh-head and --keep-head exclude each other")
        options = plan.Options(
            task=task,
            test_domains=tuple(test_domain) if test_domain else None,
            steps=steps,
            learning_rate=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            dropout=dropout,
            hparams_seed=hparams_seed,
            seed=seed,
            trial=trial_seed,
            freeze_steps=freeze_steps,
            evaluate_every=eval_every,
            image_size=image_size,
            precision=_one_of("--precision", precision, ("fp32", "bf16")),
            device=device,
            limit=limit,
            head="fresh" if fresh_head else "keep" if keep_head else None,
            probe_from=probe_from,
            probe=_form(_one_of("--probe", probe, ("fast", "sgd")), probe_steps, probe_lr),
            message=message,
        )
        trained = train.train(repository, options, console.progress(), metrics, console.note)
    known = scores.of_commit(repository, trained.commit.id)
    console.show(trained.commit, lambda commit: render(commit, names.short(trained.branch), known))
    if trained.moved:
        branch = console.safe(names.short(trained.branch))
        console.note(f"[yellow]the branch was moved meanwhile: the result is on {branch}[/]")
        console.note(f"[cyan]hint:[/] wvc merge {branch}")
        raise typer.Exit(1)


def _check(context: typer.Context, *, weights: Path | None, going_on: bool, run: str | None) -> None:
    """Options that do not go together. Raises UsageError."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if run is not None and not going_on:
        raise UsageError(f"unexpected argument {run!r}", "a run is named with --resume; a message with -m")
    allowed = {"resume", "abort", "run", "metrics", "json"} if going_on else {"weights", "key", "message", "json"}
    if "key" in given and weights is None:
        raise UsageError("--key needs --weights")
    odd = sorted(given - allowed)
    if odd and (going_on or weights is not None):
        with_ = "--resume goes on as the run began" if going_on else "--weights commits a file"
        raise UsageError(f"{with_}: --{odd[0].replace('_', '-')} does not go with it")


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{option} {value} is not one of {', '.join(choices)}")
    return value


def _form(kind: str, steps: int | None, rate: float | None) -> "Form":
    from dataclasses import replace

    from wvc.verbs import probe

    form = probe.PAPERS if kind == "sgd" else probe.Form()
    return replace(form, steps=steps or form.steps, learning_rate=rate or form.learning_rate)


def render(commit: Commit, branch: str, known: Sequence[Score] = ()) -> str:
    line = f"\\[{console.safe(branch)}] [yellow]{commit.id[:10]}[/] {console.safe(commit.subject)}"
    if "best" not in commit.how:
        return line
    best = commit.how["best"]
    accuracy = float(Fraction(best["score"]))
    held = [
        f"\n{console.safe(domain)}, held out: {100 * right / total:.1f} % of {total} images"
        for score in known
        if score.circumstances.split == "all"
        for domain, (right, total) in score.domains.items()
    ]
    return (
        f"{line}\nvalidation accuracy {100 * accuracy:.1f} % (mean over domains) at step {best['step']}{''.join(held)}"
    )
