"""What stands behind `--` on the command line: names of tensors, or globs for them."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence

from wvc.errors import UnknownRevision
from wvc.repo.contents import every_name
from wvc.repo.repository import Repository
from wvc.repo.touching import meant


@contextlib.contextmanager
def behind_dashes(repository: Repository, command: str, revisions: Sequence[str]) -> Iterator[None]:
    """Resolve `revisions` in this: where one is unknown but fits names of tensors, the hint says where those stand."""
    try:
        yield
    except UnknownRevision as error:
        names = every_name(repository)
        globs = {text: glob for text in revisions if (glob := meant(names, text)) is not None}
        if globs:
            others = [text for text in revisions if text not in globs]
            words = [shlex.quote(text) for text in (*others, "--", *globs.values())]
            error.hint = f"tensors are called so: `wvc {command} {' '.join(words)}`"
        raise
