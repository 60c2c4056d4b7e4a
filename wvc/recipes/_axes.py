"""Axes: what the steps of a recipe are repeated over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wvc.errors import RecipeProblem
from wvc.recipes._holes import Env, Page
from wvc.recipes._parts import Facts, Know, Task

NONE = "none"  # hold out no domain
PLAIN = re.compile(r"[^A-Za-z0-9_.-]+|^\.+|\.+$")  # what a part of a branch's name must not have

Axis = Any  # as TOML has it


class Axes:
    """All axes of a recipe, and the datasets that they name."""

    def __init__(self, page: Page, raw: Mapping[str, Axis], options: Env, know: Know | None) -> None:
        self._page, self._raw, self._options, self._know = page, raw, options, know
        self.data: dict[str, Facts] = {}  # by name of the task
        for name, axis in raw.items():
            if not isinstance(axis, dict):
                self._listed(name, axis)
            elif "tasks" in axis:
                self._tasks(name, axis)

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def tasks(self) -> list[Task]:
        """The datasets that are no tasks of the repository yet."""
        return [facts.task for facts in self.data.values() if not facts.task.known]

    def over(self, axes: Sequence[str], env: Env, table: str, index: int) -> Iterator[dict[str, Any]]:
        """What each combination of the values of `axes` puts into the holes, on top of `env`."""
        if not axes:
            yield dict(env)
            return
        for value in self.values(axes[0], env, table, index):
            yield from self.over(axes[1:], {**env, **value}, table, index)

    def values(self, name: str, env: Env, table: str = "", index: int = 0) -> list[dict[str, Any]]:
        """The values of one axis; an axis of domains depends on the task that `env` names."""
        if name not in self._raw:
            self._page.fail(f"there is no axis {name!r}", "each", table, index)
        axis = self._raw[name]
        if not isinstance(axis, dict):
            return self._listed(name, axis)
        return self._tasks(name, axis) if "tasks" in axis else self._domains(name, axis, env, table, index)

    def _listed(self, name: str, axis: Axis) -> list[dict[str, Any]]:
        if isinstance(axis, str):
            axis = self._options.get(axis)
        if isinstance(axis, int) and not isinstance(axis, bool):
            axis = list(range(axis))
        if not isinstance(axis, list) or not axis:
            self._page.fail(f"axis {name!r} must be a number above 0, an option, or a list with items", name, "axes")
        return [dict(value) if isinstance(value, dict) else {name: value} for value in axis]

    def _tasks(self, name: str, axis: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One value a dataset that the option lists: {name} is its task."""
        option = axis["tasks"]
        items = self._options.get(option)
        if set(axis) != {"tasks"} or not isinstance(items, list):
            self._page.fail(f"axis {name!r} must name an option that is a list", name, "axes")
        if not items:
            raise RecipeProblem(
                f"{self._page.path}: which {option}?", f"name tasks, folders or tars: --set {option}=PATH[,PATH...]"
            )
        if self._know is None:
            raise RecipeProblem(f"{self._page.path}: axis {name!r} needs data", "cook it: wvc cook")
        found = {facts.task.name: facts for facts in map(self._known, items)}
        return [{name: task} for task in sorted(found)]

    def _known(self, item: str) -> Facts:
        assert self._know is not None
        for facts in self.data.values():
            if item in (facts.task.name, facts.task.path):
                return facts
        facts = self._know(item)
        other = self.data.get(facts.task.name)
        if other is not None and other.task != facts.task:
            raise RecipeProblem(f"two datasets are called {facts.task.name!r}", f"name one: NAME={item}")
        return self.data.setdefault(facts.task.name, facts)

    def _domains(self, name: str, axis: Mapping[str, Any], env: Env, table: str, index: int) -> list[dict[str, Any]]:
        """One value a domain of the task in the hole: {name} is the domain, {name_slug} fits into a branch's name."""
        if set(axis) != {"domains", "only"} or not isinstance(self._options.get(axis["only"]), list):
            self._page.fail(
                f"axis {name!r} needs `domains`, an axis, and `only`, an option that is a list", name, "axes"
            )
        if axis["domains"] not in env:
            self._page.fail(f"axis {name!r} must come after {axis['domains']!r}", "each", table, index)
        task = str(env[axis["domains"]])
        domains, wanted = self.data[task].domains, self._options[axis["only"]]
        odd = [domain for domain in wanted if domain not in (*domains, NONE)]
        if odd:
            raise RecipeProblem(f"task {task!r} has no domain {odd[0]!r}", f"it has {', '.join(domains)}")
        chosen = wanted or (domains if len(domains) > 1 else [NONE])
        return [{name: domain, f"{name}_slug": slug(domain)} for domain in chosen]


def slug(domain: str) -> str:
    """`domain` as a part of a branch's name."""
    return PLAIN.sub("_", domain) or "_"
