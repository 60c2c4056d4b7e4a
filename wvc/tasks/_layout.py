"""From the paths of images to domains and classes: the depth of the folders decides."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wvc.errors import TaskProblem

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LEVELS = {"domain/class": 2, "class": 1}
ONLY_DOMAIN = "all"


@dataclass(frozen=True, order=True)
class Entry:
    """One image: where it belongs, under NFC names, and the path that its shelf knows it by."""

    domain: str
    label: str
    file: str
    path: str

    @property
    def place(self) -> str:
        """Where it is below the folder of the domains, whatever lies above that."""
        return f"{self.domain}/{self.label}/{self.file}"


def arrange(paths: Iterable[str], layout: str | None) -> list[Entry]:
    """The images among `paths`, sorted by domain, class and file name.

    layout: "domain/class" or "class", or None to let the depth decide. One common top folder is stripped.
    Raises TaskProblem where there are no images, depths differ, or domains differ in their classes.
    """
    if layout is not None and layout not in LEVELS:
        raise TaskProblem(f"unknown layout {layout!r}", f"the layouts are {' and '.join(LEVELS)}")
    images = sorted(path for path in paths if path.lower().endswith(EXTENSIONS))
    if not images:
        raise TaskProblem("no images", f"images end in {' '.join(EXTENSIONS)} and lie in folders domain/class or class")
    wanted = 0 if layout is None else LEVELS[layout]
    parts = _without_top([path.split("/") for path in images], wanted)
    levels = wanted or _levels(parts)
    for path, split in zip(images, parts, strict=True):
        if len(split) != levels + 1:
            where = "domain/class/file" if levels == 2 else "class/file"
            raise TaskProblem(f"{path} does not lie in {where}", "move it, or say how the folders lie with --layout")
    entries = sorted(_entry(path, split) for path, split in zip(images, parts, strict=True))
    check_classes(entries)
    return entries


def _without_top(parts: Sequence[list[str]], wanted: int) -> list[list[str]]:
    """The split paths without their one common top folder, unless that is needed for `wanted` levels."""
    is_common = len({split[0] for split in parts}) == 1 and min(len(split) for split in parts) > wanted + 1
    return [split[1:] for split in parts] if is_common else list(parts)


def _levels(parts: Sequence[list[str]]) -> int:
    """2 or 1: how many folders an image lies in, going by most of them."""
    ((length, _),) = Counter(len(split) for split in parts).most_common(1)
    if length - 1 in LEVELS.values():
        return length - 1
    example = "/".join(next(split for split in parts if len(split) == length))
    raise TaskProblem(
        f"{length - 1} folders above an image, as in {example}", "images lie in domain/class/file or class/file"
    )


def _entry(path: str, parts: Sequence[str]) -> Entry:
    *folders, file = [_text(part) for part in parts]
    domain, label = folders if len(folders) == 2 else (ONLY_DOMAIN, folders[0])
    return Entry(domain, label, file, path)


def _text(name: str) -> str:
    """`name` in NFC; bytes that are no UTF-8 are spelled out."""
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", readable)


def check_classes(entries: Sequence[Entry]) -> None:
    """Raise TaskProblem where a domain has other classes than most: labels would silently shift."""
    classes: Mapping[str, set[str]] = {entry.domain: set() for entry in entries}
    for entry in entries:
        classes[entry.domain].add(entry.label)
    ((usual, _),) = Counter(frozenset(labels) for labels in classes.values()).most_common(1)
    for domain, labels in classes.items():
        if labels != usual:
            missing = [f"lacks {_few(usual - labels)}"] if usual - labels else []
            extra = [f"has {_few(labels - usual)} besides"] if labels - usual else []
            raise TaskProblem(
                f"domain {domain!r} differs from the others in its classes: it {' and '.join(missing + extra)}",
                "every domain must have a folder with images for every class",
            )


def _few(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
