"""Local configuration: who the user is, where the data of tasks lie, what remotes are called. Never transferred."""

from __future__ import annotations

import getpass
import os
import re
import time
import unicodedata
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from wvc.errors import BadFile
from wvc.repo import location
from wvc.store.durable import disk, replace

EPOCH = re.compile(r"[0-9]{1,12}")


class Config:
    """config.toml of one repository, over the user's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "config.toml"

    def get(self, *keys: str) -> Any:
        """The value at `keys`, the repository's before the user's; None where neither has it."""
        for path in (self._path, location.user_config()):
            value: Any = _read(path)
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                return value
        return None

    def set(self, value: Any, *keys: str) -> None:
        """Put `value` at `keys`, None to remove it; comments and order in the file stay."""
        document = _read(self._path)
        table: Any = document
        for key in keys[:-1]:
            table = table.setdefault(key, tomlkit.table())
            if not isinstance(table, MutableMapping):
                raise BadFile(self._path, f"{key!r} is not a table", "mend it with an editor")
        if value is None:
            table.pop(keys[-1], None)
        else:
            table[keys[-1]] = value
        with disk(self._path):
            replace(self._path, tomlkit.dumps(document).encode("utf-8"), self._folder / "tmp")

    def without_weights(self) -> str | None:
        """Name of a remote from which history came without weights; None if there is none."""
        remotes = self.get("remotes")
        for name, remote in remotes.items() if isinstance(remotes, Mapping) else ():
            if isinstance(remote, Mapping) and remote.get("weights") is False:
                return str(name)
        return None

    def author(self) -> str:
        """WVC_AUTHOR, else `user.name`, else the login name, as text that can be stored."""
        name = os.environ.get("WVC_AUTHOR") or self.get("user", "name") or _login()
        return unicodedata.normalize("NFC", str(name).encode("utf-8", "replace").decode("utf-8"))


def now() -> int:
    """Seconds since 1970, or SOURCE_DATE_EPOCH where the environment sets it (reproducible-builds.org)."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(fixed) if EPOCH.fullmatch(fixed) else int(time.time())


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise BadFile(path, f"not valid TOML: {error}", "mend it with an editor") from None
