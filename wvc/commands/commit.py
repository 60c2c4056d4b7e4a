"""Fine-tune and commit."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.commands import _training
from wvc.errors import UsageError
from wvc.repo import names, scores
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.repo.scores import Score
from wvc.repo.sources import title


def command(
    context: typer.Context,
    task: _training.Task = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Commit this file, index or model folder instead of training")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Dictionary in a PyTorch checkpoint that holds the weights")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Give up an unfinished training")] = False,
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="With --resume or --abort, which one")] = None,
    test_domain: _training.TestDomain = None,
    steps: _training.Steps = None,
    eval_every: _training.EvalEvery = None,
    eval_all: _training.EvalAll = False,
    val_augment: _training.ValAugment = False,
    keep: _training.Keep = None,
    trial_seed: _training.TrialSeed = None,
    seed: _training.Seed = None,
    image_size: _training.ImageSize = None,
    accumulate: _training.Accumulate = None,
    precision: _training.Precision = "fp32",
    device: _training.Device = "auto",
    limit: _training.Limit = None,
    metrics: _training.Metrics = None,
    hparams_seed: _training.HparamsSeed = None,
    space: _training.Space = None,
    lr: _training.LearningRate = None,
    batch_size: _training.BatchSize = None,
    weight_decay: _training.WeightDecay = None,
    dropout: _training.Dropout = None,
    optimizer: _training.Optimizer = None,
    schedule: _training.Schedule = None,
    warmup: _training.Warmup = None,
    clip: _training.Clip = None,
    label_smoothing: _training.LabelSmoothing = None,
    augmentation: _training.Augmentation = None,
    ema: _training.Ema = None,
    swa: _training.Swa = False,
    swa_every: _training.SwaEvery = None,
    swa_from: _training.SwaFrom = None,
    ma: _training.Ma = None,
    ma_start: _training.MaStart = None,
    swad: _training.Swad = None,
    swad_converge: _training.SwadConverge = None,
    swad_tolerate: _training.SwadTolerate = None,
    swad_tolerance: _training.SwadTolerance = None,
    freeze_steps: _training.FreezeSteps = None,
    fresh_head: _training.FreshHead = False,
    keep_head: _training.KeepHead = False,
    random_head: _training.RandomHead = False,
    probe: _training.Probe = "fast",
    probe_steps: _training.ProbeSteps = None,
    probe_lr: _training.ProbeLr = None,
    probe_keep: _training.ProbeKeep = None,
    probe_shared: _training.ProbeShared = False,
    probe_from: _training.ProbeFrom = None,
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
    from wvc.verbs import train

    if resume:
        trained = train.resume(repository, run, console.progress(), metrics)
    else:
        options = _training.chosen(context.params)
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
