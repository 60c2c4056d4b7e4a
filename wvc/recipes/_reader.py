"""One recipe being checked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wvc.errors import RecipeProblem
from wvc.recipes._axes import Axes
from wvc.recipes._holes import Env, Page
from wvc.recipes._parts import Know, Recipe, Step, Task
from wvc.recipes._pools import Pool
from wvc.recipes._rows import tables
from wvc.recipes._schema import CHOICES, KINDS, NEEDED, OPTIONS, POOL, RANGES, SCHEMA, STEP, TASK, TOP, setting, typed


@dataclass(frozen=True)
class _Draft:
    """A step whose globs are not yet resolved."""

    step: Step
    pool: Pool | None


class Reader:
    """Reads one file; `recipe` does it all."""

    def __init__(self, path: Path, text: str, value: Mapping[str, Any], know: Know | None) -> None:
        self._page, self._path, self._value, self._know = Page(path, text), path, value, know

    def recipe(self, settings: Mapping[str, str]) -> Recipe:
        """The whole, checked. Raises RecipeProblem."""
        value, page = self._value, self._page
        page.known(value, TOP, "", 0)
        if value.get("schema") != SCHEMA:
            page.fail(f"schema must be {SCHEMA}", "schema")
        self._check_kinds(value)
        name = str(value.get("name") or self._path.stem)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            page.fail("a name has letters, digits, dots, dashes: it is that of a folder", "name")
        env = {"recipe": name, **self._options(settings)}
        axes = Axes(page, value.get("axes", {}), env, self._know)
        drafts = [step for i, raw in enumerate(value.get("step", [])) for step in self._steps(raw, i, axes, env)]
        if not drafts:
            page.fail("a recipe needs a [[step]]", "step")
        steps = tuple(self._linked(drafts))
        made = [step.branch for step in steps]
        return Recipe(
            name=name,
            summary=str(value.get("summary", "")),
            text=str(value.get("text", "")).strip(),
            threads=value.get("threads"),
            tasks=(*(self._task(raw, i, env) for i, raw in enumerate(value.get("task", []))), *axes.tasks()),
            steps=steps,
            tables=tuple(tables(page, value.get("table", {}), axes, env, lambda glob: self._matches(glob, made))),
            places=tuple(str(raw.get("branch")).replace("{recipe}", name) for raw in value.get("step", [])),
            data=axes.data,
        )

    def _check_kinds(self, value: Mapping[str, Any]) -> None:
        """Tables where there must be tables, so that nothing that follows needs to ask."""
        for name in ("options", "axes", "table"):
            if not isinstance(value.get(name, {}), dict):
                self._page.fail(f"{name} must be a table", name)
        for name, rows in (*((name, value.get(name, [])) for name in ("task", "step")), ("row", _rows(value))):
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                shown = "table.row" if name == "row" else name
                self._page.fail(f"{name} must be written as [[{shown}]]", name)
        if not isinstance(value.get("threads", 1), int):
            self._page.fail("threads must be a number", "threads")

    def _options(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """The options with what the user set, as the type of the default."""
        options = dict(self._value.get("options", {}))
        for name, text in settings.items():
            if name not in options:
                known = ", ".join(options) or "none"
                raise RecipeProblem(f"{self._path}: there is no option {name!r}", f"its options: {known}")
            try:
                options[name] = setting(options[name], text)
            except ValueError:
                kind = type(options[name]).__name__
                raise RecipeProblem(f"--set {name}={text}: not a valid {kind}") from None
        return options

    def _task(self, raw: Mapping[str, Any], index: int, env: Env) -> Task:
        self._page.known(raw, TASK, "task", index)
        if "name" not in raw:
            self._page.fail("a task needs a name", "[[task]]", "task", index)
        filled = self._page.fill(dict(raw), env, "task", index)
        return Task(filled["name"], filled.get("kind", "folder"), filled.get("path"), filled.get("set", {}))

    def _steps(self, raw: Mapping[str, Any], index: int, axes: Axes, env: Env) -> Iterator[_Draft]:
        kind = self._kind(raw, index)
        for axis in raw.get("each", []):
            if axis not in axes:
                self._page.fail(f"there is no axis {axis!r}", "each", "step", index)
        for found in axes.over(raw.get("each", []), env, "step", index):
            full = {name: self._page.fill(value, found, "step", index) for name, value in found.items()}
            pool = self._pool(raw.get("pool"), axes, full, index)
            bare = {name: value for name, value in raw.items() if name != "pool"}
            yield _Draft(self._step(kind, self._page.fill(bare, full, "step", index), index), pool)

    def _kind(self, raw: Mapping[str, Any], index: int) -> str:
        """What the step does, with all that can be checked before holes are filled."""
        page = self._page
        page.known(raw, STEP, "step", index)
        kinds = [kind for kind in KINDS if kind in raw]
        if len(kinds) != 1 or "branch" not in raw:
            page.fail("a step needs a branch and one of " + ", ".join(KINDS), "[[step]]", "step", index)
        kind = kinds[0]
        if not isinstance(raw[kind], dict):
            page.fail(f"{kind} must be a table", kind, "step", index)
        if not all(isinstance(raw.get(name, ""), str) for name in ("branch", "from")):
            page.fail("branch and from must be text", "[[step]]", "step", index)
        if (kind == "create") == ("from" in raw):
            page.fail(f"{', '.join(KINDS[1:])} need `from`, create must not have it", kind, "step", index)
        for name in ("each", "after"):
            if not isinstance(raw.get(name, []), list):
                page.fail(f"{name} must be a list", name, "step", index)
        if "pool" in raw and kind not in ("train", "blend"):
            page.fail("only train and blend take from a pool", "pool", "step", index)
        return kind

    def _pool(self, raw: Any, axes: Axes, env: Env, index: int) -> Pool | None:
        """The auxiliary models that a step takes from; datasets that are the target's are left out."""
        if raw is None:
            return None
        if not isinstance(raw, dict) or set(raw) - POOL or not {"axis", "branches", "turn"} <= set(raw):
            self._page.fail("a pool has an axis, branches, a turn, and maybe except", "pool", "step", index)
        turn = typed(int, self._page.fill(raw["turn"], env, "step", index))
        if turn is None or raw["axis"] not in axes:
            self._page.fail("a pool needs an axis, and a number as its turn", "pool", "step", index)
        target = axes.data.get(str(self._page.fill(raw.get("except", ""), env, "step", index)))
        patterns = []
        for value in axes.values(raw["axis"], env, "step", index):
            name = str(value[raw["axis"]])
            facts = axes.data.get(name)
            if target is None or facts is None or facts.fingerprint != target.fingerprint:
                patterns.append((name, str(self._page.fill(raw["branches"], {**env, **value}, "step", index))))
        return Pool(tuple(patterns), turn)

    def _step(self, kind: str, raw: Mapping[str, Any], index: int) -> Step:
        # An option that is empty text was not given.
        options = {name: value for name, value in raw[kind].items() if value != ""}
        self._page.known(options, set(OPTIONS[kind]), "step", index)
        reuse = bool(raw.get("reuse", False))
        if reuse != ("weights" in raw[kind]) and kind == "create":
            self._page.fail("weights go with reuse = true: what is random is made by its seed", kind, "step", index)
        for name in () if reuse else NEEDED[kind]:
            if name not in options:
                self._page.fail(f"{kind} needs {name}", kind, "step", index)
        checked = {name: self._typed(kind, name, value, index) for name, value in options.items()}
        models = tuple(checked.pop("models", ()))
        after = tuple(str(branch) for branch in raw.get("after", []))
        return Step(kind, str(raw["branch"]), raw.get("from"), models, checked, after, reuse, index)

    def _typed(self, kind: str, name: str, value: Any, index: int) -> Any:
        wanted = OPTIONS[kind][name]
        if wanted is list and (not isinstance(value, list) or (name == "models" and not value)):
            self._page.fail(f"{name} must be a list", name, "step", index)
        made = typed(wanted, value)
        if made is None:
            self._page.fail(f"{name} = {value!r} is not a valid {wanted.__name__}", name, "step", index)
        if name in CHOICES and made not in CHOICES[name]:
            self._page.fail(f"{name} = {made!r} is not one of {', '.join(CHOICES[name])}", name, "step", index)
        low, high = RANGES.get(name, (made, made))
        if not low <= made <= high:
            self._page.fail(f"{name} = {made} is not between {low:g} and {high:g}", name, "step", index)
        return made

    def _linked(self, drafts: list[_Draft]) -> Iterator[Step]:
        """The steps, with globs over what came before resolved; every input must be made before it is used."""
        made: list[str] = []
        for draft in drafts:
            step = draft.step
            models = tuple(name for pattern in step.models for name in self._matches(pattern, made))
            after = tuple(name for pattern in step.after for name in self._matches(pattern, made))
            start = step.start
            if draft.pool is not None:
                members = [self._matches(glob, made) for _, glob in draft.pool.patterns]
                if step.kind == "train":
                    start = draft.pool.start(members) or start
                else:
                    models += tuple(draft.pool.one_of_each(members))
            if start is not None and start not in made:
                raise RecipeProblem(f"{self._path}: {step.branch} begins at {start}, which no earlier step makes")
            if step.branch in made:
                raise RecipeProblem(f"{self._path}: two steps make {step.branch}", "put the axis into its name")
            made.append(step.branch)
            yield Step(step.kind, step.branch, start, models, step.options, after, step.reuse, step.place)

    def _matches(self, pattern: str, made: list[str]) -> list[str]:
        """The branches made so far that a name or glob means, with what follows an @ (see Step.models)."""
        glob, at, what = pattern.partition("@")
        found = sorted(name for name in made if fnmatch.fnmatchcase(name, glob))
        if not found:
            raise RecipeProblem(f"{self._path}: no earlier step makes {glob!r}")
        return [name + at + what for name in found]


def _rows(value: Mapping[str, Any]) -> Any:
    table = value.get("table", {})
    return table.get("row", []) if isinstance(table, dict) else []
