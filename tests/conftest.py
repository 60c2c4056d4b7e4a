"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("wvc", deadline=None, derandomize=True, database=None)  # other work fills the cores
settings.load_profile("wvc")

# Small tensors: where other work fills the cores, threads that wait for each other make a test a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="heavy tests in their long form")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real images and weights (its README.md says which), from WVC_TEST_DATA or beside the checkout."""
    folder = Path(os.environ.get("WVC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set WVC_TEST_DATA")
    return folder
