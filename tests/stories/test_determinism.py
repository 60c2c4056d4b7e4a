"""The same weights and the same words give the same commit, whatever the machine is set to."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

PROGRAM = """
import os, sys
os.umask(int(sys.argv[1], 8))
if sys.argv[2] != "all":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import wvc.main
here = os.getcwd()
for arguments in (["init", "zoo", "--weights", "old.safetensors"],
                  ["-C", "zoo", "commit", "--weights", here + "/new.safetensors", "-m", "Größe: σ"],
                  ["switch", "-c", "side", "HEAD~1"],
                  ["commit", "--weights", here + "/more.safetensors", "-m", "side"],
                  ["merge", "main", "--select", "all", "-m", "both"]):
    assert wvc.main.run(arguments) == 0, arguments
"""
ENVIRONMENTS = [
    {"LC_ALL": "C", "PYTHONHASHSEED": "1", "TZ": "UTC"},
    {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu"},
]
PYTHONS = [sys.executable, *filter(None, [os.environ.get("WVC_OTHER_PYTHON")])]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    values = {f"layer{i}.weight": random.normal(0, 0.02, (40, 50)).astype(np.float32) for i in range(8)}
    for name in ("old", "new", "more"):
        save_file(values, tmp_path / f"{name}.safetensors")
        values = {key: value + np.float32(1e-4) for key, value in reversed(values.items())}
    return tmp_path


def test_ids_do_not_depend_on_locale_umask_hashes_threads_or_python(files):
    found = set()
    settings = itertools.product(PYTHONS, ENVIRONMENTS, ("022", "077"), ("all", "one"))
    for python, environment, umask, threads in settings:
        shutil.rmtree(files / "zoo", ignore_errors=True)
        env = {**os.environ, **environment, "SOURCE_DATE_EPOCH": "1767225600", "WVC_AUTHOR": "ada"}
        subprocess.run([python, "-c", PROGRAM, umask, threads], cwd=files, env=env, check=True, capture_output=True)
        log = subprocess.run(
            [python, "-m", "wvc", "-C", "zoo", "--json", "log", "--all"],
            cwd=files, env=env, check=True, capture_output=True, text=True,
        )  # fmt: skip
        found.add(log.stdout)

    assert len(found) == 1
    assert found.pop().count('"id"') == 4
