"""The benchmark programs run. What they find is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(program: str, *options: str) -> Any:
    """Run a program with tiny sizes and return the object it prints."""
    command = [sys.executable, str(BENCHMARKS / program), "--quick", "--json", *options]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_overhead() -> None:
    """Every shape at two workers has a ratio and its base."""
    results = run("overhead.py", "--workers", "2")
    assert len(results) == 9
    for by_workers in results.values():
        assert by_workers["2"]["ratio"] > 0
        assert by_workers["2"]["baseline_us"] > 0


def test_overhead_measures_only_what_it_is_asked_for() -> None:
    """`--shapes` and `--workers` select."""
    results = run("overhead.py", "--shapes", "ping-pong", "--workers", "1", "3")
    assert list(results) == ["ping-pong"]
    assert list(results["ping-pong"]) == ["1", "3"]


def test_peers() -> None:
    """Every peer is compared."""
    for peer in ("aiojobs", "aiometer", "taskiq"):
        pytest.importorskip(peer)
    results = run("peers.py")
    assert {name: found["times_faster"] > 0 for name, found in results.items()} == {
        "aiojobs": True,
        "aiometer": True,
        "taskiq": True,
    }


def test_scale() -> None:
    """Every figure is a number, and idle workers are silent at any size."""
    results = run("scale.py")
    assert all(set(figure) == {"median", "low", "high"} for figure in results.values())
    assert results["wake-ups by 1,000 idle workers"]["high"] == 0


def test_throughput() -> None:
    """A speed, and sizes of the same order early and late."""
    results = {name: figure["median"] for name, figure in run("throughput.py").items()}
    assert results["tasks per second"] > 0
    for unit in ("KiB", "objects"):
        assert 0 < results[f"{unit} after all"] < 2 * results[f"{unit} after a tenth"]


def test_router() -> None:
    """Every load has a price for every number of workers."""
    results = run("router.py")
    assert len(results) == 6
    for by_workers in results.values():
        assert list(by_workers) == ["10"]
        assert all(figure["median"] > 0 for figure in by_workers.values())


def test_profile_path() -> None:
    """Every part of the path has a price."""
    assert all(price >= 0 for price in run("profile_path.py").values())
