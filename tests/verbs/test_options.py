"""The options of a training: how users spell them, what settles those left open, what a commit says of them."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from fractions import Fraction

import pytest
import torch

from wvc.commands import _training, commit
from wvc.errors import Interrupted, TrainingProblem, UsageError
from wvc.learning.settings import Settings
from wvc.learning.trajectory import Ma, Swa, Swad
from wvc.recipes._schema import OPTIONS
from wvc.repo import scores
from wvc.tasks import Benchmark
from wvc.verbs import runs, task
from wvc.verbs.data import Data
from wvc.verbs.options import Options, read
from wvc.verbs.probe import Form
from wvc.verbs.settings import settle
from wvc.verbs.starts import Start
from wvc.verbs.train import resume, train
from wvc.weights import Weights

from .conftest import QUICK, World

CPU = torch.device("cpu")
SHORT = {"task": "digits", "test_domains": ("0",), "batch_size": 8, "learning_rate": 2e-3, "device": "cpu"}


def data(world: World, benchmark: Benchmark | None = None) -> Data:
    loaded = task.load(world.repository, "digits").task
    return Data.cut(replace(loaded, benchmark=benchmark), 16, ("0",), 0, None)


def settled(world: World, benchmark: Benchmark | None = None, **options: object) -> Settings:
    start = Start("probe", None, recycled=False, live=False)
    return settle(read(options), start, data(world, benchmark), CPU)


def test_a_commit_says_every_option(world: World):
    spelled = {
        "task": "digits", "test_domains": ["0"], "steps": 6, "lr": 2e-3, "batch_size": 8, "weight_decay": 0.1,
        "dropout": 0.1, "optimizer": "adamw", "schedule": "cosine", "warmup": 2, "clip": 1.0, "accumulate": 2,
        "label_smoothing": 0.1, "augmentation": "minimal", "swa": True, "swa_every": 2, "swa_from": 0.5, "keep": "last",
        "val_augment": True, "eval_all": True, "eval_every": 3, "seed": 7, "freeze_steps": 1, "precision": "bf16",
        "device": "cpu", "probe_steps": 20,
    }  # fmt: skip

    how = train(world.branch("all", "main"), read(spelled)).commit.how

    assert how["settings"] == {
        "steps": 6, "evaluate_every": 3, "batch_size": 8, "learning_rate": "0.002", "weight_decay": "0.1",
        "dropout": "0.1", "freeze_steps": 1, "seed": 7, "precision": "bf16", "augmentation": "minimal",
        "only_head": False, "freeze_statistics": True, "deterministic": True, "optimizer": "adamw",
        "schedule": "cosine", "warmup_steps": 2, "clip": "1.0", "accumulate": 2, "label_smoothing": "0.1",
        "trajectory": {"kind": "swa", "every": 2, "share": "0.5"}, "keep": "last", "validate_augmented": True,
        "evaluate_all": True,
    }  # fmt: skip
    assert set(how["settings"]) == {field.name for field in fields(Settings)}
    assert how["history"][0]["every"].keys() == {"0", "30", "60"}
    assert how["history"][0]["every"]["0"].keys() == {"in", "val"}


def test_what_swad_comes_to_is_committed_and_scored(world: World):
    options = Options(**SHORT, steps=12, evaluate_every=1, trajectory=Swad(converge=1, tolerate=2), probe=QUICK)

    commit = train(world.branch("swad", "main"), options).commit

    how = commit.how
    assert all(float(entry["validation_loss"]) > 0 for entry in how["history"])
    assert how["settings"]["trajectory"]["tolerance"] == "0.3"
    score = next(s for s in scores.of_commit(world.repository, commit.id) if s.circumstances.split == "val")
    assert Fraction(how["best"]["score"]) == sum(Fraction(*count) for count in score.domains.values()) / 2


@pytest.mark.parametrize("trajectory", [Ma(start=2), Swa(every=1), Swad("paper", 1, 3, 0.3)])
def test_a_run_with_an_average_that_was_interrupted_ends_with_the_same_weights(
    world: World, monkeypatch: pytest.MonkeyPatch, trajectory: object
):
    name = type(trajectory).__name__
    options = Options(**SHORT, steps=6, seed=5, evaluate_every=1, trajectory=trajectory, probe=QUICK)
    whole = train(world.branch(f"whole/{name}", "main"), options).commit

    def save_then_die(run: runs.Run, state: object, real=runs.Run.save) -> None:
        real(run, state)
        if state.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Run, "save", save_then_die)
        with pytest.raises(Interrupted):
            train(world.branch(f"cut/{name}", "main"), options)
    resumed = resume(world.repository, None).commit

    assert resumed.weights == whole.weights
    assert resumed.how["history"] == whole.how["history"]


def test_last_commits_the_weights_of_the_last_step(world: World):
    whole = world.train("last", "main", steps=6, keep="last", learning_rate=0.0).commit

    assert whole.how["best"]["step"] == 5
    start = world.repository.commit(whole.parents[0].commit)
    weights = [Weights.of(world.repository, world.repository.manifest(c)) for c in (whole, start)]
    assert torch.equal(weights[0]["features.0.weight"], weights[1]["features.0.weight"])


@pytest.mark.parametrize(
    ("benchmark", "steps", "every", "tolerance"),
    [
        (None, 5001, 100, 0.3),
        (Benchmark("VLCS", evaluate_every=50, tolerance=0.2), 5001, 50, 0.2),
        (Benchmark("DomainNet", steps=15001, evaluate_every=500), 15001, 500, 0.3),
    ],
)
def test_a_benchmark_sets_what_is_left_open(world: World, benchmark, steps, every, tolerance):
    settings = settled(world, benchmark, swad="code")

    assert (settings.steps, settings.evaluate_every) == (steps, every)
    assert settings.trajectory.tolerance == tolerance


def test_what_is_given_beats_the_benchmark(world: World):
    settings = settled(world, Benchmark("VLCS"), swad="code", swad_tolerance=0.5, steps=30, eval_every=10)

    assert (settings.steps, settings.evaluate_every, settings.trajectory.tolerance) == (30, 10, 0.5)
    assert settled(world, Benchmark("VLCS"), steps=30).evaluate_every == 6


def test_the_seed_rests_on_the_name_of_the_benchmark(world: World):
    golden = settled(world, Benchmark("OfficeHome"), hparams_seed=1)

    assert golden.seed == 191826797  # of ('OfficeHome', 'ERM', [0], 1, 0)
    assert settled(world, hparams_seed=1).seed != golden.seed


def test_a_soup_is_drawn_with_all_that_belongs_to_it(world: World):
    settings = settled(world, space="soups-standard", hparams_seed=1)

    assert (settings.optimizer, settings.schedule, settings.warmup_steps, settings.clip) == (
        "adamw",
        "cosine",
        500,
        1.0,
    )
    assert (settings.learning_rate, settings.weight_decay, settings.batch_size) == (3e-5, 0.1, 512)
    assert (settings.augmentation, settings.seed) == ("minimal", 1)
    assert settings.steps == round(10 * 240 / 512)  # 299 images a domain, 59 of them to validate on


def test_what_is_given_beats_what_is_drawn(world: World):
    settings = settled(
        world, space="soups-standard", hparams_seed=0, steps=7, lr=1.0, batch_size=4, weight_decay=0.0, clip=2.0,
        optimizer="adam", schedule="linear", warmup=0, label_smoothing=0.5, augmentation="none", seed=9,
    )  # fmt: skip

    assert (settings.steps, settings.learning_rate, settings.batch_size, settings.weight_decay) == (7, 1.0, 4, 0.0)
    assert (settings.optimizer, settings.schedule, settings.warmup_steps, settings.clip) == ("adam", "linear", 0, 2.0)
    assert (settings.label_smoothing, settings.augmentation, settings.seed) == (0.5, "none", 9)


def test_the_augmentation_that_cannot_be_trained_may_be_given_instead(world: World):
    assert settled(world, space="soups-standard", hparams_seed=4, augmentation="minimal").augmentation == "minimal"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"space": "soups-standard", "hparams_seed": 2}, TrainingProblem, "draws mixup 0.5 at seed 2, which cannot"),
        ({"space": "soups-standard", "hparams_seed": 4}, TrainingProblem, "draws augmentation medium at seed 4"),
        ({"space": "soups-standard", "hparams_seed": 8}, TrainingProblem, "draws augmentation strong at seed 8"),
        ({"space": "nowhere"}, TrainingProblem, "unknown space"),
        ({"swad": "code", "val_augment": True}, UsageError, "--swad and --val-augment"),
        ({"augmentation": "strong"}, UsageError, "--augmentation strong is not one of domainbed, minimal, none"),
        ({"optimizer": "sgd"}, UsageError, "--optimizer sgd is not one of adam, adamw"),
        ({"schedule": "step"}, UsageError, "--schedule step is not one of"),
        ({"keep": "worst"}, UsageError, "--keep worst is not one of best, last"),
        ({"precision": "fp16"}, UsageError, "--precision fp16 is not one of"),
        ({"probe": "slow"}, UsageError, "--probe slow is not one of fast, sgd"),
        ({"probe_keep": "last"}, UsageError, "--probe-keep last needs --probe sgd"),
        ({"ema": 0.9, "ma": "code"}, UsageError, "exclude each other"),
        ({"swa_every": 30, "steps": 20}, UsageError, "no snapshot"),
    ],
)
def test_what_makes_no_sense_is_refused(world: World, options: dict, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        settled(world, **options)


def test_images_of_two_channels_have_no_colours_to_vary(world: World):
    cut = data(world)
    two = replace(cut, task=replace(cut.task, channels=2))

    with pytest.raises(UsageError, match="needs images of 1 or 3 channels, not 2"):
        settle(read({"augmentation": "domainbed"}), Start("probe", None, recycled=False, live=False), two, CPU)


def test_recipes_spell_the_options_of_a_training_as_the_command_line_does():
    command_line = set(inspect.signature(commit.command).parameters) - _training.ELSEWHERE - {"message", "probe_from"}
    heads = {f"{head}_head" for head in _training.HEADS}
    spelled = {_training.RENAMED.get(name, name) for name in command_line - heads} | {"head"}

    assert set(OPTIONS["train"]) == spelled


def test_what_is_not_said_is_left_open():
    assert read({"task": None, "lr": None, "probe": "fast", "swa": False}) == Options()
    assert read({"test_domains": []}).test_domains == ("none",)
    assert read({"probe": "sgd", "probe_keep": "last"}).probe == Form("sgd", None, 5e-5, keep="last")
