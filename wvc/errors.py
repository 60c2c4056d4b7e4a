"""Every error that wvc raises on purpose, as one tree.

WvcError
├── UsageError                     the command line does not make sense (exit 2)
├── Interrupted                    Ctrl-C; unfinished work was saved (exit 130)
├── NotARepository, RepositoryExists, NotOwner, UnknownFormat
├── BadName                        a ref, task or remote name that wvc does not allow
├── UnknownRevision, AmbiguousRevision, NoCommitYet
├── RefExists, RefMoved            somebody else was there first
├── Damage                         stored bytes are not what they should be
│   ├── CorruptObject, MissingObject, CorruptPack, CorruptLog
├── BadFile                        a file from outside that wvc cannot take
├── DiskProblem                    the operating system refused (full, read-only, no permission)
├── TaskProblem                    unknown task, bad data, class lists that differ
├── ModelProblem                   unknown architecture, weights that do not fit
├── TrainingProblem                out of memory, no such device, nothing to resume
│   └── Diverged                   the loss is not a number
├── MergeProblem                   unrelated, incompatible, nothing to merge
├── RecipeProblem                  a recipe that cannot be cooked
└── RemoteProblem                  another repository that cannot be used as asked
    ├── Unreachable                nobody answers
    ├── Refused                    the other side says no
    ├── Unclear                    the reply was lost: it may have happened or not
    └── Rewound                    its history is not what it was
"""

from __future__ import annotations


class WvcWarning(UserWarning):
    """Something that the user should know and that stops nothing."""


class WvcError(Exception):
    """Something went wrong that the user can do something about.

    message: one line, without a full stop, that says what is wrong.
    hint: one line that says what to do, or None where nothing helps.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(WvcError):
    """Options that do not make sense together."""

    exit_code = 2


class Interrupted(WvcError):
    """The user pressed Ctrl-C, and what was done so far is safe."""

    exit_code = 130


class NotARepository(WvcError):
    """No .wvc folder here or above."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"not a wvc repository: {path}", "run `wvc init` or `wvc clone`, or name one with `wvc -C DIR`"
        )


class RepositoryExists(WvcError):
    """init or clone into a place that is taken."""

    def __init__(self, path: object) -> None:
        super().__init__(f"there is a wvc repository at {path} already", "use it, or name another folder")


class NotOwner(WvcError):
    """A repository that belongs to another user, whose files could be planted."""

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} belongs to another user", f"if you trust it, add it to WVC_SAFE: WVC_SAFE={path}")


class UnknownFormat(WvcError):
    """A repository written by a newer wvc."""

    def __init__(self, found: str) -> None:
        super().__init__(f"unknown repository format {found!r}", "a newer wvc wrote it: upgrade wvc")


class BadName(WvcError):
    """A name outside the grammar for names."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            f"{name!r} is not a valid {what} name", "use letters, digits, '.', '_' and '-', parts joined by '/'"
        )


class UnknownRevision(WvcError):
    """A revision that names nothing."""

    def __init__(self, text: str, near: str | None = None, message: str | None = None) -> None:
        hint = f"did you mean {near!r}?" if near else "run `wvc branch` and `wvc log` to see what there is"
        super().__init__(message or f"unknown revision {text!r}", hint)


class AmbiguousRevision(WvcError):
    """An abbreviation that fits several commits."""

    def __init__(self, text: str, ids: list[str]) -> None:
        super().__init__(f"{text!r} fits {len(ids)} commits", "it could be " + ", ".join(id[:12] for id in ids[:5]))


class NoCommitYet(WvcError):
    """HEAD names a branch that has no commit."""

    def __init__(self, branch: str) -> None:
        super().__init__(f"branch {branch!r} has no commit yet", "run `wvc import FILE` or `wvc commit --weights FILE`")


class RefExists(WvcError):
    """A branch or tag that is already there."""

    def __init__(self, kind: str, name: str, hint: str = "choose another name, or --force to move it") -> None:
        super().__init__(f"{kind} {name!r} already exists", hint)


class RefMoved(WvcError):
    """A ref that is no longer where it was when the work began."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} was moved by somebody else meanwhile", "look at `wvc log`, then try again")


class Damage(WvcError):
    """Stored bytes are not what they should be."""

    HINT = "run `wvc fsck` to list the damage, then clone or restore from a copy that has it"

    def __init__(self, message: str, hint: str = HINT) -> None:
        super().__init__(message, hint)


class CorruptObject(Damage):
    """Stored bytes that no longer hash to their name."""

    def __init__(self, id: str, what: str = "object") -> None:
        super().__init__(f"{what} {id[:12]} does not match its hash")


class MissingObject(Damage):
    """An object that something names and no pack holds."""

    def __init__(self, id: str, what: str = "object") -> None:
        super().__init__(f"{what} {id[:12]} is missing")


class CorruptPack(Damage):
    """A pack whose header is not what its name says."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"pack {name[:12]} is damaged: {why}")


class CorruptLog(Damage):
    """A transaction log with a gap, a broken chain or a record that cannot be read."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"transaction {number} is damaged: {why}")


class BadFile(WvcError):
    """A file from outside that wvc cannot take."""

    def __init__(self, path: object, why: str, hint: str | None = None) -> None:
        super().__init__(f"{path}: {why}", hint)


class DiskProblem(WvcError):
    """The operating system refused to read or write."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"{path}: {why}", "nothing is lost; free some space or mend the permissions, then try again")


class TaskProblem(WvcError):
    """A task that is unknown or whose data cannot be used."""


class ModelProblem(WvcError):
    """An architecture that is unknown, or weights that do not fit it."""


class TrainingProblem(WvcError):
    """A training that cannot start or go on."""


class Diverged(TrainingProblem):
    """A loss that is no number: going on, or again, would end the same way."""


class MergeProblem(WvcError):
    """Models that cannot be merged."""


class RecipeProblem(WvcError):
    """A recipe that cannot be cooked."""


class RemoteProblem(WvcError):
    """Another repository cannot be used as asked."""


class Unreachable(RemoteProblem):
    """Nobody answers."""


class Refused(RemoteProblem):
    """The other side says no; message and hint are what it said."""


class Unclear(RemoteProblem):
    """The reply to a write was lost: it may have happened or not."""


class Rewound(RemoteProblem):
    """A remote whose history is not what it was: restored from an older copy, forked, or another repository."""
