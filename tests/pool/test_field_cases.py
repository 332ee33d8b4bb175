"""Cases that users of other libraries reported, where no other test covers them already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import tenacity
from aiolimiter import AsyncLimiter

from retrypool_async import (
    Bucket,
    Candidate,
    CostTooLarge,
    Pool,
    Quota,
    RetryPolicy,
    Throttled,
    Verdict,
    Window,
)
from tests.pool.probe import Probe, fails, now, takes


async def test_a_worker_whose_service_is_unreachable_rests_while_the_other_does_the_work() -> None:
    """One call in thirty seconds, if the worker says so. Origin: BerriAI/litellm PR#27610."""

    class Dialling(Probe):
        def classify(self, error: Exception) -> Verdict | None:
            return Throttled(30) if isinstance(error, ConnectionError) else None

    dead, alive = Dialling("dead", does=fails(ConnectionError)), Probe("alive", does=takes(1))
    policy = RetryPolicy.fixed(0, attempts=2)
    async with Pool([dead, alive], retry=policy, debug=True) as pool:
        for task in [pool.submit(n) for n in range(10)]:
            await task
    assert dead.starts == [0]
    assert alive.starts == list(range(10))


@pytest.mark.parametrize(
    "limit", [Window(1000, per=60), Bucket(1000, per=60), AsyncLimiter(1000, 60)], ids=type
)
async def test_what_never_fits_is_refused_whatever_the_kind_of_limit(limit: Any) -> None:
    """And what fits exactly is taken. Origin: ax-llm/ax PR#631."""
    worker = Probe(quota=Quota(tokens=limit))
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(CostTooLarge, match="1000"):
            pool.submit(1, cost={"tokens": 1000.5})
        await pool.submit(2, cost={"tokens": 1000})
    assert worker.starts == [0]


async def test_retries_may_be_spread_without_slowing_first_attempts() -> None:
    """By a wait strategy that gives out places. Origin: resilience4j/resilience4j#1565."""
    next_place = 0.0

    def one_per_second(state: tenacity.RetryCallState) -> float:
        nonlocal next_place
        place = max(next_place, now())
        next_place = place + 1
        return place - now()

    failed: set[int] = set()
    firsts: list[float] = []
    retries: list[float] = []

    def fail_once(data: int) -> None:
        (retries if data in failed else firsts).append(now())
        if data not in failed:
            failed.add(data)
            raise ConnectionError

    policy = RetryPolicy(wait=one_per_second)
    async with Pool([Probe(does=fail_once) for _ in range(10)], retry=policy, debug=True) as pool:
        for n in range(10):
            pool.submit(n)
        await asyncio.sleep(4.5)
        pool.submit(10)
    assert firsts == [0] * 10 + [4.5]
    assert retries == list(range(11))


class Tiered:
    """Takes whom it can get of the lowest tier."""

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        return min(workers, key=lambda worker: worker.tier)


def tiers() -> list[Probe]:
    return [Probe("a", tags={"first"}), Probe("b", tags={"first"}), Probe("c", tier=1)]


async def test_equals_are_tried_before_the_next_tier() -> None:
    """With a strategy that looks at it. Origin: BerriAI/litellm#6400."""
    a, b, c = tiers()
    a.does = b.does = fails()
    policy = RetryPolicy.fixed(0)
    async with Pool([c, b, a], strategy=Tiered(), retry=policy, bounce=True, debug=True) as pool:
        task = pool.submit(1)
        assert await task == 1
        assert [attempt.worker for attempt in task.attempts] == ["b", "a", "c"]


@pytest.mark.parametrize(("spill", "worker", "start"), [(True, "c", 0), (False, "a", 5)])
async def test_a_task_says_whether_it_may_spill_into_the_next_tier(
    spill: bool, worker: str, start: float
) -> None:
    """While all of the first tier are cooling. Origin: BerriAI/litellm#6400."""
    async with Pool(tiers(), strategy=Tiered(), debug=True) as pool:
        for name in ("a", "b"):
            pool.cooldown(name, 5)
        task = pool.submit(1, require=() if spill else "first")
        await task
        [attempt] = task.attempts
        assert (attempt.worker, attempt.started) == (worker, start)


async def test_a_predicate_of_what_not_to_retry_never_sees_a_cancellation() -> None:
    """Nor an exit; each is one call. Origin: jd/tenacity#529."""
    seen: list[BaseException] = []
    all_but = tenacity.retry_if_not_exception_type(ValueError)

    def predicate(state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert error is not None
        seen.append(error)
        return bool(all_but(state))

    worker = Probe(does=takes(10))
    policy = RetryPolicy(retry=predicate, wait=tenacity.wait_none())
    async with Pool([worker], retry=policy, debug=True) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await pool.submit(1)
        worker.does = fails(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            await pool.submit(2)
        assert len(worker.starts) == 2
        worker.does = fails(ValueError)
        await pool.submit(3).wait()
        assert len(worker.starts) == 3
    assert [type(error) for error in seen] == [ValueError]
