"""Recipes: read a TOML file that says how to cook, check it whole, and give its steps in order.

docs/recipes.md describes the file. Nothing here trains or reads data; errors name the line.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wvc.errors import RecipeProblem

SCHEMA = 1
SHIPPED = (Path(__file__).parent / "_recipes", Path(__file__).parent.parent / "recipes")

TOP = {"schema", "name", "summary", "text", "threads", "options", "axes", "task", "step", "table"}
STEP = {"branch", "each", "from", "create", "train", "merge"}
KINDS = ("create", "train", "merge")
OPTIONS: Mapping[str, Mapping[str, type]] = {
    "create": {"arch": str, "seed": int, "image_size": int},
    "train": {
        "task": str, "test_domains": list, "steps": int, "lr": float, "batch_size": int, "weight_decay": float,
        "dropout": float, "hparams_seed": int, "seed": int, "trial": int, "freeze_steps": int, "eval_every": int,
        "image_size": int, "precision": str, "limit": int, "head": str, "probe": str, "probe_steps": int,
        "probe_lr": float,
    },
    "merge": {"models": list, "select": str, "task": str, "tie": str, "metric": str, "buffers": str},
}  # fmt: skip
CHOICES: Mapping[str, tuple[str, ...]] = {
    "select": ("all", "greedy"), "tie": ("accept", "reject"), "metric": ("micro", "macro"),
    "buffers": ("average", "first"), "precision": ("fp32", "bf16"), "probe": ("fast", "sgd"), "head": ("fresh", "keep"),
    "choose": ("mean", "best"),
}  # fmt: skip
TABLE = {"task", "over", "row"}
ROW = {"name", "models", "choose", "probe"}
NEEDED = {"create": ("arch",), "train": ("task",), "merge": ("models",)}
HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Task:
    """A task that the steps use. path: where its data are, or None for kinds that bring their own."""

    name: str
    kind: str = "folder"
    path: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One commit to make, on `branch`.

    kind: "create", "train" or "merge". start: the branch that it begins at, None for create.
    models: branches that a merge averages. options: as the command line has them.
    """

    kind: str
    branch: str
    start: str | None
    models: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Branches that must be there before."""
        return (*((self.start,) if self.start else ()), *self.models)


@dataclass(frozen=True)
class Row:
    """One row of the final table.

    trials: per value of the table's axis, the branches that the row is about.
    choose: "mean" over them, or the "best" by validation accuracy. probe: their linear probes instead.
    """

    name: str
    trials: tuple[tuple[str, ...], ...]
    choose: str = "mean"
    probe: bool = False


@dataclass(frozen=True)
class Recipe:
    """A checked recipe. threads: of torch, or None for its default."""

    name: str
    summary: str
    text: str
    threads: int | None
    tasks: tuple[Task, ...]
    steps: tuple[Step, ...]
    table_task: str | None
    rows: tuple[Row, ...]


def find(name: str) -> Path:
    """The file `name`, or the recipe of that name that comes with wvc. Raises RecipeProblem."""
    if Path(name).suffix == ".toml" and Path(name).is_file():
        return Path(name)
    for folder in SHIPPED:
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    hint = "there are " + ", ".join(shipped())
    raise RecipeProblem(f"no recipe {name!r}", hint if not name.endswith(".toml") else "no such file")


def shipped() -> list[str]:
    """Names of the recipes that come with wvc."""
    return sorted({path.stem for folder in SHIPPED for path in folder.glob("*.toml")})


def read(path: Path, settings: Mapping[str, str] | None = None) -> Recipe:
    """The recipe in `path` with `settings` in place of its options. Raises RecipeProblem."""
    try:
        text = path.read_text(encoding="utf-8")
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeProblem(f"{path}: {error}") from None
    return _Reader(path, text, value).recipe(settings or {})


class _Reader:
    """One recipe being checked."""

    def __init__(self, path: Path, text: str, value: Mapping[str, Any]) -> None:
        self._path, self._lines, self._value = path, text.splitlines(), value

    def recipe(self, settings: Mapping[str, str]) -> Recipe:
        value = self._value
        self._known(value, TOP, "", 0)
        if value.get("schema") != SCHEMA:
            self._fail(f"schema must be {SCHEMA}", "schema")
        self._check_kinds(value)
        names = self._options(settings)
        axes = {name: self._axis(name, axis, names) for name, axis in value.get("axes", {}).items()}
        steps = [step for i, raw in enumerate(value.get("step", [])) for step in self._steps(raw, i, axes, names)]
        if not steps:
            self._fail("a recipe needs a [[step]]", "step")
        table = value.get("table", {})
        return Recipe(
            name=str(value.get("name") or self._path.stem),
            summary=str(value.get("summary", "")),
            text=str(value.get("text", "")).strip(),
            threads=value.get("threads"),
            tasks=tuple(self._task(raw, i, names) for i, raw in enumerate(value.get("task", []))),
            steps=tuple(self._linked(steps)),
            table_task=table.get("task"),
            rows=tuple(self._rows(table, axes, names, [s.branch for s in steps])),
        )

    def _check_kinds(self, value: Mapping[str, Any]) -> None:
        """Tables where there must be tables, so that nothing that follows needs to ask."""
        for name in ("options", "axes", "table"):
            if not isinstance(value.get(name, {}), dict):
                self._fail(f"{name} must be a table", name)
        for name in ("task", "step"):
            rows = value.get(name, [])
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                self._fail(f"{name} must be written as [[{name}]]", name)
        rows = value.get("table", {}).get("row", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._fail("row must be written as [[table.row]]", "row")
        if not isinstance(value.get("threads", 1), int):
            self._fail("threads must be a number", "threads")

    def _options(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """The options with what the user set, as the type of the default."""
        options = dict(self._value.get("options", {}))
        for name, text in settings.items():
            if name not in options:
                known = ", ".join(options) or "none"
                raise RecipeProblem(f"{self._path}: there is no option {name!r}", f"its options: {known}")
            kind = type(options[name])
            try:
                if kind not in (int, float, str):
                    raise ValueError
                options[name] = kind(text)
            except ValueError:
                raise RecipeProblem(f"--set {name}={text}: not a valid {kind.__name__}") from None
        return options

    def _axis(self, name: str, axis: object, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the axis puts into the holes, one table for each of its values."""
        if isinstance(axis, str):
            axis = options.get(axis)
        if isinstance(axis, int) and not isinstance(axis, bool):
            axis = list(range(axis))
        if not isinstance(axis, list) or not axis:
            self._fail(f"axis {name!r} must be a number, an option or a list that is not empty", name, "axes")
            return []
        return [dict(value) if isinstance(value, dict) else {name: value} for value in axis]

    def _task(self, raw: Mapping[str, Any], index: int, names: Mapping[str, Any]) -> Task:
        self._known(raw, {"name", "kind", "path", "set"}, "task", index)
        if "name" not in raw:
            self._fail("a task needs a name", "[[task]]", "task", index)
        filled = self._fill(dict(raw), names, "task", index)
        return Task(filled["name"], filled.get("kind", "folder"), filled.get("path"), filled.get("set", {}))

    def _steps(
        self, raw: Mapping[str, Any], index: int, axes: Mapping[str, list[dict[str, Any]]], names: Mapping[str, Any]
    ) -> Iterator[Step]:
        self._known(raw, STEP, "step", index)
        kinds = [kind for kind in KINDS if kind in raw]
        if len(kinds) != 1 or "branch" not in raw:
            self._fail("a step needs a branch and one of " + ", ".join(KINDS), "[[step]]", "step", index)
        kind = kinds[0]
        if not isinstance(raw[kind], dict):
            self._fail(f"{kind} must be a table", kind, "step", index)
        if not all(isinstance(raw.get(name, ""), str) for name in ("branch", "from")):
            self._fail("branch and from must be text", "[[step]]", "step", index)
        if (kind == "create") == ("from" in raw):
            self._fail("train and merge need `from`, create must not have it", kind, "step", index)
        if not isinstance(raw.get("each", []), list):
            self._fail("each must be a list of axes", "each", "step", index)
        for axis in raw.get("each", []):
            if axis not in axes:
                self._fail(f"there is no axis {axis!r}", "each", "step", index)
        for values in itertools.product(*(axes[axis] for axis in raw.get("each", []))):
            env = dict(names)
            for value in values:
                env |= value
            env = {name: self._fill(value, env, "step", index) for name, value in env.items()}
            yield self._step(kind, self._fill(dict(raw), env, "step", index), index)

    def _step(self, kind: str, raw: Mapping[str, Any], index: int) -> Step:
        options = dict(raw[kind])
        self._known(options, set(OPTIONS[kind]), "step", index)
        for name in NEEDED[kind]:
            if name not in options:
                self._fail(f"{kind} needs {name}", kind, "step", index)
        typed = {name: self._typed(kind, name, value, index) for name, value in options.items()}
        models = tuple(typed.pop("models", ()))
        return Step(kind, str(raw["branch"]), raw.get("from"), models, typed)

    def _typed(self, kind: str, name: str, value: Any, index: int) -> Any:
        wanted = OPTIONS[kind][name]
        if wanted is list and (not isinstance(value, list) or (name == "models" and not value)):
            self._fail(f"{name} must be a list", name, "step", index)
        try:
            typed = [str(item) for item in value] if wanted is list else wanted(value)
        except (TypeError, ValueError):
            typed = None
        if typed is None or isinstance(value, bool) or (wanted is int and isinstance(value, float) and value != typed):
            self._fail(f"{name} = {value!r} is not a valid {wanted.__name__}", name, "step", index)
        self._chosen(name, typed, "step", index)
        return typed

    def _chosen(self, name: str, value: Any, table: str, index: int) -> None:
        if name in CHOICES and value not in CHOICES[name]:
            self._fail(f"{name} = {value!r} is not one of {', '.join(CHOICES[name])}", name, table, index)

    def _linked(self, steps: list[Step]) -> Iterator[Step]:
        """The steps, with globs over what came before resolved; every input must be made before it is used."""
        made: list[str] = []
        for step in steps:
            models = tuple(name for pattern in step.models for name in self._matches(pattern, made))
            if step.start is not None and step.start not in made:
                raise RecipeProblem(f"{self._path}: {step.branch} begins at {step.start}, which no earlier step makes")
            if step.branch in made:
                raise RecipeProblem(f"{self._path}: two steps make {step.branch}", "put the axis into its name")
            made.append(step.branch)
            yield Step(step.kind, step.branch, step.start, models, step.options)

    def _matches(self, pattern: str, made: list[str]) -> list[str]:
        found = sorted(name for name in made if fnmatch.fnmatchcase(name, pattern))
        if not found:
            raise RecipeProblem(f"{self._path}: no earlier step makes {pattern!r}")
        return found

    def _rows(
        self,
        table: Mapping[str, Any],
        axes: Mapping[str, list[dict[str, Any]]],
        names: Mapping[str, Any],
        made: list[str],
    ) -> Iterator[Row]:
        self._known(table, TABLE, "", 0)
        if table and (table.get("over") not in axes or "task" not in table):
            self._fail("a table needs a task, and `over`: the axis of its trials", "[table]")
        for i, raw in enumerate(table.get("row", [])):
            self._known(raw, ROW, "table.row", i)
            if "name" not in raw or not isinstance(raw.get("models"), list):
                self._fail("a row needs a name, and a list of models", "[[table.row]]", "table.row", i)
            self._chosen("choose", raw.get("choose", "mean"), "table.row", i)
            trials = []
            for env in axes[table["over"]]:
                patterns = self._fill(raw["models"], {**names, **env}, "table.row", i)
                trials.append(tuple(name for pattern in patterns for name in self._matches(pattern, made)))
            yield Row(raw["name"], tuple(trials), raw.get("choose", "mean"), raw.get("probe", False))

    def _fill(self, value: Any, env: Mapping[str, Any], table: str, index: int) -> Any:
        """`value` with every {name} replaced; text that is one hole takes the value as it is."""
        if isinstance(value, dict):
            return {key: self._fill(item, env, table, index) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, env, table, index) for item in value]
        if not isinstance(value, str):
            return value
        for name in HOLE.findall(value):
            if name not in env:
                self._fail(f"{{{name}}} is neither an option nor on an axis of this step", f"{{{name}}}", table, index)
        whole = HOLE.fullmatch(value)
        return env[whole[1]] if whole else HOLE.sub(lambda match: str(env[match[1]]), value)

    def _known(self, raw: Mapping[str, Any], allowed: set[str], table: str, index: int) -> None:
        for key in raw:
            if key not in allowed:
                self._fail(f"unknown key {key!r}; known are {', '.join(sorted(allowed))}", key, table, index)

    def _fail(self, why: str, word: str, table: str = "", index: int = 0) -> None:
        """Raises RecipeProblem with the line of `word` in the index-th [[table]]."""
        headers = [i for i, line in enumerate(self._lines) if line.strip() in (f"[[{table}]]", f"[{table}]")]
        start = headers[index] if index < len(headers) else 0
        whole = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        line = next((i for i in range(start, len(self._lines)) if whole.search(self._lines[i])), start)
        raise RecipeProblem(f"{self._path}, line {line + 1}: {why}")
