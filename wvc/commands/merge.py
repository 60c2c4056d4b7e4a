"""Blend models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from wvc import console, plugins
from wvc.commands._merged import render
from wvc.errors import UsageError
from wvc.repo.repository import Repository

SELECTIONS = ("all", "greedy", "greedy-replacement", "greedy-ensemble", "learned")
STRATEGIES = ", ".join(plugins.names("wvc.strategies"))


def command(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="REV...", help="Branches, commits, ranges A..B, or globs over branches"),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help=f"Which to blend: {', '.join(SELECTIONS)}; by default greedy where a task is given, else all"
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help=f"How to blend: {STRATEGIES}; by default linear, or three-way where nothing needs averaging"),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the strategy; -o help lists them"),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="REV", help="What changes are counted from, by default the merge base")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Task whose validation images decide")] = None,
    test_domain: Annotated[list[str] | None, typer.Option(help="Domain that was held out")] = None,
    tie: Annotated[str, typer.Option(help="accept or reject what changes nothing")] = "accept",
    metric: Annotated[str, typer.Option(help="micro (images pooled) or macro (mean over domains)")] = "micro",
    order: Annotated[str, typer.Option(help="In which greedy tries: val (best first), random or given")] = "val",
    rounds: Annotated[int, typer.Option(min=1, help="Of greedy-replacement, at most")] = 10,
    per: Annotated[str, typer.Option(help="Learned coefficients per model, layer or tensor")] = "model",
    lr: Annotated[float, typer.Option(help="Learning rate of learned coefficients")] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes that coefficients are learned in")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the random order and of learned coefficients")] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show diversity and barrier of each candidate, which takes more passes")
    ] = False,
    report_test: Annotated[
        bool, typer.Option("--report-test", help="Measure the result on the test domains, which decide nothing")
    ] = False,
    buffers: Annotated[
        str, typer.Option(help="BatchNorm statistics: average, or those of the first (the best)")
    ] = "average",
    recalibrate: Annotated[
        int | None,
        typer.Option(min=0, metavar="IMAGES", help="Estimate BatchNorm statistics from so many images, 0 for all"),
    ] = None,
    coefficients: Annotated[
        str | None, typer.Option(help="One for each model, such as 1/2,1/4,0.25, instead of a selection")
    ] = None,
    alpha_sweep: Annotated[
        str | None,
        typer.Option(
            metavar="FROM:TO:STEP", help="Try points between two models, and keep the one that validates best"
        ),
    ] = None,
    ours: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Tensors to take from HEAD as they are")
    ] = None,
    theirs: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Tensors to take from the other model as they are")
    ] = None,
    featurizer_only: Annotated[
        bool, typer.Option("--featurizer-only", help="Leave the heads out: the first model's stays")
    ] = False,
    fuse: Annotated[
        int | None, typer.Option(metavar="SEED", help="Draw the coefficients, and average featurizers only")
    ] = None,
    fuse_range: Annotated[
        float | None, typer.Option(help="How far apart the draws of --fuse may be: 4 by default, 0 for even ones")
    ] = None,
    from_mergekit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Take models, strategy and options from a mergekit YAML file")
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Count a merge as one model, not as those that it was made of")
    ] = False,
    no_head: Annotated[bool, typer.Option("--no-head", help="Leave HEAD out")] = False,
    no_ff: Annotated[bool, typer.Option("--no-ff", help="Make a commit even where moving the branch would do")] = False,
    allow_unrelated: Annotated[
        bool, typer.Option("--allow-unrelated", help="Blend models without a common ancestor")
    ] = False,
    precision: Annotated[str, typer.Option(help="fp32 or bf16, of the evaluations")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the table and change nothing")] = False,
) -> None:
    """Blend models into the current branch: all of them, or those that validation accepts."""
    given = locals()
    for name, allowed in CHOICES.items():
        _check(name, given[name.removeprefix("--")], allowed)
    from wvc.verbs import sweep
    from wvc.verbs.blend import Options as Stated
    from wvc.verbs.blend import blend, coefficients_of
    from wvc.verbs.merge import merge
    from wvc.verbs.mergekit import read as plan
    from wvc.verbs.strategy import assignments, options_of
    from wvc.verbs.terms import Learning, Options

    if option == ["help"]:
        console.show(options_of(strategy or "linear"), _options)
        return
    repository, progress, models = Repository(), console.progress(), revisions or []
    common: dict[str, Any] = {
        "strategy": strategy,
        "given": assignments(option or []),
        "base": base,
        "buffers": buffers,
        "featurizer_only": featurizer_only,
        "ours": tuple(ours or ()),
        "theirs": tuple(theirs or ()),
        "recalibrate": recalibrate,
        "allow_unrelated": allow_unrelated,
        "device": device,
        "message": message,
        "dry_run": dry_run,
    }
    stated = None if coefficients is None else coefficients_of(coefficients)
    if from_mergekit is not None:
        if models or strategy or option or base or stated:
            raise UsageError("--from-mergekit names models, strategy, base and options itself", "leave those out")
        found = plan(Path(from_mergekit))
        for note in found.notes:
            console.warn(note)
        models, stated = list(found.revisions), found.coefficients
        common |= {"strategy": found.strategy, "given": found.options, "base": found.base}
    if not models:
        raise UsageError("there is nothing to merge", "name branches or commits, as in `wvc merge 'run/*'`")
    chosen = Options(
        **common,
        task=task,
        test_domains=tuple(test_domain) if test_domain else None,
        select=select,
        tie=cast(Literal["accept", "reject"], tie),
        metric=cast(Literal["micro", "macro"], metric),
        order=order,
        rounds=rounds,
        seed=seed,
        learning=Learning(per, lr, epochs),
        pairwise=pairwise,
        explain=explain,
        report_test=report_test,
        with_head=not no_head,
        fast_forward=not no_ff,
        precision=precision,
    )
    if fuse_range is not None and fuse is None:
        raise UsageError("--fuse-range goes with --fuse", "give --fuse a seed, or leave --fuse-range out")
    if alpha_sweep is not None:
        _check_stated("--alpha-sweep", {**given, "coefficients": stated, "fuse": fuse}, SWEEPING)
        made = sweep.sweep(repository, models, sweep.grid(alpha_sweep), chosen, progress)
    elif stated is None and fuse is None and from_mergekit is None:
        made = merge(repository, models, chosen, progress)
    else:
        how = "--from-mergekit" if from_mergekit else "--fuse" if stated is None else "--coefficients"
        _check_stated(how, given, CHOOSING if fuse is None else FUSING)
        options = Stated(
            **common,
            coefficients=stated,
            fuse_seed=fuse,
            fuse_range=4.0 if fuse_range is None else fuse_range,
        )
        made = blend(repository, models, options, progress)
    console.show(made, render)


CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "--select": (None, *SELECTIONS),
    "--tie": ("accept", "reject"),
    "--metric": ("micro", "macro"),
    "--order": ("val", "random", "given"),
    "--per": ("model", "layer", "tensor"),
    "--buffers": ("average", "first"),
    "--precision": ("fp32", "bf16"),
}

# Options that choose or measure, with what they are where nobody gave them: they mean nothing where coefficients are
# known already.
CHOOSING: Mapping[str, Any] = {
    "--select": None, "--task": None, "--test-domain": None, "--tie": "accept", "--metric": "micro", "--order": "val",
    "--no-head": False, "--precision": "fp32", "--explain": False, "--pairwise": False, "--report-test": False,
}  # fmt: skip
FUSING: Mapping[str, Any] = {**CHOOSING, "--strategy": None, "--option": None, "--base": None}
SWEEPING: Mapping[str, Any] = {
    "--coefficients": None, "--fuse": None, "--select": None, "--strategy": None, "--option": None, "--base": None,
    "--order": "val", "--no-head": False, "--explain": False, "--pairwise": False, "--featurizer-only": False,
}  # fmt: skip


def _check(option: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{option} {value} is not one of {', '.join(name for name in allowed if name)}")


def _check_stated(how: str, given: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raises UsageError for options that mean nothing beside `how`."""
    for option, default in others.items():
        if given[option.removeprefix("--").replace("-", "_")] != default:
            raise UsageError(
                f"{how} does not go with {option}", f"it takes the models named as they are: leave {option} out"
            )


def _options(options: list[Any]) -> str:
    if not options:
        return "this strategy has no options"
    width = max(len(option.name) for option in options)
    return "\n".join(
        f"{option.name:{width}}  {console.safe(option.help)} ({console.safe(option.kind)}; {option.default} by default)"
        for option in options
    )
