"""Models larger than memory: what only moves or compares weights takes a few hundred MB, whatever their size."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MOST = 512 << 20  # bytes of resident memory, all of it private but for libraries
TENSORS = 4

# What a process starts with counts as its own, so that it must not be started by pytest, which has torch loaded.
LAUNCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, flush=True)
sys.exit(code)
"""

Run = Callable[..., int]


def sparse(path: Path, size: int, marks: dict[int, bytes]) -> Path:
    """A safetensors file of four equal fp32 tensors, `size` bytes in all, zero but for `marks` (offset -> bytes)."""
    each = size // TENSORS
    header = {
        f"layer{i}.weight": {"dtype": "F32", "shape": [each // 4096, 1024], "data_offsets": [i * each, (i + 1) * each]}
        for i in range(TENSORS)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
        for offset, data in marks.items():
            file.seek(8 + len(text) + offset)
            file.write(data)
    return path


@pytest.fixture
def peak(tmp_path: Path) -> Run:
    """Function (arguments) that runs the command and returns the most memory that it had resident, in bytes."""

    def run(*arguments: object) -> int:
        command = [sys.executable, "-m", "wvc", *map(str, arguments)]
        launch = [sys.executable, "-c", LAUNCH, *command]
        done = subprocess.run(launch, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return int(done.stdout.splitlines()[-1]) * 1024

    return run


def equal(one: Path, two: Path) -> bool:
    with one.open("rb") as a, two.open("rb") as b:
        while True:
            x, y = a.read(1 << 24), b.read(1 << 24)
            if x != y:
                return False
            if not x:
                return True


def test_a_model_larger_than_memory_goes_in_and_out(tmp_path, peak, request):
    size = (20 << 30) if request.config.getoption("--long") else (2 << 30)
    sparse(tmp_path / "old.safetensors", size, {7: b"\x80\x3f"})
    sparse(tmp_path / "new.safetensors", size, {7: b"\x80\x3f", size // 2 + 4001: b"abc", size - 4: b"\0\0\x80\x3f"})

    peaks = {
        "init": peak("init", "zoo", "--weights", "old.safetensors"),
        "commit": peak("-C", "zoo", "commit", "--weights", tmp_path / "new.safetensors", "-m", "new"),
        "diff": peak("-C", "zoo", "diff", "HEAD~1", "HEAD"),
        "blame": peak("-C", "zoo", "blame", "--stat"),
        "fsck": peak("-C", "zoo", "fsck"),
        "clone": peak("clone", "zoo", "copy"),
        "export": peak("-C", "copy", "export", "main", tmp_path / "out.safetensors"),
    }

    sys.stdout.write(f"MB resident: { {name: n >> 20 for name, n in peaks.items()} }\n")
    assert equal(tmp_path / "out.safetensors", tmp_path / "new.safetensors")
    assert max(peaks.values()) < MOST
    stored = sum(path.stat().st_size for path in (tmp_path / "zoo/.wvc/packs").iterdir())
    assert stored < size // 10_000
