"""Read a YAML file from outside as text, lists and mappings; nothing in it makes an object or names another part."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from wvc.errors import BadFile, UsageError
from wvc.repo.safefile import open_regular, read_at

try:
    import yaml  # type: ignore[import-untyped,unused-ignore]
except ImportError:  # an extra
    yaml = None  # type: ignore[assignment,unused-ignore]

Node: TypeAlias = "str | list[Node] | dict[str, Node] | None"

# A file that a person wrote is far below these; the parser takes seconds for a megabyte.
BYTES, EVENTS, DEPTH = 1 << 17, 20_000, 16
NULL = ("", "~", "null", "Null", "NULL")
MEANINGLESS = "<<"  # a key that would spread another mapping into this one


def load(path: Path) -> dict[str, Node]:
    """The mapping that is the only document in the file, its scalars as they are written: "0.30" stays so.

    Raises UsageError without PyYAML, BadFile for anything that is not such a file.
    """
    if yaml is None:
        raise UsageError("reading YAML needs PyYAML", "run `pip install 'wvc[mergekit]'`")
    text = _text(path)
    try:
        top = _tree(path, text)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # escapes and directives hold numbers of any size
        mark = getattr(error, "problem_mark", None)
        raise BadFile(path, f"is not YAML{f': see line {mark.line + 1}' if mark else ''}") from None
    return mapping(path, top, "the file")


def mapping(path: Path, node: Node, what: str) -> dict[str, Node]:
    """`node`, where an absent one is empty. Raises BadFile."""
    if node is not None and not isinstance(node, dict):
        raise BadFile(path, f"{what} must be a mapping, not {shown(node)}")
    return node or {}


def shown(node: Node) -> str:
    """What to call a node: some of its text, harmless on a terminal, or its kind."""
    if isinstance(node, str):
        return ascii(node) if len(node) <= 60 else ascii(f"{node[:60]}...")
    return "nothing" if node is None else "a list" if isinstance(node, list) else "a mapping"


def _text(path: Path) -> str:
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        if size > BYTES:
            raise BadFile(path, f"{size} bytes are too many for a YAML file that somebody wrote")
        return read_at(fd, 0, size, path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFile(path, "is not YAML: it is no text in UTF-8") from None
    finally:
        os.close(fd)


def _tree(path: Path, text: str) -> Node:
    found: list[list[Node]] = [[]]  # the items of each open collection; first, the documents
    for event in _events(path, text):
        if isinstance(event, yaml.CollectionStartEvent):
            found.append([])
        elif isinstance(event, yaml.CollectionEndEvent):
            items = found.pop()
            found[-1].append(_paired(path, items) if isinstance(event, yaml.MappingEndEvent) else items)
        elif isinstance(event, yaml.ScalarEvent):
            found[-1].append(None if event.style is None and event.value in NULL else event.value)
    if len(found[0]) != 1:
        raise BadFile(path, f"holds {len(found[0])} YAML documents, not one")
    return found[0][0]


def _events(path: Path, text: str) -> Iterator[yaml.Event]:
    """What the parser finds, one by one, as long as it is harmless. Raises BadFile."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.BaseLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if count > EVENTS or depth > DEPTH:
            raise BadFile(path, "is too long or too deeply nested for a YAML file that somebody wrote")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            line = event.start_mark.line + 1
            raise BadFile(path, f"has an alias or a tag in line {line}", "write out what it stands for")
        yield event


def _paired(path: Path, items: Sequence[Node]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) or key == MEANINGLESS:
            raise BadFile(path, f"{shown(key)} is no key that wvc can read")
        if key in found:
            raise BadFile(path, f"key {shown(key)} is there twice in one mapping")
        found[key] = value
    return found
