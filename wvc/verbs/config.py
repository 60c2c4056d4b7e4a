"""Change the local configuration: this repository's, or the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wvc.errors import UsageError, WvcError
from wvc.repo import location
from wvc.repo.config import Config
from wvc.store.durable import disk


def own() -> Config:
    """The user's own configuration, for all repositories."""
    folder = location.user_config().parent
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Config(folder)


def put(config: Config, key: str, value: str | None) -> None:
    """Set `key`, for example "user.name"; None removes it. Raises UsageError, DiskProblem."""
    keys = _split(key)
    if isinstance(config.get(*keys), Mapping):
        raise UsageError(f"{key!r} is a whole section", "name one of its keys; `wvc config --list` shows them")
    if any(not isinstance(config.get(*keys[:i]) or {}, Mapping) for i in range(1, len(keys))):
        raise UsageError(f"a key above {key!r} has a value already", "`wvc config --list` shows them")
    with disk(location.user_config().parent):
        config.set(value, *keys)


def look_up(config: Config, key: str) -> Mapping[str, object]:
    """What `key` or the keys below it are set to. Raises WvcError where nothing is."""
    found = config.get(*key.split("."))
    if found is None:
        raise WvcError(f"{key!r} is not set", "`wvc config --list` shows what is")
    return dict(flat(found, key)) if isinstance(found, Mapping) else {key: found}


def flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Every (dotted key, value) in `table`."""
    for key, value in table.items():
        name = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            yield from flat(value, name)
        else:
            yield name, value


def _split(key: str) -> list[str]:
    keys = key.split(".")
    if len(keys) < 2 or not all(keys):
        raise UsageError(f"{key!r} is not a key", "keys have a section: user.name, remotes.origin.url")
    return keys
