"""Makes the modules of the benchmarks importable for the tests of their parts."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _benches_can_be_imported(monkeypatch):
    # Only for these tests, as `cuda.py` there has the name of a package of NVIDIA's.
    folder = Path(__file__).parents[3] / "benches"
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
