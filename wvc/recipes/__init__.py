"""Recipes: read a TOML file that says how to cook, check it whole, and give its steps in order.

docs/recipes.md describes the file. Nothing here trains or reads data; errors name the line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wvc.errors import RecipeProblem
from wvc.recipes._axes import slug
from wvc.recipes._parts import Cell, Facts, Know, Recipe, Row, Step, Table, Task
from wvc.recipes._pools import assignment
from wvc.recipes._reader import Reader
from wvc.recipes._schema import SCHEMA

__all__ = [
    "SCHEMA",
    "Cell",
    "Facts",
    "Know",
    "Recipe",
    "Row",
    "Step",
    "Table",
    "Task",
    "assignment",
    "find",
    "read",
    "shipped",
    "slug",
    "title",
]

SHIPPED = (Path(__file__).parent.parent / "_recipes", Path(__file__).parent.parent.parent / "recipes")


def find(name: str) -> Path:
    """The file `name`, or the recipe of that name that comes with wvc. Raises RecipeProblem."""
    if Path(name).suffix == ".toml" and Path(name).is_file():
        return Path(name)
    if name in shipped():
        return next(path for folder in SHIPPED if (path := folder / f"{name}.toml").is_file())
    hint = "there are " + ", ".join(shipped())
    raise RecipeProblem(f"no recipe {name!r}", hint if not name.endswith(".toml") else "no such file")


def shipped() -> list[str]:
    """Names of the recipes that come with wvc."""
    return sorted({path.stem for folder in SHIPPED for path in folder.glob("*.toml")})


def title(path: Path) -> str:
    """What the recipe in `path` calls itself. Raises RecipeProblem."""
    return str(_loaded(path)[1].get("name") or path.stem)


def read(path: Path, settings: Mapping[str, str] | None = None, know: Know | None = None) -> Recipe:
    """The recipe in `path` with `settings` in place of its options. Raises RecipeProblem.

    know: tells what is to be known of a dataset that an option names; a recipe that asks for data cannot be read
    without it. Raises what `know` raises.
    """
    text, value = _loaded(path)
    return Reader(path, text, value, know).recipe(settings or {})


def _loaded(path: Path) -> tuple[str, Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeProblem(f"{path}: {error}") from None
