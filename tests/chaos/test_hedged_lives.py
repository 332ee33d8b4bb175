"""Three hundred random lives of pools whose tasks are hedged."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from retrypool_async import AttemptOutcome
from retrypool_async._hedging import Hedging
from retrypool_async._twin import Twin
from tests.chaos.driver import live, live_all
from tests.chaos.hedged import HedgedLife

if TYPE_CHECKING:
    from retrypool_async._task import Task

SEEDS, CHUNK = 300, 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_random_life_with_hedges_breaks_a_promise(first: int) -> None:
    """All that holds for other pools; one outcome each, and never three attempts at once."""
    live_all(range(first, first + CHUNK), HedgedLife)


def test_random_lives_are_full_of_hedges() -> None:
    """That win, that are outrun, that fail, and that go on when the first attempt has ended."""
    seen: Counter[str] = Counter()
    for seed in range(100):
        for job in live(seed, HedgedLife).witness.jobs:
            assert job.handle is not None
            attempts = job.handle.attempts
            for attempt in attempts:
                if attempt.hedge:
                    seen[attempt.outcome.name] += 1
                seen["first outrun"] += (
                    attempt.outcome is AttemptOutcome.OUTRUN and not attempt.hedge
                )
            seen["went on"] += any(
                one.hedge and one.started < other.ended < one.ended
                for one in attempts
                for other in attempts
                if other.outcome not in (AttemptOutcome.OUTRUN, AttemptOutcome.OK)
            )
    assert min(seen[kind] for kind in ("OK", "OUTRUN", "ERROR", "first outrun", "went on")) > 5
    assert min(seen[kind] for kind in ("THROTTLED", "TIMEOUT", "CANCELLED", "SHUTDOWN")) > 0


def _both_end(plant: pytest.MonkeyPatch) -> None:
    """The first to fail ends the task, whatever the other does."""
    decide = Hedging._decide

    def planted(self: Hedging, task: Task, decisive: bool, now: float) -> Task | None:
        return decide(self, task, True, now)

    plant.setattr(Hedging, "_decide", planted)


def _loser_goes_on(plant: pytest.MonkeyPatch) -> None:
    """Whoever is outrun keeps its worker, as if nothing had happened."""

    def planted(self: Hedging, twin: Twin, now: float) -> None:
        self._dissolve(twin)

    plant.setattr(Hedging, "_call_off", planted)


def _third_attempt(plant: pytest.MonkeyPatch) -> None:
    """A hedge is made of every attempt, also of one that is pinned or may not run twice."""
    hedge = Hedging._hedge

    def planted(self: Hedging, task: Task, now: float) -> bool:
        hedge(self, task, now)
        return hedge(self, task, now)

    plant.setattr(Hedging, "_hedge", planted)


@pytest.mark.parametrize("plant", [_both_end, _loser_goes_on, _third_attempt])
def test_the_witness_notices_hedges_that_go_wrong(
    monkeypatch: pytest.MonkeyPatch, plant: Any
) -> None:
    """Without the ledger's own recount."""
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="seed"):
        for seed in range(100):
            live(seed, HedgedLife, debug=False)
