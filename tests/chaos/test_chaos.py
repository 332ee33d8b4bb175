"""Two thousand random lives of a running pool."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.driver import ENDINGS, live, live_all
from tests.chaos.workers import CODE

SEEDS, CHUNK = 2000, 100
#: All of them where there is time for it, some of them on every Python.
CHUNKS = [
    pytest.param(first, marks=() if first < 400 else pytest.mark.slow)
    for first in range(0, SEEDS, CHUNK)
]


@pytest.mark.parametrize("first", CHUNKS)
def test_no_random_life_breaks_a_promise(first: int) -> None:
    """Exclusive, in quota, never early, never idle, settled once, closed clean."""
    live_all(range(first, first + CHUNK))


@pytest.mark.parametrize("seed", [2336, 2426, 2858])
def test_a_life_that_once_broke_a_promise_keeps_them_now(seed: int) -> None:
    """A cancelled task came back, a retry was cut off at birth, an overdrawn bucket forgiven."""
    live(seed)


def test_a_seed_is_a_life() -> None:
    """The same one gives the same, to the last event."""
    assert live(7).witness.trace == live(7).witness.trace


def test_random_lives_are_full_of_incident() -> None:
    """Every kind of code runs, every end is met: what is not done cannot be found wanting."""
    endings: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    cut_off = retried = 0
    for seed in range(100):
        life = live(seed)
        endings[life.ending] += 1
        for job in life.witness.jobs:
            outcomes[job.outcome] += 1
            kinds[job.kind] += len(job.runs)
            retried += len(job.runs) > 1
            cut_off += any(run.interrupted for run in job.runs)
    assert set(endings) == set(ENDINGS)
    assert set(kinds) == set(CODE)
    assert min(kinds.values()) >= 5
    assert min(outcomes[end] for end in ("succeeded", "dead", "cancelled")) > 100
    assert outcomes["dropped"] > 0
    assert cut_off > 50
    assert retried > 100
