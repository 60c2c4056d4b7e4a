"""Fine-tune HEAD on a task and commit the result; go on where an unfinished training stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wvc import architectures, weights
from wvc.errors import Diverged, Interrupted, RefMoved, UsageError
from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.learning.settings import Result, Settings
from wvc.learning.state import Entry
from wvc.learning.train import train as learn
from wvc.progress import SILENT, Progress
from wvc.repo import arrangement, commits
from wvc.repo.graph import Graph
from wvc.repo.objects import Attachment, Commit, Manifest, ModelSpec, Parent
from wvc.repo.repository import Repository
from wvc.store.canonical import dumps
from wvc.verbs import need, plan, probe, runs, scoring, task
from wvc.verbs.data import Data, device_named
from wvc.verbs.plan import Options
from wvc.verbs.versions import versions


@dataclass(frozen=True)
class Trained:
    """branch: where the commit is; another than the one asked for where that was moved meanwhile."""

    commit: Commit
    branch: str
    moved: bool


def train(
    repository: Repository,
    options: Options,
    progress: Progress = SILENT,
    metrics: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Fine-tune HEAD and commit. Raises TaskProblem, ModelProblem, TrainingProblem, Interrupted.

    say: is told the values that are used, one line each.
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    if metrics is not None and not metrics.absolute().parent.is_dir():
        raise UsageError(f"--metrics {metrics}: there is no folder {metrics.parent}", "make it first")
    decided, data = plan.make(repository, options, progress)
    for line in plan.summary(decided["how"]):
        say(line)
    run = runs.begin(repository, decided)
    return _carry_out(repository, run, data, progress, metrics)


def resume(
    repository: Repository, name: str | None, progress: Progress = SILENT, metrics: Path | None = None
) -> Trained:
    """Go on with an unfinished training. Raises TrainingProblem where there is none, or more than one."""
    run = runs.choose(repository, name)
    how = run.plan["how"]
    loaded = task.load(repository, how["task"]["name"], progress)
    if loaded.task.fingerprint != how["task"]["fingerprint"]:
        raise UsageError(f"the data of task {loaded.task.name!r} have changed since the run began", "restore them")
    data = Data.cut(loaded.task, how["image_size"], how["test_domains"], how["trial"], how["limit"], progress)
    return _carry_out(repository, run, data, progress, metrics)


def _carry_out(repository: Repository, run: runs.Run, data: Data, progress: Progress, metrics: Path | None) -> Trained:
    how = run.plan["how"]
    with run.locked():
        done = _done(repository, run)
        if done is not None:
            run.remove()
            return Trained(*done, moved=done[1] != run.plan["branch"])
        torch.set_num_threads(how["threads"])
        network, spec = _network(repository, how, data, progress)
        settings = Settings.read(how["settings"])
        try:
            result = learn(
                network,
                data.training(),
                data.validation(),
                settings,
                device=device_named(how["device"]),
                state=run.state(),
                save=run.save,
                progress=progress,
                metrics=lambda entry: _append(metrics, entry),
                others=_others(data) if settings.evaluate_all else {},
            )
        except Diverged:
            run.remove()
            raise
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted; what was learnt is saved", f"go on with `wvc commit --resume {run.id}`"
            ) from None
        network.load_state_dict(result.tensors)
        trained = _record(repository, run, network, spec, result, data, progress)
        run.remove()
    return trained


def _others(data: Data) -> dict[tuple[str, str], Pixels]:
    """All images but those that validate: the training images, and both splits of the test domains."""
    parts = [(name, "in") for name in data.seen] + [(name, part) for name in data.test for part in ("in", "val")]
    return {(name, part): data.of(name, part) for name, part in parts}


def _done(repository: Repository, run: runs.Run) -> tuple[Commit, str] | None:
    """The commit of this very run and its branch, if the process died after it was recorded."""
    branch, parent = run.plan["branch"], run.plan["parent"]
    graph = Graph(repository)
    for id in graph.children(parent):
        commit = repository.commit(id)
        if any(commit.how.get(name) != value for name, value in run.plan["how"].items()):
            continue
        aside = f"{branch}-{id[:8]}"
        if repository.refs.get(aside) == id:
            return commit, aside
        if branch in repository.refs and graph.is_ancestor(id, repository.refs[branch]):
            return commit, branch
    return None


def _network(
    repository: Repository, how: Mapping[str, Any], data: Data, progress: Progress
) -> tuple[Network, ModelSpec]:
    """The featurizer of the start under the head that the plan names."""
    start = how["start"]
    manifest = repository.manifest(repository.commit(start["featurizer"]))
    assert manifest.spec is not None
    spec = manifest.spec.with_classes(data.task.classes, data.size)
    held = need.weights(repository, manifest, progress=progress)
    tensors = {name: held[name] for name in held if start["head"] == "keep" or not spec.is_head(name)}
    if start["head"] == "probe":
        probed = need.weights(repository, repository.manifest(repository.commit(start["probe"])), progress=progress)
        tensors |= {name: probed[name] for name in probed if spec.is_head(name)}
    elif start["head"] == "random":
        tensors |= probe.fresh_head(spec, how["settings"]["seed"])
    return Network.of(architectures.load(spec, tensors), spec), spec


def _record(
    repository: Repository,
    run: runs.Run,
    network: Network,
    spec: ModelSpec,
    result: Result,
    data: Data,
    progress: Progress,
) -> Trained:
    """Score the chosen checkpoint and commit it, on a branch of its own where somebody moved the one it was for."""
    decided = run.plan
    before = repository.manifest(repository.commit(decided["parent"]))
    best = {"step": result.step, "score": str(result.score)}
    how = {**decided["how"], "history": list(result.history), "best": best, "versions": versions()}
    state = network.family_state(spec)
    size = 200 * len(state) + 2 * len(dumps(how)) + 4096
    with repository.batch([tuple(t.shape) for t in state.values()], size) as batch:
        tensors = weights.store(batch, state, like=[before])
        manifest = Manifest(tensors, arrangement.kept(repository, before, tensors), spec)
        commit = commits.make(repository, manifest, [Parent(decided["parent"])], decided["message"], how)
        commits.put(repository, batch, manifest, commit)
        said = _scores(network, manifest, commit, data, progress)
        try:
            commits.record(repository, batch, commit, ref=decided["branch"], old=decided["parent"], said=said)
            return Trained(commit, decided["branch"], moved=False)
        except RefMoved:
            branch = f"{decided['branch']}-{commit.id[:8]}"
            commits.record(repository, batch, commit, ref=branch, old=None, said=said)
            return Trained(commit, branch, moved=True)


def _scores(network: Network, manifest: Manifest, commit: Commit, data: Data, progress: Progress) -> list[Attachment]:
    """The chosen checkpoint on the validation images, and on the whole of the test domains: once, un-augmented."""
    device = device_named(commit.how["device"])
    parts = {"val": data.validation(), "all": {name: data.of(name, "all") for name in data.test}}
    said = []
    for split, domains in parts.items():
        if domains:
            wanted = scoring.circumstances(manifest, data, split, device, "fp32")
            said.append(scoring.score(network, wanted, domains, device=device, progress=progress).attachment(commit.id))
    return said


def _append(path: Path | None, entry: Entry) -> None:
    """One line of JSON per evaluation."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
