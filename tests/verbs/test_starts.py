"""Starts that were recycled more than once: trained in sequence, or averaged from several."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from wvc import weights
from wvc.repo import commits, names
from wvc.repo.objects import Commit, Manifest, Parent
from wvc.verbs import task

from .conftest import World


@pytest.fixture(scope="module")
def sequence(world: World) -> list[Commit]:
    """main -> a -> a.b -> target, each on a task of its own."""
    for name, angle in (("a", 15), ("b", 75)):
        task.add(world.repository, name, None, "digits", {"pool": "source", "rotations": [angle, angle + 10]})
    a = world.train("aux/a", "main", task="a", test_domains=None)
    b = world.train("aux/a.b", "aux/a", task="b", test_domains=None)
    return [trained.commit for trained in (a, b, world.train("target", "aux/a.b", steps=50))]


def tensors(world: World, commit: Commit) -> weights.Weights:
    return weights.Weights.of(world.repository, world.repository.manifest(commit))


def test_every_stage_begins_at_the_one_before_under_the_foundations_probe(world: World, sequence: list[Commit]):
    main = world.repository.refs[names.branch("main")]
    begun = [main, sequence[0].id, sequence[1].id]

    starts = [commit.how["start"] for commit in sequence]

    assert [start["featurizer"] for start in starts] == begun
    assert [start["foundation"] for start in starts] == [main] * 3
    assert [start["head"] for start in starts] == ["probe"] * 3
    assert [start["recycled"] for start in starts] == [False, True, True]
    assert [commit.how["settings"]["freeze_steps"] for commit in sequence] == [0, 0, 2]  # 4 % of 6 and of 50


def test_the_head_of_the_target_is_that_of_a_run_from_the_foundation(world: World, sequence: list[Commit]):
    direct = world.repository.commit(world.repository.refs[names.branch("run/0")])

    assert sequence[-1].how["start"]["probe"] == direct.how["start"]["probe"]
    probes = [world.repository.commit(commit.how["start"]["probe"]) for commit in sequence]
    assert len({probe.id for probe in probes}) == 3
    assert {probe.parents[0].commit for probe in probes} == {world.repository.refs[names.branch("main")]}


def test_while_it_is_frozen_the_featurizer_is_that_of_the_stage_before(world: World, sequence: list[Commit]):
    frozen = world.train("frozen", "aux/a.b", steps=5, freeze_steps=10).commit

    before, after = tensors(world, sequence[1]), tensors(world, frozen)
    probe = tensors(world, world.repository.commit(frozen.how["start"]["probe"]))
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert sorted(changed) == ["head.bias", "head.weight"]
    assert not torch.equal(after["head.weight"], probe["head.weight"])


def fused(world: World, name: str, *branches: str) -> Commit:
    """A merge on `name`, from main on, of the featurizers of other branches, as `merge` records one."""
    repository = world.branch(name, "main")
    main = repository.head()
    models = [repository.commit(repository.refs[names.branch(branch)]) for branch in branches]
    own, others = tensors(world, main), [tensors(world, model) for model in models]
    share = Fraction(1, len(models))
    mean = {n: own[n] if n.startswith("head.") else sum(other[n] for other in others) * float(share) for n in own}
    with repository.batch([tuple(t.shape) for t in mean.values()], 10_000) as batch:
        before = repository.manifest(main)
        manifest = Manifest(weights.store(batch, mean, like=[before]), before.files, before.spec)
        parents = [Parent(main.id, Fraction(0)), *(Parent(model.id, share) for model in models)]
        commit = commits.make(repository, manifest, parents, "fuse", {"kind": "merge", "strategy": "linear"})
        commits.put(repository, batch, manifest, commit)
        commits.record(repository, batch, commit, ref=repository.branch, old=main.id)
    return commit


def test_a_training_from_fused_featurizers_gets_the_foundations_probe_and_the_freeze(
    world: World, sequence: list[Commit]
):
    start = fused(world, "fused", "aux/a", "aux/a.b")

    run = world.train("from/fused", "fused", steps=50).commit

    assert run.how["start"]["featurizer"] == start.id
    assert run.how["start"]["foundation"] == world.repository.refs[names.branch("main")]
    assert run.how["start"]["probe"] == sequence[-1].how["start"]["probe"]
    assert (run.how["start"]["head"], run.how["start"]["recycled"]) == ("probe", True)
    assert run.how["settings"]["freeze_steps"] == 2
