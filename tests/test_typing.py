"""The public surface as type checkers see it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize(
    ("surface", "needs"),
    [("surface.py", "retrypool_async"), ("fastapi_surface.py", "fastapi")],
)
def test_the_surface_is_typed(checker: str, surface: str, needs: str) -> None:
    """Strictly, for both checkers, with the project's own settings."""
    for package in (checker, needs):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    command = [sys.executable, "-m", checker, f"tests/typing/{surface}"]
    if checker == "pyright":
        command += ["--pythonpath", sys.executable]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
