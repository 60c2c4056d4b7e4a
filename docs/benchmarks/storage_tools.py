"""The tools that storage.py compares, each driven as its users drive it.

Every tool keeps its store in a folder of its own, which is new for each run. What is timed is the list of commands that
`commit` or `export` returns; everything else here happens off the clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

Commands = list[list[str]]

MODEL = "model.safetensors"

UPLOAD = """
import hf_xet, sys
commit = hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1])
handle = commit.start_upload_file(sys.argv[2], sha256=hf_xet.SKIP_SHA256)
commit.wait_to_finish()
info = handle.result().xet_info
open(sys.argv[3], "w").write(f"{info.hash} {info.file_size}")
"""
DOWNLOAD = """
import hf_xet, sys
hash, size = open(sys.argv[2]).read().split()
group = hf_xet.XetSession().new_file_download_group(endpoint=sys.argv[1])
group.start_download_file(hf_xet.XetFileInfo(hash, int(size)), sys.argv[3])
group.wait_to_finish()
"""


class Missing(Exception):
    """A tool that is not on this machine and that the script does not install."""


class Tool:
    """wvc, and what the others have in common with it.

    kept: folders, below the tool's own, that hold what its user must keep.
    alone: one process does the whole work, so that its private memory is the tool's.
    patient: takes part in long workloads.
    """

    name: ClassVar[str] = "wvc"
    kept: ClassVar[Sequence[str]] = (".wvc",)
    packages: ClassVar[Sequence[str]] = ()
    alone: ClassVar[bool] = True
    patient: ClassVar[bool] = True

    def __init__(self, work: Path) -> None:
        self.environment = work / "peers" / self.name
        self.folder = work / "stores" / self.name
        self.result = self.folder.with_name(f"{self.name}-export") / MODEL
        self.env = {**os.environ, **_quiet(work / "home")}

    def install(self) -> None:
        """Install the packages in an environment of their own, unless they are there.

        Raises Missing where something that it does not install is not there.
        """
        if not self.packages or (self.environment / "done").exists():
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", self.environment], check=True)
        subprocess.run([self._bin("pip"), "install", "--quiet", *self.packages], check=True)
        (self.environment / "done").write_text(" ".join(self.packages))

    def _bin(self, program: str) -> str:
        return str(self.environment / "bin" / program)

    def version(self) -> str:
        return self._ask(wvc_program(), "--version").removeprefix("wvc ")

    def _ask(self, *argv: str) -> str:
        return subprocess.run(argv, env=self.env, check=True, capture_output=True, text=True).stdout.strip()

    def _do(self, *argv: str) -> None:
        subprocess.run(argv, cwd=self.folder, env=self.env, check=True, capture_output=True)

    def stores(self) -> list[Path]:
        """The folders that grow with each commit."""
        return [self.folder / name for name in self.kept]

    def begin(self) -> None:
        """A new, empty store."""
        self.end()
        self.folder.mkdir(parents=True)
        self.result.parent.mkdir(exist_ok=True)

    def end(self) -> None:
        """Remove the store and what was exported from it."""
        for folder in (self.folder, self.result.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def place(self, source: Path, parent: str | None) -> None:
        """Put the file where the tool expects it; `parent` labels the commit that it was made from, if not the last."""
        if parent:
            self._do(wvc_program(), "switch", "--create", f"from-{parent}-{source.stem}", parent)

    def commit(self, source: Path, label: str) -> Commands:
        if (self.folder / ".wvc").exists():
            return [[wvc_program(), "commit", "--weights", str(source), "-m", label]]
        return [[wvc_program(), "init", "--weights", str(source)]]

    def mark(self, label: str) -> None:
        """Give the last commit a name."""
        self._do(wvc_program(), "tag", label)

    def clear(self) -> None:
        """Remove what the last export wrote."""
        self.result.unlink(missing_ok=True)

    def export(self, label: str) -> Commands:
        """Write the file of the commit `label` to `result`, which is not there."""
        return [[wvc_program(), "export", label, str(self.result)]]


def wvc_program() -> str:
    return str(Path(sys.executable).with_name("wvc"))


def _quiet(home: Path) -> dict[str, str]:
    """Variables that keep the user's settings out and the network untouched."""
    home.mkdir(parents=True, exist_ok=True)
    person = {f"GIT_{who}_{what}": "bench@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dvc = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(home / "dvc")}
    xdg = {f"XDG_{what}_HOME": str(home / what.lower()) for what in ("CACHE", "CONFIG", "DATA", "STATE")}
    return {**person, **dvc, **xdg, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(home)}


class GitLfs(Tool):
    """git with git-lfs: the working copy's file, a filter, and a store in .git."""

    name = "git-lfs"
    kept = (".git",)
    alone = False

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.result = self.folder / MODEL

    def install(self) -> None:
        super().install()
        if not (shutil.which("git") and shutil.which("git-lfs")):
            raise Missing("git-lfs is not installed")

    def version(self) -> str:
        lfs = self._ask("git", "lfs", "version").split()[0].removeprefix("git-lfs/")
        return f"{lfs} with git {self._ask('git', 'version').split()[2]}"

    def begin(self) -> None:
        super().begin()
        self._do("git", "-c", "init.defaultBranch=main", "init", "--quiet")
        self._do("git", "config", "gc.auto", "0")
        self._track()
        self._do("git", "add", "--all")
        self._do("git", "commit", "--quiet", "-m", "settings")

    def _track(self) -> None:
        self._do("git", "lfs", "install", "--local")
        self._do("git", "lfs", "track", MODEL)

    def place(self, source: Path, parent: str | None) -> None:
        self.clear()
        shutil.copyfile(source, self.result)

    def commit(self, source: Path, label: str) -> Commands:
        return [["git", "add", MODEL], ["git", "commit", "--quiet", "-m", label]]

    def mark(self, label: str) -> None:
        self._do("git", "tag", label)

    def export(self, label: str) -> Commands:
        return [["git", "checkout", "--quiet", label, "--", MODEL]]


class GitTheta(GitLfs):
    """git-theta: a filter that stores a model tensor by tensor, through git-lfs."""

    name = "git-theta"
    packages = ("git-theta[safetensors]", "prompt_toolkit")  # 0.2.0 imports prompt_toolkit and does not ask for it
    patient = False

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.env |= {
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            "GIT_THETA_CHECKPOINT_TYPE": "safetensors",
            "GIT_THETA_LOG_LEVEL": "ERROR",
        }

    def version(self) -> str:
        return installed(self, "git-theta")

    def _track(self) -> None:
        self._do("git", "lfs", "install", "--local")
        self._do("git", "theta", "install")
        self._do("git", "theta", "track", MODEL)


class Dvc(GitLfs):
    """DVC: a cache of whole files, their hashes in git."""

    name = "dvc"
    kept = (".git", ".dvc")
    packages = ("dvc",)

    def version(self) -> str:
        return self._ask(self._bin("dvc"), "--version")

    def _track(self) -> None:
        self._do(self._bin("dvc"), "init", "--quiet")
        self._do(self._bin("dvc"), "config", "core.check_update", "false")

    def commit(self, source: Path, label: str) -> Commands:
        add = [self._bin("dvc"), "add", "--quiet", MODEL]
        return [add, ["git", "add", "--all"], ["git", "commit", "--quiet", "-m", label]]

    def export(self, label: str) -> Commands:
        pointer = f"{MODEL}.dvc"
        return [
            ["git", "checkout", "--quiet", label, "--", pointer],
            [self._bin("dvc"), "checkout", "--quiet", pointer],
        ]


class Xet(Tool):
    """The client of the Hugging Face hub's storage, on the local store that its own tests use: chunks, no history."""

    name = "xet"
    kept = ("cas/xet/xorbs/xorbs", "cas/xet/xorbs/shards")  # beside them, an index of a megabyte that only tests have
    packages = ("hf_xet",)

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.env["HF_HOME"] = str(self.folder / "cache")  # what it remembers of chunks lives and dies with the store

    def version(self) -> str:
        return installed(self, "hf-xet")

    def begin(self) -> None:
        super().begin()
        (self.folder / "cas").mkdir()

    def place(self, source: Path, parent: str | None) -> None:
        """The file is uploaded from where it is, and there are no parents."""

    def commit(self, source: Path, label: str) -> Commands:
        return [[self._bin("python"), "-c", UPLOAD, self._endpoint(), str(source), "last"]]

    def _endpoint(self) -> str:
        return f"local://{self.folder / 'cas'}"

    def mark(self, label: str) -> None:
        (self.folder / "last").rename(self.folder / label)

    def export(self, label: str) -> Commands:
        return [[self._bin("python"), "-c", DOWNLOAD, self._endpoint(), label, str(self.result)]]


def installed(tool: Tool, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return tool._ask(tool._bin("python"), "-c", code)


TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Tool, GitLfs, Dvc, GitTheta, Xet)}
