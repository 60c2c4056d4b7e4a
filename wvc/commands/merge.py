"""Blend models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wvc import console, plugins
from wvc.commands._merged import render
from wvc.errors import UsageError
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.strategy import Option
    from wvc.verbs.terms import Merged

SELECTIONS = ("all", "greedy", "greedy-replacement", "greedy-ensemble", "learned")
STRATEGIES = "wvc.strategies"


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
    if option == ["help"]:
        _show_options(strategy)
        return
    console.show(_merged(given), render)


def _merged(given: Mapping[str, Any]) -> "Merged":
    """What the options ask for: a selection, stated or drawn coefficients, or a walk between two models."""
    from wvc.verbs import blend, merge, mergekit, terms
    from wvc.verbs.strategy import assignments

    repository, progress, models = Repository(), console.progress(), given["revisions"] or []
    common: dict[str, Any] = {
        "given": assignments(given["option"] or []),
        "ours": tuple(given["ours"] or ()),
        "theirs": tuple(given["theirs"] or ()),
        **{name: given[name] for name in BLENDING},
    }
    stated = None if given["coefficients"] is None else blend.coefficients_of(given["coefficients"])
    file, fuse = given["from_mergekit"], given["fuse"]
    if file is not None:
        _check_alone("--from-mergekit", given, NAMED)
        found = mergekit.read(Path(file))
        for note in found.notes:
            console.warn(note)
        models, stated = list(found.revisions), found.coefficients
        common |= {"strategy": found.strategy, "given": found.options, "base": found.base}
    if not models:
        raise UsageError("there is nothing to merge", "name branches or commits, as in `wvc merge 'run/*'`")
    if given["fuse_range"] is not None and fuse is None:
        raise UsageError("--fuse-range goes with --fuse", "give --fuse a seed, or leave --fuse-range out")
    if file is not None or fuse is not None or (stated is not None and given["alpha_sweep"] is None):
        how = "--from-mergekit" if file else "--coefficients" if fuse is None else "--fuse"
        _check_alone(how, given, CHOOSING if fuse is None else FUSING)
        kappa = 4.0 if given["fuse_range"] is None else given["fuse_range"]
        options = blend.Options(**common, coefficients=stated, fuse_seed=fuse, fuse_range=kappa)
        return blend.blend(repository, models, options, progress)
    chosen = terms.Options(
        **common,
        test_domains=tuple(given["test_domain"]) if given["test_domain"] else None,
        learning=terms.Learning(given["per"], given["lr"], given["epochs"]),
        with_head=not given["no_head"],
        fast_forward=not given["no_ff"],
        **{name: given[name] for name in SELECTING},
    )
    if given["alpha_sweep"] is None:
        return merge.merge(repository, models, chosen, progress)
    _check_alone("--alpha-sweep", given, SWEEPING)
    from wvc.verbs import sweep

    return sweep.sweep(repository, models, sweep.grid(given["alpha_sweep"]), chosen, progress)


# Options that the verbs know by the same name.
BLENDING = (
    "strategy", "base", "buffers", "featurizer_only", "recalibrate", "allow_unrelated", "device", "message", "dry_run",
)  # fmt: skip
SELECTING = (
    "task", "select", "tie", "metric", "order", "rounds", "seed", "pairwise", "explain", "report_test", "precision",
)  # fmt: skip

CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "--select": (None, *SELECTIONS),
    "--tie": ("accept", "reject"),
    "--metric": ("micro", "macro"),
    "--order": ("val", "random", "given"),
    "--per": ("model", "layer", "tensor"),
    "--buffers": ("average", "first"),
    "--precision": ("fp32", "bf16"),
}

# Options that mean nothing beside another one, with what they are where nobody gave them: those that choose or measure
# where coefficients are known already, those that are drawn, named in a file, or tried one after the other.
CHOOSING: Mapping[str, Any] = {
    "--select": None, "--task": None, "--test-domain": None, "--tie": "accept", "--metric": "micro", "--order": "val",
    "--no-head": False, "--precision": "fp32", "--explain": False, "--pairwise": False, "--report-test": False,
    "--rounds": 10, "--per": "model", "--lr": 0.1, "--epochs": 3, "--seed": 0,
}  # fmt: skip
FUSING: Mapping[str, Any] = {**CHOOSING, "--strategy": None, "--option": None, "--base": None, "--coefficients": None}
NAMED: Mapping[str, Any] = {
    "REV": None, "--strategy": None, "--option": None, "--base": None, "--coefficients": None, "--fuse": None,
    "--alpha-sweep": None,
}  # fmt: skip
SWEEPING: Mapping[str, Any] = {
    "--coefficients": None, "--select": None, "--strategy": None, "--option": None, "--base": None, "--tie": "accept",
    "--order": "val", "--no-head": False, "--explain": False, "--pairwise": False, "--featurizer-only": False,
    "--rounds": 10, "--per": "model", "--lr": 0.1, "--epochs": 3, "--seed": 0,
}  # fmt: skip


def _check(option: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{option} {value} is not one of {', '.join(name for name in allowed if name)}")


def _check_alone(how: str, given: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raises UsageError for options that mean nothing beside `how`."""
    for option, default in others.items():
        value = given["revisions" if option == "REV" else option.removeprefix("--").replace("-", "_")]
        if (value or None) != (default or None):
            why = "it names models, strategy, base and options itself" if others is NAMED else WHY.get(how, "")
            raise UsageError(f"{how} does not go with {option}", f"{why}: leave {option} out")


WHY = {
    "--alpha-sweep": "it tries points between two models",
    "--fuse": "it draws the coefficients of the models named",
    "--coefficients": "it takes the models named as they are",
    "--from-mergekit": "it takes the models of the file as they are",
}


def _show_options(strategy: str | None) -> None:
    """The options of one strategy, or of all."""
    from wvc.verbs.strategy import options_of

    wanted = [strategy] if strategy else plugins.names(STRATEGIES)
    found = {name: options_of(name) for name in wanted if name in plugins.names(STRATEGIES)}
    if not found:
        raise UsageError(f"unknown strategy {strategy!r}", f"there are {', '.join(plugins.names(STRATEGIES))}")
    console.show(found, _options)


def _options(found: Mapping[str, Sequence["Option"]]) -> str:
    lines = []
    width = max([len(option.name) for options in found.values() for option in options], default=0)
    for name, options in found.items():
        lines.append(f"[bold]{name}[/]" if options else f"[bold]{name}[/] has no options")
        lines += [
            f"  {option.name:{width}}  {console.safe(option.help)} ({console.safe(option.kind)}; "
            f"{str(option.default).lower()} by default)"
            for option in options
        ]
    return "\n".join(lines)
