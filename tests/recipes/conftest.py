"""Datasets that are known by hearsay."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wvc.recipes import Facts, Task

DOMAINS = {"pacs": ("art", "cartoon", "Real World", "sketch"), "dtd": ("all",)}


@pytest.fixture
def know() -> Callable[[str], Facts]:
    """Of NAME or NAME/FINGERPRINT: pacs has four domains, dtd one, every other two; fingerprints are names."""

    def facts(item: str) -> Facts:
        name, _, fingerprint = item.partition("/")
        domains = DOMAINS.get(name, ("day", "night"))
        return Facts(Task(name, known=True), domains, fingerprint or name, tuple(10 for _ in domains), 8)

    return facts
