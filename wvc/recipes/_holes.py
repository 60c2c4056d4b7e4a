"""Fill the holes of a recipe, and say on which line a mistake stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from wvc.errors import RecipeProblem

HOLE = re.compile(r"\{(\w+)(?::0(\d))?\}")  # {name}, or {name:02} for at least two digits

Env = Mapping[str, Any]


class Page:
    """The file, for messages that name a line."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.splitlines()

    def fail(self, why: str, word: str, table: str = "", index: int = 0, hint: str | None = None) -> NoReturn:
        """Raises RecipeProblem with the line of `word` in the index-th [[table]]."""
        headers = [i for i, line in enumerate(self._lines) if line.strip() in (f"[[{table}]]", f"[{table}]")]
        start = headers[index] if index < len(headers) else 0
        whole = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        line = next((i for i in range(start, len(self._lines)) if whole.search(self._lines[i])), start)
        raise RecipeProblem(f"{self.path}, line {line + 1}: {why}", hint)

    def known(self, raw: Env, allowed: set[str], table: str, index: int) -> None:
        """Raises RecipeProblem for a key that is not allowed."""
        for key in raw:
            if key not in allowed:
                self.fail(f"unknown key {key!r}; known are {', '.join(sorted(allowed))}", key, table, index)

    def fill(self, value: Any, env: Env, table: str, index: int) -> Any:
        """`value` with every {name} replaced; text that is one hole takes the value as it is."""
        if isinstance(value, dict):
            return {key: self.fill(item, env, table, index) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, env, table, index) for item in value]
        if not isinstance(value, str):
            return value
        for name, _ in HOLE.findall(value):
            if name not in env:
                why = f"{{{name}}} is neither an option nor on an axis of this step"
                self.fail(why, f"{{{name}}}", table, index)
        whole = HOLE.fullmatch(value)
        if whole and not whole[2]:
            return env[whole[1]]
        return HOLE.sub(lambda match: str(env[match[1]]).zfill(int(match[2] or 0)), value)
