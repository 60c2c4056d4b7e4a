"""Files for mergekit 0.1.5: what they mean here, what is refused, and what cannot do harm."""

from __future__ import annotations

import inspect
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import pytest

from wvc import plugins
from wvc.errors import BadFile, MergeProblem, UsageError, WvcError
from wvc.verbs import mergekit, yamlfile
from wvc.verbs.mergekit import Plan, read

if yamlfile.yaml is None:
    pytest.skip("needs PyYAML", allow_module_level=True)

TIES = {"trim": "tensor", "undecided": "positive"}
HALVES = (Fraction(1, 2), Fraction(1, 2))
ONES = (Fraction(1), Fraction(1))


@pytest.fixture
def plan(tmp_path: Path):
    """The plan of a file with this text."""

    def planned(text: str) -> Plan:
        path = tmp_path / "merge.yml"
        path.write_text(text)
        return read(path)

    return planned


def two(method: str, *, base: bool = True, each: str = "weight: 1", **shared: object) -> str:
    """A file with the models run/0 and run/1, of main or of nothing."""
    lines = [f"merge_method: {method}", *(["base_model: main"] if base else []), "models:"]
    lines += [f"  - {{model: run/{i}, parameters: {{{each}}}}}" for i in range(2)]
    lines += ["parameters:", *(f"  {name}: {value}" for name, value in shared.items())] if shared else []
    return "\n".join(lines)


def test_a_linear_merge_takes_its_weights_as_exact_shares(plan):
    text = """
        merge_method: linear
        dtype: bfloat16
        models:
          - model: run/0
            parameters:
              weight: 0.3
          - model: main@{1}
            parameters:
              weight: 1.2e-1
        """

    found = plan(text)

    assert found.strategy == "linear"
    assert found.revisions == ("run/0", "main@{1}")
    assert found.coefficients == (Fraction(5, 7), Fraction(2, 7))
    assert found.base is None and found.options == {}
    assert found.notes == ("dtype is ignored: sums are made in fp32 or fp64",)


def test_a_weight_of_the_file_is_that_of_all_models_without_one(plan):
    models = "models: [model: a, model: b, {model: c, parameters: {weight: 2}}]"

    found = plan(f"merge_method: linear\n{models}\nparameters: {{weight: 1}}")

    assert found.coefficients == (Fraction(1, 4), Fraction(1, 4), Fraction(1, 2))


def test_a_base_that_linear_does_not_need_is_one_more_model(plan):
    listed = "merge_method: linear\nbase_model: a\nmodels: [model: a, model: b]\nparameters: {weight: 1}"

    found = plan(listed.replace("base_model: a", "base_model: c"))

    assert found.revisions == ("a", "b", "c") and found.coefficients == (Fraction(1, 3),) * 3
    assert plan(listed).revisions == ("a", "b")


def test_task_arithmetic_keeps_weights_and_leaves_the_base_out_of_the_models(plan):
    text = """
        merge_method: task_arithmetic
        base_model: main
        models: [{model: run/0, parameters: {weight: 0.5}}, model: main, {model: run/1, parameters: {weight: -.25}}]
        parameters: {lambda: 0.3}
        """

    found = plan(text)

    assert found == Plan(
        "task-arithmetic",
        ("run/0", "run/1"),
        (Fraction(1, 2), Fraction(-1, 4)),
        "main",
        {"scale": "3/10", "normalize": "false"},
        (),
    )


def test_weights_that_sum_to_nothing_are_not_divided_by_their_sum(plan):
    opposite = two("task_arithmetic", normalize="yes").replace(
        "run/1, parameters: {weight: 1", "run/1, parameters: {weight: -1"
    )

    assert plan(opposite).options["normalize"] == "false"
    assert plan(opposite.replace("-1", "+1")).options["normalize"] == "true"


@pytest.mark.parametrize(
    ("method", "shared", "strategy", "options"),
    [
        ("ties", {}, "ties", TIES | {"density": "1.0", "divisor": "weight"}),
        ("ties", {"density": "0.20"}, "ties", TIES | {"density": "0.2", "divisor": "weight"}),
        ("ties", {"density": 0.2, "normalize": "off"}, "ties", TIES | {"density": "0.2", "divisor": "none"}),
        ("dare_linear", {}, "task-arithmetic", {"normalize": "false"}),
        ("dare_ties", {}, "ties", TIES | {"density": "1.0", "divisor": "none"}),
        ("della", {}, "ties", TIES | {"density": "1.0", "divisor": "weight"}),
        ("della_linear", {}, "task-arithmetic", {"normalize": "false"}),
        ("breadcrumbs", {"gamma": 0.5}, "task-arithmetic", {"normalize": "false"}),
        ("breadcrumbs_ties", {"normalize": "on"}, "ties", TIES | {"density": "1.0", "divisor": "weight"}),
        (
            "dare_linear",
            {"density": 0.5, "normalize": "true"},
            "dare",
            {"density": "0.5", "consensus": "none", "rescale": "norm", "normalize": "true"},
        ),
        (
            "dare_ties",
            {"density": 0.5, "rescale": "false"},
            "dare",
            {"density": "0.5", "consensus": "ties", "rescale": "none", "normalize": "false"},
        ),
        (
            "della",
            {"density": 0.5},
            "della",
            {"density": "0.5", "epsilon": "0.15", "consensus": "ties", "rescale": "norm", "normalize": "true"},
        ),
        (
            "della_linear",
            {"density": 0.6, "epsilon": "1e-1"},
            "della",
            {"density": "0.6", "epsilon": "0.1", "consensus": "none", "rescale": "norm", "normalize": "false"},
        ),
        (
            "breadcrumbs",
            {"density": 0.9},
            "breadcrumbs",
            {"density": "0.9", "gamma": "0.01", "consensus": "none", "normalize": "false"},
        ),
        (
            "breadcrumbs_ties",
            {"density": 0.9, "gamma": 0.02, "normalize": "true"},
            "breadcrumbs",
            {"density": "0.9", "gamma": "0.02", "consensus": "ties", "normalize": "true"},
        ),
    ],
)
def test_methods_on_differences_with_the_defaults_of_mergekit(plan, method, shared, strategy, options):
    found = plan(two(method, **shared))

    assert (found.strategy, found.revisions, found.base) == (strategy, ("run/0", "run/1"), "main")
    assert found.coefficients == ONES
    assert found.options == {"scale": "1", **options}


def test_slerp_goes_from_the_base_to_the_other(plan):
    text = "merge_method: slerp\nbase_model: b\nmodels: [model: a, model: b]\nparameters: {t: 0.3}"

    found = plan(text)

    assert found.strategy == "slerp" and found.base is None
    assert found.revisions == ("b", "a") and found.coefficients == (Fraction(7, 10), Fraction(3, 10))
    assert plan(text.replace("model: a, model: b", "model: a")) == found


def test_methods_on_the_sphere(plan):
    sphere = plan(two("multislerp", base=False, each="weight: 0.4"))
    mean = plan(two("karcher", base=False, each=""))

    assert (sphere.strategy, sphere.coefficients, sphere.options) == ("multi-slerp", HALVES, {})
    assert (mean.strategy, mean.coefficients) == ("karcher", None)
    assert mean.options == {"iterations": "10", "tolerance": "1e-05"}
    assert plan(two("karcher", each="", max_iter=50, tol="1e-9")).revisions == ("run/0", "run/1", "main")


def test_model_stock_needs_no_weights(plan):
    found = plan(two("model_stock", each=""))

    assert (found.strategy, found.coefficients, found.base) == ("model-stock", None, "main")
    assert found.options == {"angle": "cosine", "opposed": "extrapolate"}


def test_every_method_is_one_of_our_strategies_with_options_that_it_has(plan):
    shared = {"t": 0.5, "weight": 1, "density": 0.5}
    found = {method: plan(_fitting(method, shared)) for method in mergekit.METHODS}

    for method, made in found.items():
        known = inspect.signature(plugins.load("wvc.strategies", made.strategy).merge).parameters
        assert set(made.options) <= set(known), method
        assert (made.base is not None) == ("base" in known), method


def _fitting(method: str, shared: dict[str, object]) -> str:
    if method == "slerp":
        return f"merge_method: slerp\nbase_model: a\nmodels: [model: b]\nparameters: {shared}"
    return two(method, base=method not in ("linear", "multislerp", "karcher"), each="", **shared)


def test_what_changes_nothing_here_is_told(plan):
    text = (
        two("task_arithmetic", each="weight: 1, density: 0.5, t: 1", int8_mask="true")
        + "\n"
        + "\n".join(
            ("dtype: float32", "out_dtype: bfloat16", "tokenizer_source: base", "chat_template: auto", "wieght: 1")
        )
    )

    notes = plan(text).notes

    ignored = [note.split()[0] for note in notes if "ignored" in note]
    assert ignored == ["dtype", "out_dtype", "tokenizer_source", "chat_template", "'wieght'"]
    assert [note.split()[1] for note in notes if note.startswith("parameter")] == ["'density'", "'int8_mask'", "'t'"]


def test_a_density_that_drops_nothing_is_told(plan):
    assert plan(two("dare_ties")).notes == ("a density of 1 drops nothing, so that dare_ties is ties",)
    assert plan(two("ties")).notes == ()


def test_a_single_value_may_stand_in_a_list_or_without_a_filter(plan):
    spelled = [two("ties", density=value) for value in ("[0.4]", "{value: 0.4}", "[{value: 0.4}]", "'0.4'", "4e-1")]

    densities = {plan(text).options["density"] for text in spelled}

    assert densities == {"0.4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merge_method: passthrough\nmodels: [model: a]", "'passthrough' has no counterpart"),
        ("merge_method: sce\nmodels: [model: a]", "'sce' has no counterpart"),
        ("merge_method: nearswap\nmodels: [model: a]", "'nearswap' has no counterpart"),
        ("merge_method: nuslerp\nmodels: [model: a]", "'nuslerp' has no counterpart"),
        ("merge_method: slerp\nslices: [{sources: [{model: a, layer_range: [0, 8]}]}]", "slices of models"),
        ("merge_method: slerp\nmodules: {text: {models: [model: a]}}", "modules of models"),
        (two("ties", density="[0.1, 0.9]"), "density is not one value for all tensors"),
        (two("ties", density="[{filter: mlp, value: 0.5}, {value: 1}]"), "density is not one value"),
        (two("linear", each="weight: {filter: mlp, value: 0.5}"), "weight is not one value"),
        (two("ties", rescale="true", density=0.5), "ties with rescale: true"),
        (two("breadcrumbs", rescale="true", density=0.5), "breadcrumbs with rescale: true"),
        (two("ties", each="weight: -1"), "divides by weights with their signs"),
        (two("ties", density=0), "a density of 0.0 keeps nothing"),
        (two("model_stock", filter_wise="true"), "model_stock with filter_wise: true"),
        (two("multislerp"), "differences from a base"),
        (two("linear", base=False, normalize="false"), "the weights sum to 2"),
        (two("linear", base=False, each="weight: 0"), "the weights sum to 0"),
        (two("linear", base=False).replace("run/0", "org/model+org/lora"), "asks for a LoRA adapter"),
        (two("linear", base=False) + "\ntokenizer_source: union", "tokenizers cannot be merged here: 'union'"),
        (two("linear", base=False) + "\ntokenizer: {source: union}", "tokenizers cannot be merged here: 'union'"),
        (two("linear", base=False) + "\ntokenizer: {tokens: {a: {source: b}}}", "tokenizers cannot be merged here"),
    ],
)
def test_what_has_no_counterpart_is_refused(plan, text, message):
    with pytest.raises(MergeProblem, match=message) as caught:
        plan(text)

    assert caught.value.hint


def test_densities_of_their_own_are_refused(plan):
    text = two("ties").replace("run/0, parameters: {", "run/0, parameters: {density: 0.5, ")

    with pytest.raises(MergeProblem, match="each model has a density of its own"):
        plan(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds 0 YAML documents"),
        ("- a", "the file must be a mapping, not a list"),
        ("--- {a: 1}\n--- {a: 1}", "holds 2 YAML documents"),
        ("models: [model: a]", "merge_method must be a name, not nothing"),
        ("merge_method: linear", "models must be a list"),
        ("merge_method: linear\nmodels: []", "models must be a list"),
        ("merge_method: linear\nmodels: {model: a}", "models must be a list"),
        ("merge_method: linear\nmodels: [a]", "an item of models must be a mapping, not 'a'"),
        ("merge_method: linear\nmodels: [{model: [a]}]", "model must be a name, not a list"),
        ('merge_method: linear\nmodels: [model: "a\\e[2J"]', "model must be a name, not"),
        ("merge_method: linear\nmodels: [model: a, model: a]", "model 'a' is there twice"),
        ("merge_method: linear\nmodels: [model: a]", "linear needs a weight for 'a'"),
        ("merge_method: ties\nmodels: [{model: a, parameters: {weight: 1}}]", "ties needs a base_model"),
        ("merge_method: slerp\nbase_model: a\nmodels: [model: a, model: b]", "slerp needs a t"),
        ("merge_method: slerp\nbase_model: a\nmodels: [model: b, model: c]\nparameters: {t: 1}", "needs exactly 1"),
        ("merge_method: model_stock\nbase_model: a\nmodels: [model: a, model: b]", "needs at least 2"),
        (two("linear", base=False, each="weight: one"), "weight must be a decimal number, not 'one'"),
        (two("linear", base=False, each="weight: .nan"), "weight must be a decimal number"),
        (two("linear", base=False, each="weight: 010"), "weight must be a decimal number"),
        (two("linear", base=False, each="weight: 1e999999999"), "weight must be a decimal number"),
        (two("linear", base=False, each=f"weight: {'9' * 5000}"), "weight must be a decimal number"),
        (two("linear", base=False, normalize="perhaps"), "normalize must be true or false, not 'perhaps'"),
        (two("karcher", base=False, each="", max_iter=2.5), "max_iter must be an integer"),
        (two("linear", base=False) + "\nparameters: 1", "parameters must be a mapping, not '1'"),
        (two("linear", base=False) + "\nmerge_method: ties", "key 'merge_method' is there twice"),
    ],
)
def test_what_is_no_merge_is_refused(plan, text, message):
    with pytest.raises(BadFile) as caught:
        plan(text)

    assert message in str(caught.value)


BOMB = "a: &a [x, x]\n" + "".join(f"a{i}: &a{i} [*a, *a]\n" for i in range(99))
FULL = (1 << 17) - 100


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: *nothing",
        "a: !!python/object/apply:os.system [true]",
        "<<: {merge_method: linear}",
        "[" * FULL,
        "{a: " * (FULL // 4),
        "- " * (FULL // 2),
        "".join(" " * i + "a:\n" for i in range(400)),
        "".join(f"k{i}: 1\n" for i in range(FULL // 12)),
        "[" + "a," * (FULL // 2 - 2),
        "--- a\n" * (FULL // 6),
        "%YAML " + "9" * 9999 + ".1\n--- a",
        'a: "\\UFFFFFFFF"',
        "a: 'x",
        "a: \t- b",
        "a: \0",
        "a: '" + "\n\nx" * (FULL // 3 - 10) + "'",
        "#\n" * (FULL // 2),
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_file_is_refused_in_little_time_and_memory(plan, text):
    began = time.process_time()

    with pytest.raises(WvcError) as caught:
        plan(text)

    assert time.process_time() - began < 10  # one or two on a slow machine
    assert len(str(caught.value)) < 500


def test_a_hostile_file_takes_little_memory(plan):
    tracemalloc.start()

    with pytest.raises(BadFile, match="has an alias or a tag in line 2"):
        plan(BOMB)

    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "merge.yml"
    path.touch()
    with path.open("ab") as file:
        file.truncate(1 << 40)

    with pytest.raises(BadFile, match="1099511627776 bytes are too many"):
        read(path)


def test_bytes_and_places_that_are_no_text(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")

    for name, message in {"bytes": "no text in UTF-8", "absent": "no such file", ".": "is a folder"}.items():
        with pytest.raises(BadFile, match=message):
            read(tmp_path / name)


def test_without_pyyaml_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(yamlfile, "yaml", None)

    with pytest.raises(UsageError) as caught:
        read(tmp_path / "merge.yml")

    assert caught.value.hint == "run `pip install 'wvc[mergekit]'`"
