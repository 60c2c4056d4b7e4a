"""List the tasks."""

from rich.console import RenderableType
from rich.table import Table

from wvc import console
from wvc.repo import names
from wvc.repo.repository import Repository

BUNDLED = ("digits",)  # kinds that bring their data


def command() -> None:
    """List the tasks of the repository."""
    repository = Repository()
    ids = [id for ref, id in sorted(repository.refs.items()) if ref.startswith(names.TASKS)]
    rows = []
    for description in map(repository.task, ids):
        here = description.kind in BUNDLED or repository.config.get("tasks", description.name, "path") is not None
        rows.append({**description.json(), "data_here": here})
    console.show(rows, render)


def render(rows: list[dict]) -> RenderableType:
    if not rows:
        return "no tasks yet: wvc task add NAME DATA"
    table = Table(box=None, pad_edge=False)
    for column in ("task", "kind", "domains", "classes", "images", "data"):
        table.add_column(column)
    for row in rows:
        images = sum(count for _, count in row["domains"])
        place = "here" if row["data_here"] else "not on this machine"
        cells = (row["name"], row["kind"], len(row["domains"]), len(row["classes"]), images, place)
        table.add_row(*(console.safe(cell) for cell in cells))
    return table
