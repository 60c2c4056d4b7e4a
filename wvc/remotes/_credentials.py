"""Tokens for servers: from the environment, or from a file that only the user can read."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from wvc.errors import BadFile

VARIABLE = "WVC_TOKEN"


def path() -> Path:
    """The file: addresses and the tokens for them."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "wvc" / "credentials.toml"


def token(url: str) -> str | None:
    """The token for the server at `url`, if the user has one. Raises BadFile.

    An address in the file stands for all below it on the same host; of several, the longest counts.
    """
    if VARIABLE in os.environ:
        return os.environ[VARIABLE].strip() or None
    found = [(len(address), secret) for address, secret in _read(path()).items() if covers(address, url)]
    return max(found)[1] if found else None


def covers(address: str, url: str) -> bool:
    """True if `url` is `address`, or below it on the same server."""
    mine, theirs = urlsplit(address), urlsplit(url)
    if (mine.scheme, mine.netloc.lower()) != (theirs.scheme, theirs.netloc.lower()):
        return False
    return f"{theirs.path.rstrip('/')}/".startswith(f"{mine.path.rstrip('/')}/")


def _read(file: Path) -> dict[str, str]:
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise BadFile(file, "others can read it", f"change the tokens in it, then: chmod 600 {file}")
            values = tomllib.load(opened)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):  # whose message would show a part of the file
        raise BadFile(file, "not valid TOML", 'a line is "https://host/path" = "wvc_..."') from None
    if not all(isinstance(secret, str) for secret in values.values()):
        raise BadFile(file, "not addresses and tokens", 'a line is "https://host/path" = "wvc_..."')
    return values
