"""Look through a door: the names behind it and their first lines, without importing anything."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType


def names(door: str) -> list[str]:
    """Names of the files (and folders) behind `door`, a package such as "wvc.commands"; sorted."""
    found = {path.stem for path in _folder(door).glob("*.py")}
    found |= {path.parent.name for path in _folder(door).glob("*/__init__.py")}
    return sorted(name.rstrip("_").replace("_", "-") for name in found if not name.startswith("_"))


def first_line(door: str, name: str) -> str:
    """The first line of the docstring of the function `command`, else of the module."""
    tree = ast.parse(_file(door, name).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "command":
            return _line(ast.get_docstring(node))
    return _line(ast.get_docstring(tree))


def load(door: str, name: str) -> ModuleType:
    """Import the file `name` behind `door`. Raises KeyError where there is none."""
    path = _file(door, name)
    stem = path.parent.name if path.name == "__init__.py" else path.stem
    return importlib.import_module(f"{door}.{stem}")


def is_group(door: str, name: str) -> bool:
    """True if `name` is a folder: a door of its own."""
    return _file(door, name).name == "__init__.py"


def _file(door: str, name: str) -> Path:
    """`import` and `del` cannot be file names of modules: a trailing underscore stands for them."""
    stem = name.replace("-", "_")
    if not stem.isidentifier() or stem.startswith("_"):  # nor may a name from outside choose a path
        raise KeyError(name)
    for path in (stem + ".py", stem + "_.py", stem + "/__init__.py"):
        if (_folder(door) / path).is_file():
            return _folder(door) / path
    raise KeyError(name)


def _folder(door: str) -> Path:
    return Path(__file__).parent.joinpath(*door.split(".")[1:])


def _line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n")[0]
