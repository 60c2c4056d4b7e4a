"""Cook a recipe: make every commit that is not there yet, then the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wvc.errors import RecipeProblem
from wvc.progress import SILENT, Progress
from wvc.recipes import SCHEMA, Recipe, Step
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.store.canonical import digest, dumps
from wvc.store.records import Move
from wvc.verbs import judge, merge, plan, probe, table, task, train
from wvc.verbs.data import NONE
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import create_random

Cook = Mapping[str, Any]


def cook(
    repository: Repository, recipe: Recipe, progress: Progress = SILENT, say: Callable[[str], None] = lambda text: None
) -> table.Table | None:
    """Make what is missing, resume what is unfinished, leave the rest alone; return the table.

    say: is told each step that is made. Raises RecipeProblem where a branch holds what cook did not make.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    for entry in recipe.tasks:
        path = None if entry.path is None else Path(entry.path)
        task.add(repository, entry.name, path, entry.kind, entry.parameters)
    for i, step in enumerate(recipe.steps):
        made = _cook_step(repository, recipe.name, step, progress)
        say(f"[{i + 1}/{len(recipe.steps)}] {step.branch}: {'made' if made else 'already there'}")
    return table.make(repository, recipe, progress) if recipe.rows else None


def _cook_step(repository: Repository, recipe: str, step: Step, progress: Progress) -> bool:
    """False if the commit was there already."""
    ref = names.branch(step.branch)
    start = repository.refs[names.branch(step.start)] if step.start else None
    facts = {"recipe": recipe, "step": step.branch, "key": _key(repository, step)}
    tip = repository.refs.get(ref)
    if tip is not None and tip != start:
        known = repository.commit(tip).how.get("cook")
        if known == facts:
            return False
        if known is None:
            raise RecipeProblem(
                f"branch {step.branch!r} has commits that this recipe did not make",
                f"move it away: wvc branch -m {step.branch} NEW",
            )
    if tip != start:
        repository.record(None, [Move(ref, tip, start)], f"cook: {recipe} begins {step.branch}")
    _make(repository.on(ref), step, facts, progress)
    return True


def _make(repository: Repository, step: Step, facts: Cook, progress: Progress) -> None:
    """The one commit of `step`, on the branch that `repository` is on."""
    message = f"{facts['recipe']}: {step.branch}"
    options = dict(step.options)
    if step.kind == "create":
        foundation = Foundation(options["arch"], None, options.get("seed", 0), options.get("image_size"))
        create_random(repository, repository.branch, foundation, facts, progress)
    elif step.kind == "train":
        trained = train.train(repository, replace(_training(options), message=message, cook=facts), progress)
        if trained.moved:
            raise RecipeProblem(f"branch {step.branch!r} was moved meanwhile", "cook again when nobody else does")
    else:
        chosen = judge.Options(**options, message=message, cook=facts, fast_forward=False)
        merge.merge(repository, [names.branch(model) for model in step.models], chosen, progress)


def _training(options: dict[str, Any]) -> plan.Options:
    """Options as a recipe spells them, as training knows them."""
    form = probe.PAPERS if options.pop("probe", "fast") == "sgd" else probe.Form()
    form = replace(
        form,
        steps=options.pop("probe_steps", form.steps),
        learning_rate=options.pop("probe_lr", form.learning_rate),
    )
    renamed = {"lr": "learning_rate", "eval_every": "evaluate_every"}
    values = {renamed.get(name, name): value for name, value in options.items()}
    if "test_domains" in values:
        values["test_domains"] = tuple(values["test_domains"]) or (NONE,)
    return plan.Options(**values, probe=form)


def _key(repository: Repository, step: Step) -> str:
    """16 hexadecimal digits for everything that decides the commit of `step`."""
    name = step.options.get("task")
    facts = {
        "schema": SCHEMA,
        "kind": step.kind,
        "inputs": [repository.refs[names.branch(branch)] for branch in step.inputs],
        "task": task.describe(repository, name)[1].fingerprint if name else None,
        "options": {key: repr(value) for key, value in step.options.items()},
    }
    return digest(dumps(facts))[:16]
