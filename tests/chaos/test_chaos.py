"""Two thousand random lives of a running pool, and three planted faults that they must find."""

from __future__ import annotations

from typing import Any

import pytest

from retrypool_async._dispatch import Dispatch
from retrypool_async._roster import WorkerRecord
from retrypool_async._staff import Staff
from retrypool_async._states import WorkerWish
from tests.chaos.driver import live

SEEDS, CHUNK = 2000, 100


@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_random_life_breaks_a_promise(first: int) -> None:
    """Exclusive, in quota, never early, settled once, closed clean: whatever is done."""
    for seed in range(first, first + CHUNK):
        live(seed)


def caught_within(seeds: int) -> bool:
    for seed in range(seeds):
        try:
            live(seed)
        except AssertionError:
            return True
    return False


@pytest.mark.timeout(120)
def test_a_reserved_worker_left_on_the_free_list_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: the promise is not a state of its own."""
    reserve = Dispatch._reserve

    def forgets(self: Dispatch, record: WorkerRecord, *rest: Any) -> None:
        reserve(self, record, *rest)
        self.roster.set_free(record)

    monkeypatch.setattr(Dispatch, "_reserve", forgets)
    assert caught_within(100)


@pytest.mark.timeout(120)
def test_a_forgotten_refund_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what was taken for an attempt that never started is not given back."""

    def forgets(self: Dispatch, task: Any) -> None:
        task.debit = None

    monkeypatch.setattr(Dispatch, "_refund", forgets)
    assert caught_within(300)


@pytest.mark.timeout(120)
def test_a_pause_that_ends_with_a_cooldown_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the end of a cooldown undoes the operator's pause."""
    attend = Staff._attend

    def resumes(self: Staff, record: WorkerRecord, now: float) -> None:
        if record.wish is WorkerWish.PAUSE and 0.0 < record.cooling_until <= now:
            record.wish = WorkerWish.RUN
        attend(self, record, now)

    monkeypatch.setattr(Staff, "_attend", resumes)
    assert caught_within(1000)
