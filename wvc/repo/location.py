"""Where repositories are: find one, see whose it is, choose a place for its lineage."""

from __future__ import annotations

import os
from pathlib import Path

from wvc.errors import NotARepository, NotOwner, UnknownFormat

FOLDER = ".wvc"
FORMAT = "wvc 1"
# On these, SQLite's locks cannot be trusted.
SHARED = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "lustre", "afs")


def find(start: Path) -> Path:
    """The .wvc folder of `start` or of the nearest folder above. Raises NotARepository, UnknownFormat, NotOwner."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FOLDER / "format").is_file():
            return own(check(folder / FOLDER))
    raise NotARepository(start)


def at(path: Path) -> Path:
    """The .wvc folder of the repository at `path`, whoever owns it: for reading data only."""
    for folder in (path / FOLDER, path):
        if (folder / "format").is_file():
            return check(folder)
    raise NotARepository(path)


def check(folder: Path) -> Path:
    """Raises UnknownFormat unless this wvc can read what is in `folder`."""
    text = (folder / "format").read_text(encoding="utf-8", errors="replace").strip()
    if text != FORMAT:
        raise UnknownFormat(text[:40])
    return folder


def own(folder: Path) -> Path:
    """Raises NotOwner where another user could have planted configuration (as git's safe.directory)."""
    owner, me = folder.stat().st_uid, os.geteuid()
    trusted = [Path(p).resolve() for p in os.environ.get("WVC_SAFE", "").split(os.pathsep) if p]
    if owner == me or folder.parent in trusted or (me == 0 and os.environ.get("SUDO_UID") == str(owner)):
        return folder
    raise NotOwner(folder.parent)


def user_cache() -> Path:
    """The user's own cache folder for wvc."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wvc"


def user_config() -> Path:
    """The user's own configuration file for wvc."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "wvc" / "config.toml"


def lineage_path(folder: Path, repository: str) -> Path:
    """lineage.db beside the packs, or in the user's cache where that place is read-only or on a network."""
    if os.access(folder, os.W_OK) and not _is_shared(folder):
        return folder / "lineage.db"
    return user_cache() / f"lineage-{repository}.db"


def _is_shared(folder: Path) -> bool:
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    mounts = [(line.split()[4], line.split(" - ", 1)[1].split()[0]) for line in lines if " - " in line]
    inside = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(inside, default=(0, ""))[1].startswith(SHARED)
