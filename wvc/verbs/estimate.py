"""What a recipe would make, and about how long that takes and how much it stores."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from wvc import architectures
from wvc.learning.network import Network, place
from wvc.learning.settings import Settings
from wvc.progress import SILENT, Progress
from wvc.recipes import Recipe, Step
from wvc.repo import names
from wvc.repo.objects import ModelSpec
from wvc.repo.repository import Repository
from wvc.verbs import cook
from wvc.verbs.data import device_named

STORED = 0.65  # of the raw bytes of an fp32 fine-tune (docs/benchmarks.md)
FORWARD = 1 / 3  # of the time of an update
UPDATES = 3  # that are timed
START = 3.0  # seconds until a step has begun: data, weights


@dataclass(frozen=True)
class Group:
    """What one [[step]] makes. missing: how many of its steps are to be made. sources: what they are made from."""

    kind: str
    branch: str
    steps: int
    missing: int
    sources: str


@dataclass(frozen=True)
class Estimate:
    """seconds: of all that is missing, None where no model is known yet. step_seconds: of one update, measured now."""

    recipe: str
    jobs: int
    groups: tuple[Group, ...]
    steps: int
    missing: int
    seconds: float | None
    step_seconds: float | None
    bytes: int
    graph: tuple[dict[str, Any], ...]


def estimate(
    repository: Repository | None, recipe: Recipe, jobs: int, device: str = "auto", progress: Progress = SILENT
) -> Estimate:
    """The plan of `recipe`. One update of the model is timed; nothing is written. Raises RecipeProblem."""
    cook.check(repository, recipe)
    if repository is not None:
        missing = {node.name for node in cook.missing(repository, recipe)}
    else:
        missing = {node.name for node in cook.nodes(recipe)}
    steps = [step for step in recipe.steps if step.branch in missing]
    spec = _spec(repository, recipe)
    speed = None if spec is None else _seconds_an_image(spec, recipe, device_named(device))
    seconds = None if speed is None else sum(_seconds(recipe, step, speed) for step in steps) / jobs
    images = _images(recipe, next((step for step in reversed(recipe.steps) if step.kind == "train"), None))
    graph = tuple({"step": step.branch, "kind": step.kind, "needs": list(step.needs)} for step in recipe.steps)
    return Estimate(
        recipe.name, jobs, tuple(_groups(recipe, missing)), len(recipe.steps), len(steps),
        seconds, None if speed is None else speed * images, _bytes(spec, steps), graph,
    )  # fmt: skip


def _groups(recipe: Recipe, missing: set[str]) -> Sequence[Group]:
    place = {step.branch: step.place for step in recipe.steps}
    found = []
    for i, branch in enumerate(recipe.places):
        steps = [step for step in recipe.steps if step.place == i]
        sources = sorted({place[name] for step in steps for name in step.needs})
        named = ", ".join(recipe.places[source] for source in sources)
        kinds = {step.kind for step in steps} or {"nothing"}
        found.append(Group(kinds.pop(), branch, len(steps), sum(s.branch in missing for s in steps), named))
    return found


def _spec(repository: Repository | None, recipe: Recipe) -> ModelSpec | None:
    """The model that the recipe begins with, if that is there or named."""
    for step in recipe.steps:
        id = None if repository is None else repository.refs.get(names.branch(step.branch))
        if id is not None and repository is not None:
            spec = repository.manifest(repository.commit(id)).spec
            if spec is not None:
                return spec
        if "arch" in step.options:
            return architectures.describe(step.options["arch"])
    return None


def _seconds_an_image(spec: ModelSpec, recipe: Recipe, device: torch.device) -> float:
    """Of an update, on random images of the size that the data have."""
    sizes = [facts.own_size for facts in recipe.data.values() if facts.own_size]
    side = architectures.image_size(spec, sizes[0] if sizes else None)
    with torch.random.fork_rng(devices=[]):
        network = Network.of(
            architectures.build(spec.with_classes(("a", "b"), side)), spec.with_classes(("a", "b"), side)
        )
        images = torch.rand(32, spec.channels, side, side, device=device)
    place(network, device)
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)
    adam = torch.optim.Adam(network.parameters(), fused=True)
    began = 0.0
    for i in range(UPDATES + 1):
        if i == 1:  # the first one is not like the others
            _wait(device)
            began = time.perf_counter()
        adam.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(images), labels))
        adam.step()
    _wait(device)
    return (time.perf_counter() - began) / UPDATES / len(images)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _images(recipe: Recipe, step: Step | None) -> int:
    """In one update."""
    if step is None:
        return 0
    facts = recipe.data.get(str(step.options.get("task")))
    domains = len(facts.domains) if facts else 1
    held = len([name for name in step.options.get("test_domains", []) if facts and name in facts.domains])
    return int(step.options.get("batch_size", 32)) * max(1, domains - held)


def _seconds(recipe: Recipe, step: Step, an_image: float) -> float:
    """Of one step, roughly."""
    facts = recipe.data.get(str(step.options.get("task")))
    held = step.options.get("test_domains", [])
    counts = dict(zip(facts.domains, facts.counts, strict=True)) if facts else {}
    inside = sum(count for name, count in counts.items() if name not in held)
    validation, test = inside // 5, sum(counts.values()) - inside
    if step.kind == "train":
        updates = cook.updates(recipe, step)
        usual = min(facts.evaluate_every if facts else Settings.evaluate_every, max(1, updates // 5))
        passes = math.ceil(updates / int(step.options.get("eval_every", usual))) + 1
        return START + an_image * (updates * _images(recipe, step) + FORWARD * (passes * validation + test))
    if step.kind == "probe":
        if step.options.get("probe") != "sgd":
            return START + an_image * FORWARD * inside
        updates = int(step.options.get("probe_steps", facts.steps if facts else Settings.steps))
        return START + an_image * FORWARD * updates * _images(recipe, step)
    if step.kind == "merge":
        return START + an_image * FORWARD * (validation * len(step.models) + test)
    return START


def _bytes(spec: ModelSpec | None, steps: Sequence[Step]) -> int:
    """What the commits take on disk: weights against those that they were made from."""
    if spec is None:
        return 0
    with torch.device("meta"):
        size = sum(t.nbytes for t in architectures.build(spec).state_dict().values())
    return int(STORED * size * sum(step.kind in ("train", "blend", "merge") for step in steps))
