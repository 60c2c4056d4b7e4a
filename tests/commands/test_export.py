"""Import, commit and export from the shell: formats by name, options that do not go together, facts as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from wvc.commands.export import size
from wvc.errors import UsageError

from ..repo.layouts import PARTS, SIDES, bf16, contents, model_folder, safetensors, shards
from .conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def facts(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_a_model_folder_goes_in_and_out(run, folder, tmp_path):
    run("import", str(folder), "-b", "llm", "-m", "a model")

    made = facts(run, "export", "llm", str(tmp_path / "out"))

    assert contents(tmp_path / "out") == contents(folder)
    assert (made["path"], made["format"], made["tensors"]) == (str(tmp_path / "out"), "hf", 4)
    assert sorted(made["files"]) == sorted(contents(folder))
    assert made["bytes"] == sum(map(len, contents(folder).values()))
    assert facts(run, "log", "llm")[0]["id"] == made["commit"]


@pytest.mark.parametrize(
    ("out", "wanted"),
    [("x.safetensors", "safetensors"), ("x.pt", "pt"), ("x.pth", "pt"), ("x.bin", "pt"), ("x", "hf"), ("there", "hf"),
     ("llama-3.1-8b", "hf"), ("model.2", "hf"), ("there.pt", "hf")],
)  # fmt: skip
def test_the_name_says_the_format(run, folder, tmp_path, out, wanted):
    run("import", str(folder), "-b", "llm")
    (tmp_path / "there").mkdir()
    (tmp_path / "there.pt").mkdir()

    assert facts(run, "export", "llm", str(tmp_path / out))["format"] == wanted


def test_without_side_files_a_folder_holds_shards(run, tmp_path):
    (tmp_path / "one.safetensors").write_bytes(safetensors({"w": bf16(3)}))
    run("import", str(tmp_path / "one.safetensors"), "-b", "one")
    run("import", str(shards(tmp_path / "in", PARTS)), "-b", "many")

    assert facts(run, "export", "one", str(tmp_path / "a"))["format"] == "sharded"
    assert facts(run, "export", "main", str(tmp_path / "b"))["format"] == "sharded"
    assert facts(run, "export", "many", str(tmp_path / "c"))["format"] == "hf"
    assert contents(tmp_path / "c") == contents(tmp_path / "in")


def test_the_format_can_be_said(run, folder, tmp_path):
    run("import", str(folder), "-b", "llm")

    for format in ("safetensors", "sharded", "hf", "pt"):
        assert facts(run, "export", "llm", str(tmp_path / f"{format}.x"), "--format", format)["format"] == format

    assert len(torch.load(tmp_path / "pt.x", weights_only=True)) == 4
    assert set(contents(tmp_path / "sharded.x")) == set(contents(folder)) - set(SIDES)


def test_shards_are_cut_anew(run, folder, tmp_path):
    run("import", str(folder), "-b", "llm")

    made = facts(run, "export", "llm", str(tmp_path / "out"), "--max-shard-size", "1.5KB")

    assert sum(name.endswith(".safetensors") for name in made["files"]) == 3


def test_some_tensors(run, folder, tmp_path):
    run("import", str(folder), "-b", "llm")
    out = str(tmp_path / "x.safetensors")

    assert "3 tensors" in run("export", "llm", out, "--tensors", "layers.*", "--tensors", "head")
    code, _, err = run.all("export", "llm", out, "--force", "--tensors", "layer.0")

    assert code == 1 and "'layer.0'" in err and "hint: did you mean 'layers.0.w'" in err


def test_what_is_replaced_is_said(run, folder, tmp_path):
    run("import", str(folder), "-b", "llm")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("old")

    code, _, err = run.all("export", "llm", str(tmp_path / "out"))
    assert code == 1 and "not empty" in err and "--force" in err

    assert "1 replaced: config.json" in run("export", "llm", str(tmp_path / "out"), "--force")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["out.onnx"], ".onnx is no format"),
        (["out.safetensor"], ".safetensor is no format"),
        (["out", "--format", "gguf"], "unknown format 'gguf'"),
        (["out.safetensors", "--max-shard-size", "5GB"], "--max-shard-size does not go with safetensors"),
        (["out.pt", "--max-shard-size", "5GB"], "--max-shard-size does not go with pt"),
        (["out.pt", "--tensors", "w"], "--tensors does not go with pt"),
        (["out", "--max-shard-size", "many"], "'many' is not a size"),
        (["out", "--max-shard-size", "0GB"], "'0GB' is not a size"),
    ],
)
def test_wrong_usage_is_said_and_makes_nothing(run, tmp_path, arguments, text):
    code, out, err = run.all("export", "main", str(tmp_path / arguments[0]), *arguments[1:])

    assert (code, out) == (2, "") and text in err and "hint: " in err
    assert not (tmp_path / arguments[0]).exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("5GB", 5 * 10**9), ("500MB", 5 * 10**8), ("2GiB", 2**31), ("1.5 kb", 1500), ("7B", 7), ("0.5MiB", 2**19)],
)
def test_sizes(text, wanted):
    assert size(text) == wanted


@pytest.mark.parametrize("text", ["", "5", "GB", "-5GB", "5XB", "0.0001B", "5G", "1e9B", "٥GB", "5GBs"])
def test_what_is_no_size(text):
    with pytest.raises(UsageError):
        size(text)


def test_a_branch_is_called_as_the_model_or_as_the_user_says(run, folder, tmp_path):
    assert "[model] " in run("import", str(folder))
    bad = tmp_path / "a b.safetensors"
    bad.write_bytes(safetensors({"w": bf16(3)}))

    code, _, err = run.all("import", str(bad))
    assert code == 2 and "'a b' is no name for a branch" in err and "--branch" in err
    assert "[ab] " in run("import", str(bad), "-b", "ab")


def test_what_was_imported_says_from_which_format(run, folder, tmp_path):
    torch.save({"ema": {"w": torch.ones(2)}, "raw": {"w": torch.ones(2)}}, tmp_path / "x.pt")
    (tmp_path / "one.safetensors").write_bytes(safetensors({"w": bf16(3)}))

    found = [
        facts(run, "import", str(path), "-b", f"b{i}", *more)["how"]
        for i, (path, *more) in enumerate(
            [
                (folder,),
                (folder / "model.safetensors.index.json",),
                (tmp_path / "x.pt", "--key", "ema"),
                (tmp_path / "one.safetensors",),
            ]
        )
    ]

    assert [how["format"] for how in found] == ["hf", "sharded", "pytorch", "safetensors"]
    assert [how.get("key") for how in found] == [None, None, "ema", None]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["import", "nowhere"], 1, "no such file"),
        (["import", "empty"], 1, "holds no weights"),
        (["import", "x.safetensors", "--key", "ema"], 2, "--key is for PyTorch"),
        (["commit", "--weights", "empty"], 1, "holds no weights"),
        (["commit", "--key", "ema"], 2, "--key needs --weights"),
        (["init", "new", "--key", "ema"], 2, "--key needs --weights"),
        (["init", "new", "--weights", "empty"], 1, "holds no weights"),
    ],
)
def test_wrong_input_is_said_and_changes_nothing(run, tmp_path, monkeypatch, arguments, code, text):
    (run.folder / "empty").mkdir()
    (run.folder / "x.safetensors").write_bytes(safetensors({"w": bf16(3)}))
    before = run("log", "--oneline")

    found, out, err = run.all(*arguments)

    assert (found, out) == (code, "") and text in err
    assert run("log", "--oneline") == before and not (run.folder / "new").exists()


def test_a_missing_shard_is_named(run, folder):
    (folder / "model-00002-of-00002.safetensors").unlink()

    code, _, err = run.all("import", str(folder))

    assert code == 1 and "model-00002-of-00002.safetensors: no such file" in err


def test_weights_from_elsewhere_follow_head(run, folder, tmp_path):
    run("switch", "run/0")
    held = {"layer.weight": ("F32", [2, 2], bytes(16))}
    (tmp_path / "tuned.safetensors").write_bytes(safetensors(held))

    made = facts(run, "commit", "--weights", str(tmp_path / "tuned.safetensors"))

    assert made["message"] == "tuned" and len(made["parents"]) == 1
    run("export", "run/0", str(tmp_path / "back.safetensors"))
    assert (tmp_path / "back.safetensors").read_bytes() == (tmp_path / "tuned.safetensors").read_bytes()
