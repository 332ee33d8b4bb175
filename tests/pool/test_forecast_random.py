"""What is forecast is what happens, in random pools whose tasks take no time."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from contextlib import suppress
from typing import Any

import pytest

from retrypool_async import (
    Breaker,
    Bucket,
    Daily,
    Forecast,
    LeastRecentlyUsed,
    MostQuota,
    Pool,
    Quota,
    RandomChoice,
    RetryBudget,
    RetryPolicy,
    RetryPoolError,
    RoundRobin,
    Snooze,
    TaskHandle,
    TaskState,
    Throttled,
    Tiered,
    Weighted,
    Window,
    Worker,
)
from retrypool_async._rehearsal import Rehearsal
from retrypool_async.testing import run_virtual, settle
from tests.pool.probe import now

SEEDS = range(300)
NEW = -1


class Instant(Worker[Any, Any]):
    """Takes no time; fails at first where it is told to."""

    def __init__(self, name: str, starts: dict[Any, tuple[float, str]], **attributes: Any) -> None:
        self.name = name
        self.starts = starts
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    async def run(self, data: Any, /) -> None:
        number, failures = data
        if failures:
            raise failures.pop()
        self.starts[number] = now(), self.name


def limit(rng: random.Random) -> Any:
    amount, per = rng.randint(1, 4), rng.choice([2.0, 5.0, 7.5, 30.0])
    return rng.choice(
        [
            Window(amount, per=per),
            Window(amount, per=per),
            Bucket(amount, per=per),
            Daily(4 * amount),
        ]
    )


def quota(rng: random.Random) -> Quota:
    limits: dict[str, Any] = {}
    if rng.random() < 0.8:
        limits["requests"] = [limit(rng) for _ in range(rng.choice([1, 1, 2]))]
    if rng.random() < 0.4 or not limits:
        limits["tokens"] = [Window(rng.randint(3, 9), per=rng.choice([4.0, 20.0]))]
    return Quota(**limits)


class Case:
    """One pool, up to the moment at which it is asked."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        self.starts: dict[Any, tuple[float, str]] = {}
        shared = quota(rng)
        self.workers = [
            Instant(
                f"w{n}",
                self.starts,
                quota=rng.choice([None, quota(rng), quota(rng), shared, [quota(rng), shared]]),
                tags=rng.choice([(), ("a",), ("a", "b")]),
                weight=rng.randint(0, 3),
                tier=rng.randint(0, 1),
            )
            for n in range(rng.randint(1, 4))
        ]
        inner = [LeastRecentlyUsed, RoundRobin, MostQuota, RandomChoice, Weighted]
        strategies = [*inner, *inner, lambda: Tiered(rng.choice(inner)())]
        self.pool: Pool[Any, Any] = Pool(
            self.workers,
            quota=rng.choice([None, None, quota(rng)]),
            strategy=rng.choice(strategies)(),
            retry=RetryPolicy.fixed(rng.choice([1.0, 3.0, 11.0]), attempts=9),
            no_workers="wait",
            lane_weights={"x": 2.0},
            affinity_wait=rng.choice([0.0, 3.0]),
            concurrency=rng.choice([None, None, None, 1]),
            breaker=rng.choice([None, None, Breaker(failures=1, cooldown=4)]),
            retry_budget=rng.choice([None, RetryBudget(1.0, rate=0.5)]),
            max_quota_wait=rng.choice([None, None, None, 25]),
            rng=random.Random(seed),
            debug=True,
        )
        self.handles: list[TaskHandle[Any]] = []

    def options(self) -> dict[str, Any]:
        rng = self.rng
        options: dict[str, Any] = {}

        def perhaps(share: float, name: str, *values: Any) -> None:
            if rng.random() < share:
                options[name] = rng.choice(values)

        perhaps(0.3, "cost", 0, 2, {"tokens": 1}, {"tokens": 3}, {"requests": 0, "tokens": 2})
        perhaps(0.3, "priority", 1, 2, -1)
        perhaps(0.1, "aging", 1, 5)
        perhaps(0.2, "require", "a", ("a", "b"))
        perhaps(0.15, "worker", *(worker.name for worker in self.workers))
        perhaps(0.2, "lane", "x", "y")
        perhaps(0.15, "affinity", "p", "q")
        perhaps(0.1, "order_key", "k", "l")
        return options

    def submit(self, **options: Any) -> None:
        number = len(self.handles)
        kinds = [ValueError(), ValueError(), Throttled(2), Throttled(7, scope="quota"), Snooze(3)]
        failures = self.rng.sample(kinds, self.rng.choice([0, 0, 0, 1, 2]))
        if self.rng.random() < 0.1:
            options["queue_timeout"] = self.rng.choice([1, 6, 40])
        if self.rng.random() < 0.1:
            options["timeout"] = self.rng.choice([2, 8, 60])
        with suppress(RetryPoolError, ValueError):  # where no worker could ever take it
            self.handles.append(self.pool.submit((number, failures), **options))

    async def live(self) -> None:
        """Get into some state."""
        rng = self.rng
        for _ in range(rng.randint(1, 30)):
            choice = rng.random()
            if choice < 0.75:
                self.submit(**self.options())
            elif choice < 0.9:
                await asyncio.sleep(rng.choice([0.0, 0.5, 1.0, 4.0]))
            elif choice < 0.97:
                self.pool.cooldown(rng.choice(self.workers).name, rng.choice([1.0, 6.0, 50.0]))
            else:  # not one worker alone: its hooks would take turns of the loop
                self.pool.pause(until=rng.choice([2.0, 9.0]))
        await asyncio.sleep(rng.choice([0.0, 0.25, 3.0]))
        await settle()
        for handle in self.handles:
            handle.data[1].clear()  # from now on everything succeeds


async def compare(seed: int) -> int:
    """Ask, let it happen, and return for how many tasks the time was known."""
    case = Case(seed)
    async with case.pool as pool:
        await case.live()
        options = case.options()
        asked_at = now()
        #: What is forecast of each task, and how many had started by then.
        expected: dict[int, tuple[Forecast, int]] = {}
        try:
            forecast = pool.forecast(**options)
        except (RetryPoolError, ValueError) as refusal:
            with pytest.raises(type(refusal)):
                pool.submit((NEW, []), **options)
        else:
            expected[NEW] = forecast, len(case.starts)
            pool.submit((NEW, []), **options)
            await settle()
        for handle in case.handles:
            waits = handle.state in (TaskState.QUEUED, TaskState.SCHEDULED)
            if waits and not handle.options.timeout and not handle.options.queue_timeout:
                ledger = pool._engine.ledger
                forecast = Rehearsal(ledger, now(), handle).forecast()
                expected[handle.data[0]] = forecast, len(case.starts)
                if handle.state is TaskState.QUEUED:
                    _, at_least = ledger.outlook(handle, now())  # as in a `QueueTimeout`
                    assert (at_least or 0.0) <= (forecast.start_in or 0.0) + 1e-5
        await asyncio.sleep(1_000_000)
        times = [at for at, _ in case.starts.values()]
        for number, (forecast, before) in expected.items():
            if forecast.worker is None:  # nobody can take it, or it will die for want of quota
                assert number not in case.starts, (number, forecast)
                continue
            assert forecast.start_in is not None
            at, worker = case.starts[number]
            found = forecast.start_in + asked_at, forecast.worker.name
            assert found == (pytest.approx(at, abs=1e-5), worker), (number, forecast)
            first = bisect_left(times, at - 1e-5)  # of those that start at that very moment
            assert first <= before + forecast.ahead < bisect_right(times, at + 1e-5)
        await pool.close("cancel")
        return sum(forecast.worker is not None for forecast, _ in expected.values())


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[::50])
def test_what_is_forecast_happens(first: int) -> None:
    """When, where and behind how many tasks start that wait, or are still to be submitted."""
    known = [run_virtual(compare(seed)) for seed in range(first, first + 50)]
    assert sum(known) > 100
