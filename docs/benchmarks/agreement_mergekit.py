"""An environment with mergekit 0.1.5, made where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def python(environment: Path) -> Path:
    """The interpreter of `environment`, into which mergekit is installed if that has not been done."""
    found = environment / "bin" / "python"
    if not found.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", "mergekit==0.1.5"], check=True)
    return found.absolute()
