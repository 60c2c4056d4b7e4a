"""Merging with stated and with drawn coefficients: exact numbers, what the commit says, what cannot be blended."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from wvc.errors import MergeProblem, UnknownRevision, UsageError, WvcError
from wvc.repo.objects import Commit, Parent
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.verbs import task, terms
from wvc.verbs.blend import Options, blend, coefficients_of
from wvc.verbs.context import history
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.eval import evaluate
from wvc.verbs.merge import merge
from wvc.weights import Weights

from .conftest import Shelf, World

HALVES = (Fraction(1, 2), Fraction(1, 2))
TASK = {"task": {"name": "birds", "fingerprint": "b" * 64, "object": "c" * 64}, "test_domains": ["sky"], "trial": 0}
OTHER = {"task": {"name": "bees", "fingerprint": "e" * 64, "object": "d" * 64}, "test_domains": [], "trial": 0}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "zoo")


@pytest.fixture
def three(shelf: Shelf) -> Shelf:
    """main and a, b, c of random fp32 and bf16."""
    generator = torch.Generator().manual_seed(0)
    for name in ("main", "a", "b", "c"):
        values = torch.randn(2, 200, generator=generator)
        shelf.put(name, {"single": values[0], "half": values[1].to(torch.bfloat16)})
    return shelf


@pytest.fixture
def heads(shelf: Shelf) -> Shelf:
    """main with two classes, birds with three and bees with one: their featurizers are 0, 4 and 8."""
    for name, value, n, how in (("main", 0.0, 2, None), ("birds", 4.0, 3, TASK), ("bees", 8.0, 1, OTHER)):
        shelf.put(
            name,
            {"features.w": torch.full((2,), value), "head.weight": torch.full((n, 2), 1.0 + value)},
            classes=[f"{name}{i}" for i in range(n)],
            how=how,
        )
    return shelf


def exact(tensors: Sequence[torch.Tensor], shares: Sequence[Fraction]) -> torch.Tensor:
    """The sum in fractions, rounded once."""
    sums = [
        sum((Fraction(t[i].item()) * share for t, share in zip(tensors, shares, strict=True)), Fraction(0))
        for i in range(len(tensors[0]))
    ]
    return torch.tensor([float(value) for value in sums], dtype=torch.float64).to(tensors[0].dtype)


def drawn_shares(commit: Commit) -> list[Fraction]:
    return [Fraction(row["coefficient"]) for row in commit.how["coefficients"]]


# Golden, 6.7.
@pytest.mark.parametrize(
    ("alpha", "expected"), [("0.1", [0.1, 3.6, -1.6]), ("0.5", [0.5, 2, 0]), ("0", [0, 4, -2]), ("1", [1, 0, 2])]
)
def test_two_models_are_interpolated_as_wise_ft_does(shelf: Shelf, alpha: str, expected: list[float]):
    shelf.put("main", {"w": [0.0, 4.0, -2.0]})
    shelf.put("tuned", {"w": [1.0, 0.0, 2.0]})

    made = shelf.blend("main", "tuned", coefficients=(1 - Fraction(alpha), Fraction(alpha)))

    assert torch.equal(shelf.tensors(made)["w"], torch.tensor(expected, dtype=torch.float64).float())


@pytest.mark.parametrize("text", ["1/2,1/4,1/4", "0.7,0.2,0.1", "1/3,1/6,1/2", "0.123456789,0.000000001,0.87654321"])
def test_the_sum_is_exact_to_the_last_bit(three: Shelf, text: str):
    shares = coefficients_of(text)
    parts = [three.tensors(three.repository.commit(resolve(three.repository, name))) for name in "abc"]

    made = three.tensors(three.blend("a", "b", "c", coefficients=shares))

    assert torch.equal(made["single"], exact([part["single"] for part in parts], shares))
    wrong = (made["half"] != exact([part["half"] for part in parts], shares)).sum()
    assert wrong <= 2  # short coefficients sum bf16 in fp32, which may tip what lies almost between two of them


def test_the_order_of_naming_changes_no_bit(three: Shelf):
    shares = {"a": Fraction(1, 7), "b": Fraction(2, 7), "c": Fraction(4, 7)}

    found = {
        three.blend(*order, coefficients=tuple(shares[name] for name in order)).weights
        for order in itertools.permutations("abc")
    }

    assert len(found) == 1


@pytest.mark.parametrize("shares", ["1/2,1/2", "0.9,0.1", "1,0", "0,1"])
def test_a_model_blended_with_itself_is_itself(three: Shelf, shares: str):
    made = three.blend("a", "a", coefficients=coefficients_of(shares))

    assert made.weights == three.repository.commit(resolve(three.repository, "a")).weights
    assert [(p.commit, p.coefficient) for p in made.parents][1:] == [(resolve(three.repository, "a"), 1)]


def test_a_model_that_is_named_twice_has_both_shares(three: Shelf):
    twice = three.blend("a", "b", "a", coefficients=(Fraction(1, 8), Fraction(1, 4), Fraction(5, 8)))
    once = three.blend("b", "a", coefficients=(Fraction(1, 4), Fraction(3, 4)))

    assert twice.weights == once.weights
    assert [str(p.coefficient) for p in twice.parents] == ["0", "3/4", "1/4"]
    assert [row["coefficient"] for row in twice.how["coefficients"]] == ["1/8", "1/4", "5/8"]


def test_no_coefficients_are_even_ones(three: Shelf):
    assert drawn_shares(three.blend("a", "b", "c")) == [Fraction(1, 3)] * 3


def test_head_is_the_first_parent_with_its_coefficient_if_it_is_named(three: Shelf):
    root = three.repository.head().id
    named = three.blend("b", "HEAD", coefficients=(Fraction(1, 4), Fraction(3, 4)))
    unnamed = three.blend("c", "b", coefficients=HALVES)

    assert (named.parents[0].commit, named.parents[0].coefficient) == (root, Fraction(3, 4))
    assert (unnamed.parents[0].commit, unnamed.parents[0].coefficient) == (named.id, 0)
    ids = [resolve(three.repository, name) for name in "cb"]
    assert [p.commit for p in unnamed.parents[1:]] == ids
    assert unnamed.how["coefficients"] == [{"commit": id, "coefficient": "1/2"} for id in ids]


def test_a_model_with_coefficient_0_is_a_parent_and_not_read(shelf: Shelf):
    shelf.put("main", {"w": [1.0], "steps": torch.tensor(1)})
    shelf.put("broken", {"w": [float("nan")], "steps": torch.tensor(2)})
    shelf.put("good", {"w": [3.0], "steps": torch.tensor(3)})

    made = shelf.blend("broken", "good", "main", coefficients=(Fraction(0), *HALVES))

    assert shelf.tensors(made)["w"].tolist() == [2]
    assert shelf.tensors(made)["steps"] == 3
    assert [str(p.coefficient) for p in made.parents] == ["1/2", "0", "1/2"]


def test_what_cannot_be_averaged_is_the_first_models_and_noted(shelf: Shelf):
    for name, n in (("main", 0), ("a", 1), ("b", 2)):
        shelf.put(name, {"bn.running_mean": [float(n)], "bn.num_batches_tracked": torch.tensor(n)})

    merged = blend(shelf.repository, ["b", "a"], Options(coefficients=HALVES, buffers="first"))

    assert merged.commit is not None
    assert {name: tensor.item() for name, tensor in shelf.tensors(merged.commit).items()} == {
        "bn.running_mean": 2,
        "bn.num_batches_tracked": 2,
    }
    assert merged.notes == ("1 integer tensor differs, taken from b: bn.num_batches_tracked",)


def test_featurizers_are_averaged_under_the_head_of_the_first(heads: Shelf):
    made = heads.blend("birds", "bees", "main", coefficients=(Fraction(1, 4), Fraction(1, 2), Fraction(1, 4)),
                       featurizer_only=True)  # fmt: skip

    assert heads.tensors(made)["features.w"].tolist() == [5, 5]
    assert heads.tensors(made)["head.weight"].tolist() == [[5, 5]] * 3
    assert heads.repository.manifest(made).spec.classes == ("birds0", "birds1", "birds2")
    assert made.how["featurizer_only"] is True
    assert made.how["head"] == resolve(heads.repository, "birds")


def test_even_averages_can_leave_the_heads_out_too(heads: Shelf):
    options = terms.Options(select="all", featurizer_only=True)

    merged = merge(heads.repository, ["bees", "birds"], options)

    assert heads.tensors(merged.commit)["features.w"].tolist() == [6, 6]
    assert heads.tensors(merged.commit)["head.weight"].tolist() == [[9, 9]]
    assert merged.head == "bees" and merged.commit.how["featurizer_only"] is True
    assert [str(p.coefficient) for p in merged.commit.parents] == ["0", "1/2", "1/2"]


@pytest.mark.parametrize("options", [{"task": "birds"}, {"select": "greedy"}])
def test_featurizers_alone_are_not_validated(heads: Shelf, options: Mapping[str, Any]):
    with pytest.raises(UsageError, match="no head of its own"):
        merge(heads.repository, ["bees", "birds"], terms.Options(featurizer_only=True, **options))


def test_heads_that_differ_name_the_option(heads: Shelf):
    for attempt in (lambda: heads.blend("bees", "birds"), lambda: merge(heads.repository, ["b*"], terms.Options())):
        with pytest.raises(MergeProblem, match=r"differ in head\.weight") as caught:
            attempt()
        assert "--featurizer-only" in str(caught.value.hint)


def test_all_but_the_heads_must_agree(heads: Shelf):
    heads.put("wide", {"features.w": torch.ones(3), "head.weight": torch.ones(2, 2)}, classes=["x", "y"])
    heads.put("plain", {"features.w": torch.ones(2), "head.weight": torch.ones(2, 2)})

    with pytest.raises(MergeProblem, match=r"differ in features\.w"):
        heads.blend("birds", "wide", featurizer_only=True)
    with pytest.raises(MergeProblem, match="nothing tells which tensors of plain are its head"):
        heads.blend("birds", "plain", featurizer_only=True)


def test_the_model_that_gives_the_head_has_a_share(heads: Shelf):
    with pytest.raises(UsageError, match="birds gives the head"):
        heads.blend("birds", "bees", coefficients=(Fraction(0), Fraction(1)), featurizer_only=True)


def test_featurizers_of_several_tasks_carry_none_and_forget_nothing(heads: Shelf):
    made = heads.blend("birds", "bees", coefficients=HALVES, featurizer_only=True)

    assert "task" not in made.how
    assert {context.task for context in history(heads.repository, made)} == {"birds", "bees"}


def test_a_head_of_no_task_makes_no_model_of_a_task(heads: Shelf):
    """main was trained on nothing: under its head the featurizer of birds is no model of birds."""
    heads.put("more", {"features.w": torch.ones(2), "head.weight": torch.ones(3, 2)}, classes="xyz", how=TASK)

    assert "task" not in heads.blend("main", "birds", "more", featurizer_only=True).how
    assert heads.blend("birds", "more", featurizer_only=True).how["task"] == TASK["task"]


def test_fused_coefficients_are_drawn_as_the_paper_does(heads: Shelf):
    """Golden, 6.4."""
    made = heads.blend("main", "birds", "bees", "birds", "bees", fuse_seed=0)

    shares = drawn_shares(made)
    golden = [0.444236, 0.314343, 0.081529, 0.042706, 0.117187]
    assert [float(share) for share in shares] == pytest.approx(golden, abs=1e-6)
    assert sum(shares) == 1
    assert made.how["fuse"] == {"seed": 0, "range": "4.0"} and made.how["featurizer_only"] is True
    expected = 4 * (shares[1] + shares[3]) + 8 * (shares[2] + shares[4])
    assert heads.tensors(made)["features.w"].tolist() == [pytest.approx(float(expected), rel=1e-6)] * 2
    assert drawn_shares(heads.blend("birds", "bees", fuse_seed=3, fuse_range=0.0)) == list(HALVES)


@pytest.mark.parametrize("options", [{"fuse_seed": 1}, {"featurizer_only": True}])
def test_only_merges_of_whole_models_are_taken_apart(shelf: Shelf, options: Mapping[str, Any]):
    for name, value in (("main", 0.0), ("a", 2.0), ("b", 6.0), ("c", 1.0)):
        shelf.put(name, {"w": [value], "head.bias": [value]}, classes=["x"])
    pair = shelf.blend("a", "b", **options)

    made = merge(shelf.repository, ["c"], terms.Options()).commit

    assert made.parents[0] == Parent(pair.id, Fraction(1, 2))
    assert made.parents[1] == Parent(resolve(shelf.repository, "c"), Fraction(1, 2))


def test_even_merges_of_featurizers_are_not_taken_apart(heads: Shelf):
    pair = merge(heads.repository, ["birds", "bees"], terms.Options(featurizer_only=True)).commit

    made = merge(heads.repository, ["birds"], terms.Options(featurizer_only=True)).commit

    assert Parent(pair.id, Fraction(1, 2)) in made.parents


def test_a_dry_run_changes_nothing(three: Shelf):
    before = three.repository.log.head().number

    merged = blend(three.repository, ["a", "b"], Options(coefficients=HALVES, dry_run=True))

    assert merged.commit is None and [share.candidate.name for share in merged.shares] == ["a", "b"]
    assert three.repository.log.head().number == before


@pytest.mark.parametrize(
    ("revisions", "options", "said"),
    [
        (["a", "b", "c"], {"coefficients": HALVES}, "2 coefficients for 3 models"),
        (["a", "b"], {"coefficients": (Fraction(1, 2), Fraction(1, 4))}, "sum to 3/4, not to 1"),
        (["a", "b"], {"coefficients": (Fraction(3, 2), Fraction(-1, 2))}, r"3/2 is not in \[0, 1\]"),
        (["*"], {"coefficients": (Fraction(1),)}, "'\\*' is a glob"),
        (["a", "b"], {"coefficients": HALVES, "fuse_seed": 1}, "either stated or drawn"),
        (["a", "b"], {"fuse_seed": -1}, "seed -1"),
    ],
)
def test_coefficients_that_make_no_sense_are_refused(three: Shelf, revisions, options, said):
    with pytest.raises(UsageError, match=said):
        three.blend(*revisions, **options)


@pytest.mark.parametrize("text", ["", "1/2,", "a", "1/0,1", "1e9", "1/2;1/2", "½,½", "nan", "0x1", "1_0", "1//2", "."])
def test_text_that_is_no_list_of_numbers_is_refused(text: str):
    with pytest.raises(UsageError, match="is not a coefficient"):
        coefficients_of(text)


def test_fractions_and_decimals_are_exact():
    assert coefficients_of("1/3, 0.1,.5,1.,0") == (Fraction(1, 3), Fraction(1, 10), Fraction(1, 2), 1, 0)


def test_unknown_unrelated_and_no_other_models_are_refused(three: Shelf):
    three.put("stranger", {"single": torch.ones(200), "half": torch.ones(200, dtype=torch.bfloat16)}, root=True)

    with pytest.raises(UnknownRevision):
        three.blend("a", "nowhere", coefficients=HALVES)
    with pytest.raises(MergeProblem, match="nothing to merge"):
        three.blend("HEAD", "main", coefficients=HALVES)
    with pytest.raises(MergeProblem, match="no common ancestor"):
        three.blend("a", "stranger", coefficients=HALVES)
    assert three.blend("a", "stranger", coefficients=HALVES, allow_unrelated=True).parents[2].coefficient


def test_a_run_and_the_probe_that_it_began_with_make_a_model_of_its_task(world: World):
    repository = world.branch("wise", "main")

    made = blend(repository, ["run/0@{probe}", "run/0"], Options(coefficients=(Fraction(3, 4), Fraction(1, 4)))).commit

    start, tuned = (_held(repository, resolve(repository, name)) for name in ("run/0@{probe}", "run/0"))
    for name, tensor in _held(repository, made.id).items():
        expected = 0.75 * start[name].double() + 0.25 * tuned[name].double()
        assert torch.equal(tensor, expected.float()), name
    assert made.how["test_domains"] == ["0"] and made.how["task"]["name"] == "digits"
    found = evaluate(repository, made.id, EvalOptions(device="cpu"))
    assert {score.circumstances.split for score in found.scores} == {"val", "all"}


def test_revisions_reach_what_a_run_began_with(world: World):
    repository = world.repository
    run = repository.commit(resolve(repository, "run/1"))
    main = resolve(repository, "main")

    assert resolve(repository, "run/1@{probe}") == run.how["start"]["probe"]
    assert resolve(repository, "run/1@{foundation}") == resolve(repository, "run/1@{probe}~1") == main
    assert resolve(repository, "run/1@{0}@{foundation}") == main
    with pytest.raises(WvcError, match="is no training"):
        resolve(repository, "main~1@{probe}")
    with pytest.raises(WvcError, match="began with no linear probe"):
        resolve(repository, "main@{probe}")
    with pytest.raises(WvcError, match="began with no foundation"):
        resolve(repository, "main@{foundation}")
    with pytest.raises(UnknownRevision):
        resolve(repository, "run/1@{prob}")


def test_a_fused_start_is_recycled_and_has_the_probe_of_the_foundation(world: World):
    for name, angles in (("a", [15, 45]), ("b", [75, 90])):
        task.add(world.repository, name, None, "digits", {"rotations": angles})
        world.train(f"aux/{name}", "main", task=name, test_domains=("none",))
    repository = world.branch("fused", "main")
    fused = blend(repository, ["main", "aux/a", "aux/b"], Options(fuse_seed=3)).commit

    trained = world.train("target", "fused", steps=50)

    start = trained.commit.how["start"]
    assert (start["featurizer"], start["foundation"]) == (fused.id, resolve(repository, "main"))
    assert (start["head"], start["recycled"]) == ("probe", True)
    assert start["probe"] == resolve(repository, "run/0@{probe}")
    assert trained.commit.how["settings"]["freeze_steps"] == 2


def _held(repository: Repository, id: str) -> dict[str, torch.Tensor]:
    return dict(Weights.of(repository, repository.manifest(repository.commit(id))))
