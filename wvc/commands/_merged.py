"""How a merge is shown."""

from fractions import Fraction
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console
from wvc.commands.eval import table

if TYPE_CHECKING:
    from wvc.verbs.terms import Merged


def render(merged: "Merged") -> RenderableType:
    parts: list[RenderableType] = []
    if merged.curve:
        parts.append(_curve(merged))
    elif merged.shares:
        parts.append(_weighed(merged))
    elif merged.rows:
        parts.append(_decided(merged))
    parts += [console.safe(note) for note in merged.notes]
    parts.append(_summary(merged))
    if merged.test is not None:
        parts.append(table(merged.test.scores, merged.test.test))
    return Group(*parts)


def _summary(merged: "Merged") -> str:
    where = f"[yellow]{merged.commit.id[:10]}[/]" if merged.commit else ""
    if merged.forward:
        return f"{'Would fast-forward' if merged.dry else 'Fast-forward'} to {where}"
    shares = [share.coefficient != 0 for share in merged.shares]
    names = {row.candidate.key for row in merged.rows}
    kept = sum(shares) if shares else len({row.candidate.key for row in merged.rows if row.accepted})
    total = len(shares or names)
    what = f"{kept} of {total} models"
    if merged.head is not None:
        what = f"the featurizers of {what} under the head of {console.safe(merged.head)}"
    if merged.strategy != "linear":
        what += f" by {merged.strategy}"
    if merged.as_it_was:
        return (
            f"Kept one of {total} models as it is: {where}" if where else f"would keep one of {total} models as it is"
        )
    if not where:
        return f"would {'average' if merged.strategy == 'linear' else 'merge'} {what}"
    return f"{'Averaged' if merged.strategy == 'linear' else 'Merged'} {what} into {where}"


def _curve(merged: "Merged") -> Table:
    """Points between two models."""
    grid = Table("alpha", box=None, pad_edge=False)
    grid.add_column("validation", justify="right")
    tested = any(point.test is not None for point in merged.curve)
    if tested:
        grid.add_column("test", justify="right")
    grid.add_column("")
    for point in merged.curve:
        cells = [_number(point.alpha), _percent(point.score)]
        cells += [_percent(point.test)] if tested else []
        grid.add_row(*cells, "[green]kept[/]" if point.kept else "")
    return grid


def _weighed(merged: "Merged") -> Table:
    """The models and their coefficients."""
    grid = Table("model", box=None, pad_edge=False)
    grid.add_column("coefficient", justify="right")
    for share in merged.shares:
        grid.add_row(console.safe(share.candidate.name), _number(share.coefficient))
    return grid


def _decided(merged: "Merged") -> Table:
    """The candidates in the order of the decisions."""
    if all(row.own is None for row in merged.rows):
        return _listed(merged)
    learned = any(row.coefficient is not None for row in merged.rows)
    explained = any(row.criteria is not None for row in merged.rows)
    grid = Table("candidate", box=None, pad_edge=False)
    grid.add_column("alone", justify="right")
    grid.add_column("coefficient" if learned else "average with it", justify="right")
    if explained:
        grid.add_column("diversity", justify="right")
        grid.add_column("barrier", justify="right")
    grid.add_column("")
    for row in merged.rows:
        bound = "" if row.exact else "< "
        average = _number(row.coefficient) if row.coefficient is not None else bound + _percent(row.average)
        criteria = ["", ""] if row.criteria is None else [
            f"{row.criteria.diversity:.2f}", f"{100 * float(row.criteria.barrier):+.2f}"
        ]  # fmt: skip
        verdict = "" if learned else "[green]accepted[/]" if row.accepted else "[red]rejected[/]"
        again = f" (round {row.round})" if row.round else ""
        cells = [
            console.safe(row.candidate.name) + again,
            _percent(row.own),
            average if row.average is not None or learned else "",
        ]
        grid.add_row(*cells, *(criteria if explained else []), verdict)
    return grid


def _listed(merged: "Merged") -> Table:
    """The models, where nobody measured anything."""
    grid = Table("model", box=None, pad_edge=False)
    for row in merged.rows:
        grid.add_row(console.safe(row.candidate.name))
    return grid


def _number(coefficient: Fraction) -> str:
    """As a fraction where somebody may have written it."""
    return str(coefficient) if coefficient.denominator <= 1000 else f"{float(coefficient):.6f}"


def _percent(share: Fraction | None) -> str:
    return "" if share is None else f"{100 * float(share):.2f} %"
