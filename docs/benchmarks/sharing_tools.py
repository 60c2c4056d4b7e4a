"""The tools that sharing.py compares, each with a remote, driven as its users drive it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

from storage_measure import size
from storage_tools import MODEL, Commands, Dvc, GitLfs, Tool, wvc_program

LOOPBACK = Path("/sys/class/net/lo/statistics/tx_bytes")


class Sharing(Tool):
    """wvc with a folder as its remote, and what the others have in common with it.

    remotes: folders that hold what was pushed. copied: folders of a clone that hold what came with it.
    """

    remotes: ClassVar[tuple[str, ...]] = (".wvc/packs", ".wvc/log")
    copied: ClassVar[tuple[str, ...]] = (".wvc/packs", ".wvc/log")

    def __init__(self, work: Path, hubs: Path) -> None:
        super().__init__(work)
        self.hub = hubs / self.name
        self.copy = work / "clones" / self.name

    def open(self) -> None:
        """A new, empty remote."""
        self.close()
        self.hub.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([wvc_program(), "init", str(self.hub)], env=self.env, check=True, capture_output=True)

    def close(self) -> None:
        shutil.rmtree(self.hub, ignore_errors=True)

    def connect(self) -> None:
        """Tell the store, which has its first commit, of the remote."""
        self._do(wvc_program(), "remote", "add", "origin", self.url())

    def url(self) -> str:
        return str(self.hub)

    def push(self) -> Commands:
        return [[wvc_program(), "push", "origin", "--all"]]

    def clone(self, kind: str) -> Commands:
        """Clone to `copy`: its history alone, with one model, or with all of them."""
        clone = [wvc_program(), "clone", self.url(), str(self.copy)]
        if kind == "all":
            return [clone]
        weights = [wvc_program(), "-C", str(self.copy), "fetch", "--weights", "origin", "main"]
        return [[*clone, "--no-weights"], *([weights] if kind == "one" else [])]

    def take(self, label: str) -> list[list[str]]:
        """Have `copy` give the file of the commit `label`, where `taken` says."""
        return [[wvc_program(), "-C", str(self.copy), "export", f"origin/{label}", str(self.taken())]]

    def taken(self) -> Path:
        return self.copy / "taken.safetensors"

    def drop(self) -> None:
        """Remove the clone."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.parent.mkdir(exist_ok=True)

    def travelled(self) -> int:
        """A count that grows by every byte that goes to the remote or comes from it."""
        return size(*(self.hub / name for name in self.remotes), *(self.copy / name for name in self.copied))

    def branch(self, stem: str) -> str:
        """What place() calls the branch of a file."""
        return "main" if stem == "v0" else f"from-main-{stem}"


class Http(Sharing):
    """wvc with `wvc serve` as its remote, without a store of its own: it pushes that of the folder's."""

    name = "wvc, http"

    def __init__(self, work: Path, hubs: Path, store: Sharing) -> None:
        super().__init__(work, hubs)
        self.folder = store.folder
        self.server: subprocess.Popen[str] | None = None
        self._url = ""

    def open(self) -> None:
        super().open()
        command = [wvc_program(), "-C", str(self.hub), "--json", "serve", "--port", "0"]
        log = (self.hub.parent / "server.log").open("w")
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=self.env)
        assert self.server.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            text += self.server.stdout.readline()
        self._url = json.loads(text)["url"]

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait()
        super().close()

    def connect(self) -> None:
        self._do(wvc_program(), "remote", "add", "server", self.url())

    def url(self) -> str:
        return self._url

    def push(self) -> Commands:
        return [[wvc_program(), "push", "server", "--all"]]

    def travelled(self) -> int:
        return int(LOOPBACK.read_text())


class SharedLfs(Sharing, GitLfs):
    """git-lfs with a bare repository in a folder, which git-lfs copies objects into and from."""

    name = "git-lfs"
    remotes = (".",)
    copied = (".git",)

    def open(self) -> None:
        self.close()
        self.hub.mkdir(parents=True)
        subprocess.run(
            ["git", "-c", "init.defaultBranch=main", "init", "--quiet", "--bare", str(self._git())],
            env=self.env, check=True, capture_output=True,
        )  # fmt: skip

    def _git(self) -> Path:
        return self.hub / "git"

    def url(self) -> str:
        return f"file://{self._git()}"

    def connect(self) -> None:
        self._do("git", "remote", "add", "origin", self.url())

    def push(self) -> Commands:
        return [["git", "push", "--quiet", "origin", "HEAD"]]

    def clone(self, kind: str) -> Commands:
        copy = str(self.copy)
        commands = [["env", "GIT_LFS_SKIP_SMUDGE=1", "git", "clone", "--quiet", self.url(), copy]]
        if kind != "history":
            commands.append(["git", "-C", copy, "lfs", "install", "--local"])
            commands.append(["git", "-C", copy, "lfs", "pull"])
        if kind == "all":
            commands.append(["git", "-C", copy, "lfs", "fetch", "--all"])
        return commands

    def take(self, label: str) -> list[list[str]]:
        return [["git", "-C", str(self.copy), "checkout", "--quiet", label, "--", MODEL]]

    def taken(self) -> Path:
        return self.copy / MODEL

    def branch(self, stem: str) -> str:
        return f"tags/{stem}"


class SharedDvc(SharedLfs, Dvc):
    """DVC with a folder as its remote, and a bare repository of git beside it."""

    name = "dvc"
    copied = (".git", ".dvc")

    def _dvc(self) -> str:
        return self._bin("dvc")

    def connect(self) -> None:
        super().connect()
        self._do(self._dvc(), "remote", "add", "--quiet", "--default", "store", str(self.hub / "store"))
        self._do("git", "commit", "--quiet", "--all", "-m", "remote")

    def push(self) -> Commands:
        return [[self._dvc(), "push", "--quiet"], *super().push()]

    def clone(self, kind: str) -> Commands:
        commands = [["git", "clone", "--quiet", self.url(), str(self.copy)]]
        within = ["env", "-C", str(self.copy), self._dvc()]
        if kind != "history":
            commands.append([*within, "pull", "--quiet"])
        if kind == "all":
            commands.append([*within, "fetch", "--quiet", "--all-commits"])
        return commands

    def take(self, label: str) -> list[list[str]]:
        checkout = ["git", "-C", str(self.copy), "checkout", "--quiet", label, "--", f"{MODEL}.dvc"]
        return [checkout, ["env", "-C", str(self.copy), self._dvc(), "checkout", "--quiet"]]


TOOLS: dict[str, type[Sharing]] = {"git-lfs": SharedLfs, "dvc": SharedDvc}
