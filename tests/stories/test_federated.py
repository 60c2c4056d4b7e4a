"""Three people whose data are private and a maintainer make one model together."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from wvc.repo.repository import Repository

from .conftest import Shell, random_weights

PEOPLE = ("ada", "bea", "cem")
CLASSES = ("dog", "horse")


def private_images(folder: Path, seed: int) -> Path:
    """domain/class/image, with a word in every file name that must never leave."""
    random = np.random.default_rng(seed)
    for domain in ("clinic", "ward"):
        for c, name in enumerate(CLASSES):
            place = folder / domain / name
            place.mkdir(parents=True)
            for i in range(10):
                pixels = random.integers(0, 80, (32, 32, 3))
                pixels[:, :, c] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"patient-secret-{seed}-{i}.png")
    return folder


@pytest.fixture(params=["folder", "http"])
def hub(request: pytest.FixtureRequest, sh: Shell) -> Iterator[Callable[[], str]]:
    """Function () -> address of an empty repository that all can reach, which begins to be served when it is called."""
    sh("wvc init hub")
    servers: list[subprocess.Popen[str]] = []

    def address() -> str:
        if request.param == "folder":
            return str(sh.folder / "hub")
        pytest.importorskip("starlette")
        command = [sys.executable, "-m", "wvc", "-C", str(sh.folder / "hub"), "--json", "serve", "--port", "0"]
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)))
        out = servers[-1].stdout
        assert out is not None
        text = ""
        while True:
            text += out.readline()
            try:
                return str(json.loads(text)["url"])
            except ValueError:
                assert servers[-1].poll() is None, text

    yield address
    for server in servers:
        server.terminate()
        assert server.wait(30) == 0
        assert server.stdout is not None
        server.stdout.close()


def test_private_data_stay_where_they_are_and_everybody_gets_the_model(sh: Shell, hub: Callable[[], str]):
    top = sh.folder
    url = hub()
    data = {name: private_images(top / f"vault-{name}", seed) for seed, name in enumerate((*PEOPLE, "maintainer"))}

    # The maintainer publishes a foundation.
    torch.manual_seed(0)
    random_weights(top / "published.safetensors", torchvision.models.mobilenet_v2())
    sh("wvc init maintainer --arch mobilenet_v2 --weights published.safetensors")
    sh.cd("maintainer")
    sh(f"wvc remote add hub {shlex.quote(url)}")
    sh("wvc push hub --set-upstream")

    # Three people clone it, fine-tune it on what they have, and push a branch each.
    for seed, name in enumerate(PEOPLE):
        sh.cd("..")
        sh(f"wvc clone {shlex.quote(url)} {name}")
        sh.cd(name)
        sh(f"wvc task add animals-{name} {data[name]}")
        sh(f"wvc switch -c team/{name}")
        sh(f"wvc commit --task animals-{name} --steps 4 --lr 1e-3 --seed {seed} -m 'by {name}'")
        assert "new" in sh("wvc push").out

    # The maintainer merges what validates on data of their own, and pushes.
    sh.cd("../maintainer")
    assert all(f"hub/team/{name}" in sh("wvc branch --all").out for name in PEOPLE if sh("wvc fetch"))
    sh(f"wvc task add own {data['maintainer']}")
    runs = " ".join(f"hub/team/{name}" for name in PEOPLE)
    said = sh(f"wvc merge {runs} --select greedy --task own --no-head -m soup").out
    assert "accepted" in said
    soup = json.loads(sh("wvc log --json -n 1").out)[0]["id"]
    sh("wvc push")

    # Everybody pulls.
    for name in PEOPLE:
        sh.cd(f"../{name}")
        sh("wvc switch main")
        assert "Fast-forward" in sh("wvc pull").out
        assert json.loads(sh("wvc log --json -n 1").out)[0]["id"] == soup
        assert "ok" in sh("wvc fsck").out
        assert "bit for bit" in sh("wvc replay HEAD").out

    _nothing_private_is_in(top / "hub", data)


def _nothing_private_is_in(hub: Path, data: dict[str, Path]) -> None:
    """No image, no name of a file, no path: in no byte as it lies there, and in nothing that is coded."""
    lying = b"".join(path.read_bytes() for path in sorted((hub / ".wvc").rglob("*")) if path.is_file())
    repository = Repository(hub)
    packs = [repository.reader.pack(name) for name in repository.log.head().packs]
    decoded = b"".join(bytes(repository.reader.read(id)) for pack in packs for id in pack.ids())
    for folder in data.values():
        words = [b"patient-secret", str(folder).encode(), folder.name.encode()]
        for path in folder.rglob("*.png"):
            words += [path.read_bytes()[40:104], np.asarray(Image.open(path)).tobytes()[:64]]
        assert len(words) == 83
        assert not [word for word in words if word in lying or word in decoded]
