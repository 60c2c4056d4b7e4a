"""The layers of the house, as imports and as processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wvc.repo import sources
from wvc.repo.intake import Plan, take
from wvc.repo.objects import ModelSpec
from wvc.repo.repository import create
from wvc.store.records import Draft

from .repo.layouts import bf16, model_folder, safetensors

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "ray", "matplotlib", "sklearn", "scipy", "timm")
# Prints the heavy modules that are loaded after each of the command lines in argv.
WATCH = """
import sys
from wvc import main
for line in sys.argv[1:]:
    main.run(line.split())
    print("@", line, sorted(set(sys.modules) & set({heavy})))
""".replace("{heavy}", repr(HEAVY))


def loaded(*lines: str) -> dict[str, str]:
    """Command line -> the heavy modules that are loaded after it, all in one fresh process."""
    made = subprocess.run([sys.executable, "-c", WATCH, *lines], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "internal error" not in made.stderr, made.stderr
    found = [line[2:].rpartition(" [") for line in made.stdout.splitlines() if line.startswith("@ ")]
    return {line: "[" + heavy for line, _, heavy in found}


def commands() -> list[str]:
    """Every command, the ones in groups too."""
    from wvc import plugins

    found = []
    for name in plugins.names("wvc.commands"):
        inside = plugins.names(f"wvc.commands.{name}") if plugins.is_group("wvc.commands", name) else []
        found += [name, *(f"{name} {command}" for command in inside)]
    return found


def test_imports_keep_to_the_layers() -> None:
    made = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert made.returncode == 0, made.stdout + made.stderr


def test_no_help_loads_what_is_heavy() -> None:
    lines = ["--help", *(f"{command} --help" for command in commands())]

    assert loaded(*lines) == dict.fromkeys(lines, "[]")


@pytest.mark.parametrize(
    "command", ["log", "log -- *", "status", "branch", "show", "lineage", "diff HEAD HEAD", "blame", "du"]
)
def test_commands_that_look_load_nothing_heavy(command: str, tmp_path: Path) -> None:
    make = "import sys; from pathlib import Path; from wvc.repo.repository import create; "
    make += "from wvc.store.records import Draft; "
    make += "create(Path(sys.argv[1]), Draft('init', 'Ada', 0))"
    subprocess.run([sys.executable, "-c", make, str(tmp_path / "zoo")], check=True, cwd=ROOT)
    line = f"-C {tmp_path / 'zoo'} {command}"

    assert loaded(line) == {line: "[]"}


def test_weights_of_a_known_model_follow_head_without_torch(tmp_path: Path) -> None:
    spec = ModelSpec("digits/digits_cnn", 3, None, "head")
    repository = create(tmp_path / "zoo", Draft("init", "Ada", 0))
    lines = []
    for outputs in (3, 5):
        file = tmp_path / f"{outputs}.safetensors"
        file.write_bytes(safetensors({"head.weight": bf16(outputs, 2), "w": bf16(3)}))
        lines.append(f"-C {tmp_path / 'zoo'} commit --weights {file}")
    with sources.open(tmp_path / "3.safetensors") as source:
        take(repository, source, Plan("refs/heads/main", "base", {"kind": "import"}, spec))

    assert loaded(*lines) == dict.fromkeys(lines, "[]")
    after = repository.manifest(repository.head()).spec
    assert after is not None and after.outputs == 5


def test_weights_go_in_and_out_without_torch(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    file = tmp_path / "one.safetensors"
    file.write_bytes(safetensors({"w": bf16(3)}))
    torch.save({"w": torch.ones(3)}, tmp_path / "x.pt")
    made = [f"{tmp_path / name}" for name in ("out", "out.safetensors", "shards", "out.pt")]
    zoo = f"-C {tmp_path / 'zoo'}"
    create(tmp_path / "zoo", Draft("init", "Ada", 0))
    lines = [
        f"{zoo} import {folder}",
        f"{zoo} import {folder / 'model.safetensors.index.json'} -b shards",
        f"{zoo} import {file} -b file",
        f"{zoo} import {tmp_path / 'x.pt'} -b torch",
        f"{zoo} commit --weights {folder} -m again",
        f"{zoo} commit --weights {file}",
        f"{zoo} commit --weights {tmp_path / 'x.pt'}",
        f"{zoo} export HEAD~2 {made[0]}",
        f"{zoo} export {made[1]}",
        f"{zoo} export shards {made[2]} --max-shard-size 1KB --tensors *",
    ]

    assert loaded(*lines) == dict.fromkeys(lines, "[]")
    assert [Path(path).exists() for path in made] == [True, True, True, False]
