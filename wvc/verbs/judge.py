"""Judge candidates and their averages on the validation images that none of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from wvc import architectures
from wvc.errors import MergeProblem
from wvc.learning.counts import Counts
from wvc.learning.evaluate import BATCH, KeepGoing, Record
from wvc.learning.hardest import Difficulty
from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.progress import Progress
from wvc.repo import scores
from wvc.repo.objects import Attachment, Manifest
from wvc.repo.repository import Repository
from wvc.repo.scores import Score
from wvc.verbs import logits, scoring, task
from wvc.verbs.candidates import Candidate, Field
from wvc.verbs.context import Context, is_of_other_data, of_task
from wvc.verbs.data import NONE, Data, device_named
from wvc.verbs.terms import Options, Outcome
from wvc.weights import id_of


@dataclass
class Judge:
    """Who measures candidates and averages on the validation images that none of them was trained on."""

    repository: Repository
    among: Field
    data: Data
    how: Mapping[str, Any]
    options: Options
    device: torch.device
    progress: Progress
    new: list[Attachment] = field(default_factory=list)

    def count(self, network: Network, keep_going: KeepGoing | None = None) -> tuple[Counts, Record]:
        """How many validation images are right, and which; the pass ends early where `keep_going` says so.

        The images that went wrong most often before come first.
        """
        record: Record = {}
        counts = scoring.count(
            network,
            self.validation,
            self.device,
            self.options.precision,
            order=self.difficulty.order(self.validation, BATCH),
            keep_going=keep_going,
            record=record,
            progress=self.progress,
        )
        self.difficulty.add(record)
        return counts, record

    @cached_property
    def validation(self) -> dict[str, Pixels]:
        """The images that decide, which stay on a GPU from one candidate to the next."""
        return self.data.validation()

    @cached_property
    def difficulty(self) -> Difficulty:
        """What is known already of which images go wrong: what the candidates said where the cache still has it."""
        found = Difficulty(self.options.metric)
        for candidate in self.among.candidates:
            said = logits.known(
                self.repository,
                candidate.manifest,
                self.data,
                self.validation,
                "val",
                device=self.device,
                precision=self.options.precision,
            )
            for domain, answers in said.items():
                pixels = self.validation[domain]
                found.add_logits(domain, answers, pixels.labels[pixels.indices])
        return found

    def score(self, candidate: Candidate) -> Score:
        """Of one candidate on the validation images, measured only if nobody has before; then it is kept in `new`."""
        manifest = candidate.manifest
        wanted = scoring.circumstances(manifest, self.data, "val", self.device, self.options.precision)
        known = scores.find(self.repository, wanted, self.data.seen)
        if known is not None:
            return known
        record: Record = {}
        network = scoring.network_of(self.repository, manifest)
        score = scoring.score(
            network, wanted, self.validation, device=self.device, progress=self.progress, record=record
        )
        self.difficulty.add(record)
        self.new.append(score.attachment(candidate.commit.id))
        return score

    def score_of_average(self, manifest: Manifest, merged: Mapping[str, torch.Tensor], outcome: Outcome) -> Score:
        """Of the average that `manifest` will name. What the selection counted holds for the same bits only."""
        wanted = scoring.circumstances(manifest, self.data, "val", self.device, self.options.precision)
        if outcome.counts is not None and outcome.mean is not None and _names(manifest, outcome.mean):
            return Score(wanted, {name: (c.right, c.total) for name, c in outcome.counts.domains.items()})
        known = scores.find(self.repository, wanted, self.data.seen)
        if known is not None:
            return known
        assert manifest.spec is not None
        network = Network.of(architectures.load(manifest.spec, merged), manifest.spec)
        return scoring.score(network, wanted, self.validation, device=self.device, progress=self.progress)


def _names(manifest: Manifest, tensors: Mapping[str, torch.Tensor]) -> bool:
    """True if the manifest names these very bits."""
    return all(id_of(tensor) == manifest.by_name[name].id for name, tensor in tensors.items())


def judge_of(repository: Repository, field: Field, options: Options, progress: Progress) -> Judge | None:
    """None where there is no task to validate on, and none is asked for. Raises MergeProblem, TaskProblem."""
    name = options.deciding_task(field.of_candidates)
    if name is None:
        return None
    loaded = task.load(repository, name, progress)
    fingerprint = loaded.task.fingerprint
    if any(is_of_other_data(found, name, fingerprint) for found in field.contexts):
        raise MergeProblem(
            f"a candidate was trained on other data of task {name!r}", "restore them to validate on them"
        )
    same = [known for found in field.contexts if (known := of_task(found, fingerprint)) is not None]
    if len({(context.trial, context.test, context.limit) for context in same}) > 1:
        raise MergeProblem(
            "the candidates were trained on different splits or with different test domains",
            "one's validation images are another's training images: --select all without --task merges them unseen",
        )
    known = same[0] if same else Context(name, fingerprint, loaded.id, (), 0, None)
    trial = known.trial
    if trial is None:
        raise MergeProblem("a candidate has seen different splits", "no image is left to validate on")
    if options.test_domains is not None:
        wanted = () if options.test_domains == (NONE,) else options.test_domains
        if same and set(wanted) != set(known.test):
            raise MergeProblem(
                f"the candidates held out {', '.join(known.test) or 'nothing'}", "leave --test-domain out"
            )
        known = replace(known, test=wanted)
    specs = [scoring.spec_of(candidate.manifest) for candidate in field.candidates]
    sizes = {architectures.image_size(spec, loaded.task.own_size) for spec in specs}
    if len(sizes) != 1:
        raise MergeProblem("the candidates were trained at different image sizes", "select from one size only")
    data = Data.cut(loaded.task, sizes.pop(), known.test, trial, known.limit, progress)
    scoring.check_fits(specs[0], data)
    how = {**replace(known, test=data.test).json(), "image_size": data.size}
    return Judge(repository, field, data, how, options, device_named(options.device), progress)
