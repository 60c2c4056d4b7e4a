"""The datasets of DomainBed, checked against what the papers used: PACS, VLCS, OfficeHome and others."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wvc.errors import BadFile, TaskProblem, WvcWarning
from wvc.progress import Progress
from wvc.repo.safefile import open_regular
from wvc.store.canonical import Json
from wvc.tasks import Benchmark, Task, _mnist
from wvc.tasks._images import Source, gathered

NEEDS_DATA = True
LOCAL = ("duplicates",)

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.dataset: benchmark
    for benchmark in (
        Benchmark("PACS"),
        Benchmark("VLCS", evaluate_every=50, tolerance=0.2),
        Benchmark("OfficeHome"),
        Benchmark("TerraIncognita"),
        Benchmark("DomainNet", steps=15001, evaluate_every=500),
        Benchmark("RotatedMNIST", evaluate_every=300),
        Benchmark("ColoredMNIST", evaluate_every=300),
    )
}
MNIST = {"RotatedMNIST": _mnist.rotated, "ColoredMNIST": _mnist.colored}
LONGEST = 1 << 24  # bytes of a list of duplicates; DomainNet's has half a million


@dataclass(frozen=True)
class _Expected:
    """What a dataset of images should have.

    classes: how many. counts: images by domain, None where no paper says. total: of images, where the sum is not known.
    """

    classes: int
    counts: Mapping[str, int | None]
    total: int | None = None


IMAGES: Mapping[str, _Expected] = {
    "PACS": _Expected(7, {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}),
    "VLCS": _Expected(5, {"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376}),
    "OfficeHome": _Expected(65, {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357}),
    "TerraIncognita": _Expected(
        10, {"location_100": 4741, "location_38": None, "location_43": None, "location_46": None}, total=24788
    ),
    "DomainNet": _Expected(
        345,
        {
            "clipart": 48129,
            "infograph": 51605,
            "painting": 72266,
            "quickdraw": 172500,
            "real": 172947,
            "sketch": 69128,
        },
    ),
}


def load(name: str, path: Path | None, parameters: Mapping[str, Json], cache: Path | None, progress: Progress) -> Task:
    """The dataset of DomainBed at `path`: a folder or tar of domain/class/image, or a folder with MNIST's four files.

    parameters: `dataset` is DomainBed's name, in any case; `duplicates`, for DomainNet, a text file of this machine
    with the images to leave out, one domain/class/image a line.
    Raises TaskProblem where the data are not that dataset; other numbers of images make a WvcWarning.
    """
    dataset = _named(parameters)
    options = {"dataset", "duplicates"} if dataset == "DomainNet" else {"dataset"}
    if unknown := set(parameters) - options:
        raise TaskProblem(f"{dataset} has no option {min(unknown)!r}", f"its options: {', '.join(sorted(options))}")
    if path is None:
        hint = f"name them: `wvc task add {name} DATA --kind domainbed:{dataset}`"
        raise TaskProblem(f"task {name!r} needs the data of {dataset}", hint)
    if dataset in MNIST:
        task, local = MNIST[dataset](_mnist.Origin(dataset, name, path, cache)), {}
    else:
        local = {key: str(Path(str(parameters[key])).expanduser().resolve()) for key in LOCAL if key in parameters}
        without = _listed(Path(local["duplicates"])) if local else frozenset()
        task = gathered(Source(name, path, None, without), cache, progress)
        _check(dataset, path, task)
        _compare(dataset, task, is_whole=dataset == "DomainNet" and not local)
    return replace(task, kind="domainbed", parameters={"dataset": dataset}, local=local, benchmark=BENCHMARKS[dataset])


def _named(parameters: Mapping[str, Json]) -> str:
    """The dataset, as DomainBed spells it."""
    given = parameters.get("dataset")
    for name in BENCHMARKS:
        if isinstance(given, str) and name.lower() == given.lower():
            return name
    hint = f"the datasets are {', '.join(BENCHMARKS)}, as in --kind domainbed:PACS"
    raise TaskProblem("which dataset of DomainBed?" if given is None else f"DomainBed has no dataset {given!r}", hint)


def _check(dataset: str, path: Path, task: Task) -> None:
    """Raises TaskProblem where domains or the number of classes are others."""
    expected = IMAGES[dataset]
    hint = "unpack it as domain/class/image with the names of DomainBed, or use --kind folder for other data"
    if set(task.domains) != set(expected.counts):
        found = _few(task.domains, len(expected.counts))
        raise TaskProblem(
            f"{path} is not {dataset}: domains {', '.join(expected.counts)} expected, found {found}", hint
        )
    if len(task.classes) != expected.classes:
        raise TaskProblem(
            f"{path} is not {dataset}: {expected.classes} classes expected, found {len(task.classes)}", hint
        )


def _compare(dataset: str, task: Task, *, is_whole: bool) -> None:
    """Warn where numbers of images are others than the papers'.

    is_whole: True if images that the papers left out may be among these.
    """
    expected = IMAGES[dataset]
    found = {domain: len(labels) for domain, labels in zip(task.domains, task.labels, strict=True)}
    total = sum(found.values())
    differing = [
        f"{domain} has {found[domain]:,} images, {count:,} expected"
        for domain, count in expected.counts.items()
        if count is not None and found[domain] != count
    ]
    if expected.total is not None and total != expected.total:
        differing.append(f"{total:,} images in all, {expected.total:,} expected")
    if differing and is_whole:
        differing.append("leave out duplicates with --set duplicates=FILE")
    if differing:
        warnings.warn(f"{dataset}: {'; '.join(differing)}", WvcWarning, stacklevel=2)


def _listed(path: Path) -> frozenset[str]:
    """The lines of a list of duplicates. Raises BadFile."""
    hint = "duplicates=FILE names a text file with one domain/class/image a line"
    try:
        fd = open_regular(path)
    except BadFile as error:
        error.hint = hint
        raise
    with os.fdopen(fd, "rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise BadFile(path, "is too long for a list of duplicates", hint)
    try:
        lines = unicodedata.normalize("NFC", data.decode("utf-8")).splitlines()
    except UnicodeDecodeError:
        raise BadFile(path, "is not a text file", hint) from None
    return frozenset(line.strip() for line in lines)


def _few(names: Iterable[str], most: int) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
