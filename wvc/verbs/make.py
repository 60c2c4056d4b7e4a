"""Make one step of a recipe, in whatever process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from wvc import tasks
from wvc.errors import RecipeProblem
from wvc.learning.seeds import run_seed
from wvc.progress import Both, Progress
from wvc.recipes import SCHEMA, Step
from wvc.repo import names
from wvc.repo.kitchen import Report, folder_of
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.store.canonical import digest, dumps
from wvc.store.records import Move
from wvc.verbs import blend, init, merge, plan, probe, task, terms, train
from wvc.verbs.data import NONE
from wvc.verbs.import_ import Foundation
from wvc.verbs.measure import Look, measure, tip
from wvc.verbs.options import Options, read
from wvc.verbs.strategy import assignments

Cook = Mapping[str, Any]


def make(
    path: Path, recipe: str, step: Step, device: str, threads: int | None, progress: Progress | None = None
) -> None:
    """The commit of `step` in the repository at `path`, on its branch. Raises RecipeProblem and what its verb raises.

    threads: of torch. progress: told besides the report that every process may read.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    repository = Repository(path)
    report = Report(folder_of(repository), step.branch)
    try:
        _on_its_branch(repository, recipe, step, device, report if progress is None else Both(report, progress))
    finally:
        report.end()


def look(path: Path, wanted: Look, device: str, threads: int | None, progress: Progress | None = None) -> None:
    """Measure what a table will ask for, so that it is recorded or cached."""
    if threads is not None:
        torch.set_num_threads(threads)
    repository = Repository(path)
    report = Report(folder_of(repository), wanted.name)
    try:
        measure(repository, wanted, device, report if progress is None else Both(report, progress))
    finally:
        report.end()


def facts(repository: Repository, recipe: str, step: Step) -> Cook:
    """What the commit of `step` says of the recipe. Everything that decides the commit is in the key."""
    name = step.options.get("task")
    decides = {
        "schema": SCHEMA,
        "kind": step.kind,
        "inputs": [tip(repository, branch) for branch in step.inputs],
        "task": task.describe(repository, name)[1].fingerprint if name else None,
        "options": {key: repr(value) for key, value in step.options.items() if key != "device"},
    }
    parts = [model.partition("@")[2] for model in step.models]
    if any(parts):
        decides["parts"] = parts
    return {"recipe": recipe, "step": step.branch, "key": digest(dumps(decides))[:16]}


def is_made(repository: Repository, step: Step, key: str) -> bool:
    """True if the branch holds the commit that `step` would make."""
    found = repository.refs.get(names.branch(step.branch))
    if found is None:
        return False
    commit = repository.commit(found)
    if step.reuse:
        return True
    if step.kind == "probe":  # where none was needed, the branch is still at the start
        return found == _start(repository, step) or _is_probe_of(repository, commit, step)
    return key_of(commit) == key


def key_of(commit: Commit) -> str | None:
    """The key of the step that made the commit; None where no recipe did."""
    cook = commit.how.get("cook")
    return str(cook["key"]) if isinstance(cook, dict) and "key" in cook else None


def point(repository: Repository, recipe: str, step: Step, id: str) -> None:
    """Let the branch of `step` name the commit `id`, made before by this or another recipe."""
    ref = names.branch(step.branch)
    _check_ours(repository, step)
    repository.record(None, [Move(ref, repository.refs.get(ref), id)], f"cook: {recipe} takes {step.branch}")


def _check_ours(repository: Repository, step: Step) -> None:
    """Raises RecipeProblem where the branch holds what no recipe made: it would be lost from sight."""
    found = repository.refs.get(names.branch(step.branch))
    if found is None or found == _start(repository, step):
        return
    commit = repository.commit(found)
    is_probe = step.kind == "probe" and "probe" in commit.how  # refs/probes still names it
    if key_of(commit) is None and not is_probe:
        raise RecipeProblem(
            f"branch {step.branch!r} has commits that this recipe did not make",
            f"move it away: wvc branch -m {step.branch} NEW",
        )


def _start(repository: Repository, step: Step) -> str | None:
    return tip(repository, step.start) if step.start else None


def _on_its_branch(repository: Repository, recipe: str, step: Step, device: str, progress: Progress) -> None:
    """Begin the branch where the step begins, then make the commit."""
    ref, start = names.branch(step.branch), _start(repository, step)
    said = facts(repository, recipe, step)
    found = repository.refs.get(ref)
    if found != start and not (step.kind == "create" and step.reuse):
        _check_ours(repository, step)
        repository.record(None, [Move(ref, found, start)], f"cook: {recipe} begins {step.branch}")
    _MAKERS[step.kind](repository.on(ref), step, said, device, progress)


def _create(repository: Repository, step: Step, said: Cook, device: str, progress: Progress) -> None:
    options = step.options
    if "arch" not in options:
        raise RecipeProblem(f"there is no branch {step.branch!r} to begin at", "make it, or --set arch=NAME")
    foundation = Foundation(options["arch"], None, options.get("seed", 0), options.get("image_size"))
    if not step.reuse:
        init.create_random(repository, repository.branch, foundation, said, progress)
        return
    weights = options.get("weights", "pretrained")
    if weights != "random":
        where = None if weights == "pretrained" else Path(weights)
        foundation = replace(foundation, random=None, weights=where)
    init.begin(repository, foundation, progress)


def _probe(repository: Repository, step: Step, said: Cook, device: str, progress: Progress) -> None:
    """What the first training that needs the probe would make, now."""
    chosen = training(step.options, device)
    decided, _ = plan.make(repository, chosen, progress)
    made = decided["how"]["start"]["probe"]
    if made is None:  # the start has a head for this task: the branch stays there
        return
    ref = repository.branch
    repository.record(None, [Move(ref, repository.refs.get(ref), made)], f"cook: {said['recipe']} takes {step.branch}")


def _train(repository: Repository, step: Step, said: Cook, device: str, progress: Progress) -> None:
    chosen = replace(training(step.options, device), message=_message(said), cook=said)
    if train.train(repository, chosen, progress).moved:
        raise RecipeProblem(f"branch {step.branch!r} was moved meanwhile", "cook again when nobody else does")


def _merge(repository: Repository, step: Step, said: Cook, device: str, progress: Progress) -> None:
    options = dict(step.options)
    given = assignments([str(text) for text in options.pop("options", [])])
    chosen = terms.Options(**options, given=given, device=device, message=_message(said), cook=said, fast_forward=False)
    merge.merge(repository, [names.branch(model) for model in step.models], chosen, progress)


def _blend(repository: Repository, step: Step, said: Cook, device: str, progress: Progress) -> None:
    options = step.options
    seed = _fuse_seed(repository, options) if "fuse" in options else None
    chosen = blend.Options(
        coefficients=tuple(Fraction(text) for text in options["coefficients"]) if "coefficients" in options else None,
        featurizer_only=options.get("featurizer_only", seed is not None),
        fuse_seed=seed,
        fuse_range=options.get("fuse_range", 4.0),
        buffers=options.get("buffers", "average"),
        message=_message(said),
        cook=said,
    )
    blend.blend(repository, [_revision(model) for model in step.models], chosen, progress)


def _fuse_seed(repository: Repository, options: Mapping[str, Any]) -> int:
    """The seed of the run that will begin here, as in the papers' code (design, Draws)."""
    _, description = task.describe(repository, options["task"])
    domains = [name for name, _ in description.domains]
    test = [domains.index(name) for name in options.get("test_domains", []) if name != NONE]
    dataset = str(description.parameters.get("dataset", description.name))
    return run_seed(dataset, test or [-1], options["fuse"], options.get("trial", 0))


def _revision(model: str) -> str:
    branch, at, what = model.partition("@")
    return names.branch(branch) + (f"@{{{what}}}" if at else "")


def _message(said: Cook) -> str:
    return f"{said['recipe']}: {said['step']}"


def _is_probe_of(repository: Repository, commit: Commit, step: Step) -> bool:
    """True if the commit is the linear probe that `step` asks for, whoever made it."""
    how, options = commit.how, step.options
    form = how.get("probe")
    if not isinstance(form, dict) or [parent.commit for parent in commit.parents] != [_start(repository, step)]:
        return False
    wanted = training(options, "cpu")
    description = task.describe(repository, str(wanted.task))[1]
    fitted = wanted.probe.settled(tasks.benchmark(description.kind, description.parameters))
    test = [] if wanted.test_domains in (None, (NONE,)) else list(wanted.test_domains or ())
    trial = 0 if wanted.probe_shared else wanted.trial or 0
    return (
        how["task"]["fingerprint"] == description.fingerprint
        and (how["test_domains"], how["trial"], how["limit"]) == (test, trial, wanted.limit)
        and {**form, "seed": probe.SEED} == {**fitted.json(), "seed": probe.SEED}
        and options.get("image_size", how["image_size"]) == how["image_size"]
    )


def training(given: Mapping[str, Any], device: str) -> Options:
    """Options as a recipe spells them, as training knows them. Raises UsageError."""
    return read({"device": device, **given})


_MAKERS = {"create": _create, "probe": _probe, "train": _train, "blend": _blend, "merge": _merge}
