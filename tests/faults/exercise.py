"""Every way in which Python and SQLite change files: a program, run under calls.c, that says what was seen of them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from .calls import Calls, changes
from .images import listing, own, replayed, tree

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL


def made(path: Path, work: Callable[[int], object]) -> None:
    """A new file with `work` done to it: one call for the file, and what `work` needs."""
    fd = os.open(path, NEW, 0o600)
    try:
        work(fd)
    finally:
        os.close(fd)


def below(folder: Path, work: Callable[[int], object]) -> None:
    """`work` with a descriptor of the folder."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        work(fd)
    finally:
        os.close(fd)


def database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for line in ("PRAGMA journal_mode=TRUNCATE", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"):
            connection.execute(line)
        connection.commit()


def ways(here: Path) -> Mapping[str, tuple[int, Callable[[], object]]]:
    """By name: how many calls it takes, and the function, which need what those before have left."""
    source = here / "source"
    return {
        "open and write": (2, lambda: source.write_bytes(b"0123456789" * 10)),
        "open again and cut": (2, lambda: source.write_bytes(b"abc" * 100)),
        "append": (2, lambda: made_append(source)),
        "pwrite": (2, lambda: made(here / "a", lambda fd: os.pwrite(fd, b"later", 5))),
        "writev": (2, lambda: made(here / "b", lambda fd: os.writev(fd, [b"one", b"two"]))),
        "pwritev": (2, lambda: made(here / "c", lambda fd: os.pwritev(fd, [b"one", b"two"], 2))),
        "ftruncate": (2, lambda: made(here / "d", lambda fd: os.ftruncate(fd, 10))),
        "truncate": (1, lambda: os.truncate(source, 250)),
        "posix_fallocate": (2, lambda: made(here / "e", lambda fd: os.posix_fallocate(fd, 0, 100))),
        "fsync": (2, lambda: made(here / "f", os.fsync)),
        "fdatasync": (2, lambda: made(here / "g", os.fdatasync)),
        "fchmod": (2, lambda: made(here / "h", lambda fd: os.fchmod(fd, 0o644))),
        "chmod": (1, lambda: os.chmod(source, 0o644)),  # noqa: PTH101
        "copy_file_range": (2, lambda: copied(source, here / "i", lambda a, b: os.copy_file_range(a, b, 200))),
        "sendfile": (2, lambda: copied(source, here / "j", lambda a, b: os.sendfile(b, a, 0, 200))),
        "copyfile": (2, lambda: shutil.copyfile(source, here / "k")),
        "link": (1, lambda: os.link(here / "a", here / "l")),
        "linkat": (1, lambda: os.link(here / "a", here / "m", follow_symlinks=False)),
        "rename": (1, lambda: (here / "b").rename(here / "n")),
        "replace": (1, lambda: (here / "c").replace(here / "d")),
        "mkdir": (1, (here / "folder").mkdir),
        "mkdirat": (1, lambda: below(here / "folder", lambda fd: os.mkdir("within", dir_fd=fd))),
        "openat": (1, lambda: below(here / "folder", lambda fd: os.close(os.open("x", NEW, 0o600, dir_fd=fd)))),
        "renameat": (1, lambda: below(here / "folder", lambda fd: os.rename("x", "y", src_dir_fd=fd, dst_dir_fd=fd))),
        "folder renamed": (1, lambda: (here / "folder").rename(here / "other")),
        "unlink": (1, (here / "e").unlink),
        "unlinkat": (1, lambda: below(here / "other", lambda fd: os.unlink("y", dir_fd=fd))),
        "rmdir": (1, (here / "other" / "within").rmdir),
        "rmtree": (1, lambda: shutil.rmtree(here / "other")),
        "sqlite": (9, lambda: database(here / "database")),
    }


def made_append(path: Path) -> None:
    with path.open("ab") as file:
        file.seek(0)
        file.write(b"end")


def copied(source: Path, target: Path, work: Callable[[int, int], object]) -> None:
    fd = os.open(source, os.O_RDONLY)
    try:
        made(target, lambda new: work(fd, new))
    finally:
        os.close(fd)


def in_threads(folder: Path, count: int, each: int) -> None:
    """Threads that write at once, each to a file of its own: `each` calls and one for the file."""

    def write(name: str) -> None:
        made(folder / name, lambda fd: [os.pwrite(fd, b"x" * 10, 10 * n) for n in range(each)])

    threads = [threading.Thread(target=write, args=(f"thread{n}",)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(name: str) -> None:
    """NAME: of a folder to make."""
    folder = Path(os.environ["FAULTS_ROOT"]) / name
    outside = folder.parent.with_name("outside")
    calls = Calls()
    for each in (folder, outside):
        each.mkdir()
    start = tree(folder)
    calls.record()
    counts = {}
    for way, (_, work) in ways(folder).items():
        before = calls.stop()
        calls.go_on()
        work()
        counts[way] = calls.stop() - before
        calls.go_on()
    outside.joinpath("file").write_bytes(b"not seen")
    before = calls.stop()
    calls.go_on()
    in_threads(folder, 4, 50)
    counts["threads"] = calls.stop() - before
    found = own(start, list(changes()))
    same = replayed(start, found) == listing(folder)
    sys.stdout.write(json.dumps({"counts": counts, "same": same}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
