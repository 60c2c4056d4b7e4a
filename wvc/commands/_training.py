"""The options of a training: many, in panels, all of them `commit`'s."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

if TYPE_CHECKING:
    from wvc.verbs.options import Options

TRAINING, HPARAMS, AVERAGES, STARTS = "Training", "Hyperparameters", "Along the run", "Start"
MOST, LARGEST = 10**9, 1e9

Task = Annotated[str | None, Option("--task", "-t", help="Task to fine-tune on, by default HEAD's")]

TestDomain = Annotated[
    list[str] | None, Option("--test-domain", help="Domain to hold out; none for none", rich_help_panel=TRAINING)
]
Steps = Annotated[
    int | None, Option(min=1, max=MOST, help="Updates, by default the benchmark's or 5001", rich_help_panel=TRAINING)
]
EvalEvery = Annotated[int | None, Option(min=1, help="Updates between validations", rich_help_panel=TRAINING)]
EvalAll = Annotated[bool, Option("--eval-all", help="Look at all images at each validation", rich_help_panel=TRAINING)]
ValAugment = Annotated[
    bool, Option("--val-augment", help="Vary validation images too, as the papers' code", rich_help_panel=TRAINING)
]
Keep = Annotated[str | None, Option(help="best checkpoint, or last", rich_help_panel=TRAINING)]
TrialSeed = Annotated[
    int | None, Option(min=0, max=2**31 - 1, help="Which 80/20 split, default 0", rich_help_panel=TRAINING)
]
Seed = Annotated[int | None, Option(help="Seed of the run, by default drawn", rich_help_panel=TRAINING)]
ImageSize = Annotated[
    int | None, Option(min=1, max=16384, help="Side of the images in pixels", rich_help_panel=TRAINING)
]
Accumulate = Annotated[
    int | None,
    Option(min=1, max=MOST, help="Parts to compute a batch in, to save memory", rich_help_panel=TRAINING),
]
Precision = Annotated[str, Option(help="fp32 or bf16", rich_help_panel=TRAINING)]
Device = Annotated[str, Option(help="auto, cpu, cuda or cuda:N", rich_help_panel=TRAINING)]
Limit = Annotated[int | None, Option(min=5, help="Images per domain, for a smoke run", rich_help_panel=TRAINING)]
Metrics = Annotated[Path | None, Option(help="File that gets a line of JSON per validation", rich_help_panel=TRAINING)]

HparamsSeed = Annotated[
    int | None,
    Option(min=0, max=2**31 - 1, help="Draw what is not given; 0 has the defaults", rich_help_panel=HPARAMS),
]
Space = Annotated[str | None, Option(help="Space to draw from, default mild; see wvc hparams", rich_help_panel=HPARAMS)]
LearningRate = Annotated[
    float | None, Option("--lr", min=0, max=LARGEST, help="Learning rate, default 5e-5", rich_help_panel=HPARAMS)
]
BatchSize = Annotated[
    int | None, Option(min=1, max=2**20, help="Images per step and domain, default 32", rich_help_panel=HPARAMS)
]
WeightDecay = Annotated[float | None, Option(min=0, max=LARGEST, help="L2 penalty, default 0", rich_help_panel=HPARAMS)]
Dropout = Annotated[float | None, Option(min=0, max=0.99, help="Before the head, default 0", rich_help_panel=HPARAMS)]
Optimizer = Annotated[str | None, Option(help="adam or adamw, default adam", rich_help_panel=HPARAMS)]
Schedule = Annotated[str | None, Option(help="constant, cosine or linear, default constant", rich_help_panel=HPARAMS)]
Warmup = Annotated[int | None, Option(min=0, max=MOST, help="Updates in which the rate rises", rich_help_panel=HPARAMS)]
Clip = Annotated[float | None, Option(min=0, max=LARGEST, help="Largest norm of the gradient", rich_help_panel=HPARAMS)]
LabelSmoothing = Annotated[
    float | None, Option(min=0, max=1, help="Share of the target for all classes", rich_help_panel=HPARAMS)
]
Augmentation = Annotated[
    str | None, Option(help="domainbed, minimal or none, by default the task's", rich_help_panel=HPARAMS)
]

Ema = Annotated[
    float | None, Option(metavar="DECAY", help="Exponential moving average, such as 0.999", rich_help_panel=AVERAGES)
]
Swa = Annotated[bool, Option("--swa", help="Mean of snapshots", rich_help_panel=AVERAGES)]
SwaEvery = Annotated[
    int | None, Option(min=1, help="Updates between snapshots, default a tenth", rich_help_panel=AVERAGES)
]
SwaFrom = Annotated[
    float | None, Option(help="Share of the run before the first, default 0.7", rich_help_panel=AVERAGES)
]
Ma = Annotated[
    str | None, Option(metavar="FORM", help="Mean of all weights: code, paper or diwa", rich_help_panel=AVERAGES)
]
MaStart = Annotated[int | None, Option(min=1, help="Update that it begins at, default 100", rich_help_panel=AVERAGES)]
Swad = Annotated[
    str | None, Option(metavar="FORM", help="Mean over a flat valley: code or paper", rich_help_panel=AVERAGES)
]
SwadConverge = Annotated[
    int | None, Option(min=1, help="Validations to find its start, default 3", rich_help_panel=AVERAGES)
]
SwadTolerate = Annotated[
    int | None, Option(min=1, help="Validations to find its end, default 6", rich_help_panel=AVERAGES)
]
SwadTolerance = Annotated[
    float | None, Option(min=0, help="How far the loss may rise, default 0.3", rich_help_panel=AVERAGES)
]

FreezeSteps = Annotated[
    int | None,
    Option(min=0, help="Updates of the head alone; 4 % of a recycled start", rich_help_panel=STARTS),
]
FreshHead = Annotated[bool, Option("--fresh-head", help="A new head even on the same task", rich_help_panel=STARTS)]
KeepHead = Annotated[
    bool, Option("--keep-head", help="Keep the head if the classes are the same", rich_help_panel=STARTS)
]
RandomHead = Annotated[
    bool, Option("--random-head", help="A random head instead of the linear probe", rich_help_panel=STARTS)
]
Probe = Annotated[str, Option(help="fast, or sgd as in the papers", rich_help_panel=STARTS)]
ProbeSteps = Annotated[int | None, Option(min=1, max=MOST, help="Updates of the linear probe", rich_help_panel=STARTS)]
ProbeLr = Annotated[
    float | None, Option(min=0, max=LARGEST, help="Learning rate of the linear probe", rich_help_panel=STARTS)
]
ProbeKeep = Annotated[str | None, Option(help="best checkpoint of an sgd probe, or last", rich_help_panel=STARTS)]
ProbeShared = Annotated[
    bool,
    Option(
        "--probe-shared/--probe-per-trial",
        help="The probe of split 0 for all splits, or its own",
        rich_help_panel=STARTS,
    ),
]
ProbeFrom = Annotated[str | None, Option(help="Foundation whose probe is the new head", rich_help_panel=STARTS)]

ELSEWHERE = {
    "weights",
    "key",
    "resume",
    "abort",
    "run",
    "metrics",
    "json",
    "context",
}  # options that are not of a training
HEADS = ("fresh", "keep", "random")
RENAMED = {"test_domain": "test_domains", "trial_seed": "trial"}


def chosen(params: Mapping[str, Any]) -> "Options":
    """The parameters of the command as options of a training. Raises UsageError."""
    from wvc.errors import UsageError
    from wvc.verbs.options import read

    heads = [head for head in HEADS if params[f"{head}_head"]]
    if len(heads) > 1:
        raise UsageError(f"--{heads[0]}-head and --{heads[1]}-head exclude each other")
    flags = {f"{head}_head" for head in HEADS}
    given = {RENAMED.get(k, k): v for k, v in params.items() if k not in ELSEWHERE | flags}
    return read({**given, "test_domains": given["test_domains"] or None, "head": heads[0] if heads else None})
