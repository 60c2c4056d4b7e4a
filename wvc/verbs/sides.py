"""What surrounds a blend, checked before any work: tensors that one side gives, and what is to be done afterwards."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from wvc.errors import MergeProblem, UsageError
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.verbs.candidates import Candidate
from wvc.verbs.context import Context
from wvc.verbs.terms import Blending


def taken(
    repository: Repository, head: Commit, others: Sequence[Candidate], options: Blending
) -> tuple[tuple[str, Candidate], ...]:
    """(glob, model) for --ours and --theirs. Raises UsageError, MergeProblem."""
    if not options.ours and not options.theirs:
        return ()
    if options.theirs and len(others) != 1:
        raise UsageError(
            f"--theirs needs one model other than HEAD, not {len(others)}", "take tensors from one side at a time"
        )
    ours = Candidate("HEAD", head, repository.manifest(head))
    found = [(glob, ours) for glob in options.ours] + [(glob, others[0]) for glob in options.theirs]
    names = {t.name: (t.dtype, t.shape) for t in others[0].manifest.tensors} if others else {}
    for glob, model in found:
        matched = [name for name in names if fnmatch.fnmatchcase(name, glob)]
        if not matched:
            raise UsageError(f"no tensor matches {glob!r}", "`wvc show REV` and `wvc diff` name them")
        for name in matched:
            tensor = model.manifest.by_name.get(name)
            if tensor is None or (tensor.dtype, tensor.shape) != names[name]:
                raise MergeProblem(f"tensor {name!r} of {model.name} is of another shape or dtype", "take the others'")
    both = [n for n in names if _hits(n, options.ours) and _hits(n, options.theirs)]
    if both:
        raise UsageError(f"{both[0]!r} matches --ours and --theirs", "let each tensor come from one side")
    return tuple(found)


def context_to_estimate(context: Context | None, *, featurizer_only: bool) -> Context:
    """The task whose training images BatchNorm statistics can be estimated from: all models have seen it.

    Raises MergeProblem where there is none.
    """
    if context is None or featurizer_only:
        raise MergeProblem(
            "statistics are estimated from training images, and the models share no task", "leave --recalibrate out"
        )
    if context.trial is None:
        raise MergeProblem("the models were trained on different splits", "leave --recalibrate out")
    return context


def domains_to_report(context: Context | None) -> tuple[str, ...]:
    """The test domains. Raises UsageError where there are none."""
    if context is None or not context.test:
        raise UsageError("no domain was held out to report on", "leave --report-test out")
    return context.test


def _hits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)
