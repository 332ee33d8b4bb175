"""Three hundred random lives of pools that make their own workers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from retrypool_async._elastic import Elastic
from tests.chaos.driver import live, live_all
from tests.chaos.elastic import ElasticLife

SEEDS, CHUNK = 300, 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_random_life_of_an_elastic_pool_breaks_a_promise(first: int) -> None:
    """All that holds for other pools; and never too many workers, too few, or some for nothing."""
    live_all(range(first, first + CHUNK), ElasticLife)


@pytest.mark.parametrize("seed", [132, 771, 1429])
def test_a_life_that_once_broke_a_promise_keeps_them_now(seed: int) -> None:
    """A stale headcount, a newcomer to a refused account, a held quota that had room."""
    live(seed, ElasticLife)


def test_random_lives_are_full_of_incident() -> None:
    """Workers are made, fail to start, are written off, and leave by themselves."""
    made = failed = written_off = left = 0
    for seed in range(150):
        life = live(seed, ElasticLife)
        assert isinstance(life, ElasticLife)
        made += len(life.made)
        failed += life.failed
        written_off += len(life.written_off)
        left += sum(worker.leaving for worker in life.made)
    assert min(made, left) > 150
    assert min(failed, written_off) > 5


def _too_many(self: Elastic, staff: Any) -> int:
    return self.sizes.max_workers + 1 - int(staff.present)


def _none(*_: Any) -> tuple[int, float]:
    return 0, inf


def _nobody(*_: Any) -> tuple[list[Any], float]:
    return [], inf


@pytest.mark.parametrize(
    ("method", "planted"), [("_room", _too_many), ("_takeable", _none), ("surplus", _nobody)]
)
def test_the_witness_notices_a_pool_of_the_wrong_size(
    monkeypatch: pytest.MonkeyPatch, method: str, planted: Any
) -> None:
    """One worker more than allowed, no growth, no shrinking."""
    monkeypatch.setattr(Elastic, method, planted)
    with pytest.raises(AssertionError, match=r"workers are open|nobody opens|for nothing"):
        for seed in range(50):
            live(seed, ElasticLife)
