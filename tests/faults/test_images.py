"""The disks that a power cut may leave after a handful of changes, told by hand."""

from __future__ import annotations

from collections.abc import Sequence

from .calls import Change
from .images import Files, Node, Tree, content, images, own

ROOT, FILE, FOLDER = 1, 2, 3
START = Tree(ROOT, {ROOT: Node(entries={})})


def change(kind: str, node: int = 0, folder: int = ROOT, name: str = "", **more: object) -> Change:
    values = {"other": 0, "offset": 0, "other_name": "", "data": b"", **more}
    return Change(kind=kind, node=node, folder=folder, name=name, **values)  # type: ignore[arg-type]


def disks(*changes: Change) -> list[Files]:
    """Every different disk at the end of the changes."""
    known = own(START, changes)
    found: list[Files] = []
    for image in images(known):
        files = content(START, known, image)
        if image.cut == len(known) and files not in found:
            found.append(files)
    return found


CREATED, LINKED = change("c", FILE, name="draft"), change("l", FILE, name="final")
WRITTEN, SYNCED = change("w", FILE, data=b"data"), change("s", FILE)
NAMED = change("s", ROOT)


def names(found: Sequence[Files]) -> list[set[str]]:
    return [set(files) for files in found]


def test_what_was_synced_and_named_is_there():
    assert disks(CREATED, WRITTEN, SYNCED, LINKED, NAMED) == [{"draft": b"data", "final": b"data"}]


def test_what_was_not_synced_may_be_zeros_or_missing():
    found = {files["draft"] for files in disks(CREATED, NAMED, WRITTEN)}

    assert found == {b"", bytes(4), b"da\0\0", b"data"}


def test_a_sync_covers_only_what_came_before():
    more = change("w", FILE, data=b"more", offset=4)

    found = {files["draft"] for files in disks(CREATED, NAMED, WRITTEN, SYNCED, more)}

    assert found == {b"data", b"datamore", b"datamo\0\0", b"data" + bytes(4)}


def test_a_synced_file_may_have_no_name():
    found = disks(CREATED, WRITTEN, SYNCED)

    assert {} in found
    assert {"draft": b"data"} in found


def test_a_link_may_be_there_without_the_name_before_it():
    assert {"final": b"data"} in disks(CREATED, WRITTEN, SYNCED, LINKED)


def test_a_rename_happens_or_does_not():
    renamed = change("r", FILE, name="draft", other=ROOT, other_name="final")

    assert disks(CREATED, WRITTEN, SYNCED, NAMED, renamed) == [{"final": b"data"}, {"draft": b"data"}]


def test_a_removal_may_not_last():
    assert disks(CREATED, SYNCED, NAMED, change("u", name="draft")) == [{}, {"draft": b""}]


def test_what_lies_in_a_folder_without_a_name_is_lost():
    folder = change("d", FOLDER, name="folder")
    inside = [change("c", FILE, FOLDER, "file"), WRITTEN, SYNCED, change("s", FOLDER)]

    assert names(disks(folder, *inside)) == [{"folder", "folder/file"}, set()]
    assert names(disks(folder, *inside, NAMED)) == [{"folder", "folder/file"}]


def test_a_folder_moves_with_all_that_is_in_it():
    folder = change("d", FOLDER, name="folder")
    moved = change("r", FOLDER, name="folder", other=ROOT, other_name="other")

    found = disks(folder, change("c", FILE, FOLDER, "file"), change("s", FOLDER), NAMED, moved, NAMED)

    assert names(found) == [{"other", "other/file"}]


def test_a_number_that_is_used_again_is_another_file():
    again = [change("c", FILE, name="second"), change("w", FILE, data=b"new")]

    found = disks(CREATED, WRITTEN, SYNCED, NAMED, change("u", name="draft"), *again)

    assert {"draft": b"data", "second": b"new"} in found


def test_what_happens_elsewhere_is_not_on_this_disk():
    assert disks(change("c", FILE, 99, "stranger"), WRITTEN) == [{}]
