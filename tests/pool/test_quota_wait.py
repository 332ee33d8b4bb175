"""How long a task waits for quota alone, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import time
from typing import Any

import pytest

from retrypool_async import (
    Bucket,
    Daily,
    EndReason,
    Pool,
    QueueTimeout,
    Quota,
    QuotaTimeout,
    RetryPolicy,
    TaskState,
    Window,
    current_task,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes


def minutely(limit: float) -> Quota:
    return Quota(Window(limit, per=60))


@pytest.mark.parametrize("limit", [Window(1, per=60), Bucket(1, per=60), Daily(1, at=time(0, 1))])
async def test_what_would_wait_for_longer_dies_at_once(limit: Any) -> None:
    """With the reason, and the time after which a new try makes sense."""
    async with Pool([Probe(quota=Quota(limit))], max_quota_wait=59, debug=True) as pool:
        await pool.submit(0)
        task = pool.submit(1)
        with pytest.raises(QuotaTimeout) as refused:
            await task
        assert (now(), task.state, pool.dead[task.id].reason) == (
            0,
            TaskState.DEAD,
            EndReason.QUOTA_WAIT,
        )
        assert refused.value.retry_after == pytest.approx(60, abs=1e-5)
        assert refused.value.reason == "quota"
        assert isinstance(refused.value, QueueTimeout)
        assert "max_quota_wait is 59 s" in str(refused.value)


@pytest.mark.parametrize("pause", [0, 1.7, 33.3])
async def test_what_waits_no_longer_waits(pause: float) -> None:
    """To the last second, whatever happens meanwhile, and whatever rounding adds."""
    worker = Probe(quota=minutely(1))
    async with Pool([worker], max_quota_wait=60, debug=True) as pool:
        await asyncio.sleep(4.7)
        await pool.submit(0)
        task = pool.submit(1)
        await asyncio.sleep(pause)
        pool.concurrency = 9  # so that the plan is made anew
        last = pool.submit(2, priority=-1)
        await task
        await last
        assert (task.times.quota, last.times.quota) == pytest.approx((60, 60))
    assert worker.starts == pytest.approx(
        [4.7, 64.7, 124.7]
    )  # the last is first in line from 60 on


async def test_none_waits_while_another_worker_has_quota() -> None:
    """It is then not quota alone that a task waits for: a busy worker may come free."""
    short, busy = Probe("short", quota=minutely(1)), Probe("busy", does=takes(100))
    async with Pool([short, busy], max_quota_wait=10, debug=True) as pool:
        await pool.submit(0, worker="short")
        pool.submit(1, worker="busy")
        task = pool.submit(2)
        await task
        assert now() == 60
        busy.quota = None
        pool.submit(3, worker="short")
        with pytest.raises(QuotaTimeout):  # pinned, it waits for nothing else
            await pool.submit(4, worker="short")


@pytest.mark.parametrize("state", ["cooling", "paused for a time", "paused"])
async def test_a_cooldown_is_no_wait_for_quota(state: str) -> None:
    """Nor is a pause that ends by itself."""
    a, b = Probe("a", quota=minutely(1)), Probe("b")
    async with Pool([a, b], max_quota_wait=10, debug=True) as pool:
        await pool.submit(0, worker="a")
        if state == "paused":
            pool.pause("b")  # nobody knows for how long, so "a" is what counts
            with pytest.raises(QuotaTimeout):
                await pool.submit(1)
            return
        if state == "cooling":
            pool.cooldown("b", 30)
        else:
            pool.pause("b", until=30)
        await pool.submit(1)
        assert (now(), b.starts) == (30, [30])


async def test_everything_in_line_for_a_spent_quota_dies() -> None:
    """One after the other, as each is the first; what costs less goes on."""
    quota = Quota(requests=Window(9, per=1), tokens=Window(100, per=3600))
    worker = Probe(quota=quota, does=takes(1))
    async with Pool([worker], max_quota_wait=60, debug=True) as pool:
        pool.submit(0, cost={"tokens": 95})
        large = [pool.submit(n, cost={"tokens": 10}) for n in range(1, 4)]
        small = pool.submit(4, cost={"tokens": 5})
        await small
        assert [type(task.error()) for task in large] == [QuotaTimeout] * 3
        assert worker.starts == [0, 1]


async def test_an_overrun_ends_the_wait_when_it_is_known() -> None:
    """A running task that has used more than it said puts the next one off."""

    async def run(data: Any) -> None:
        if data == 0:
            await asyncio.sleep(40)
            current_task().settle(tokens=200)

    quota = Quota(tokens=[Window(100, per=60), Window(150, per=600)])
    a, b = Probe("a", quota=quota, does=run), Probe("b", quota=quota)
    async with Pool([a, b], max_quota_wait=90, debug=True) as pool:
        first = pool.submit(0, worker="a", cost={"tokens": 100})
        await settle()
        task = pool.submit(1, worker="b", cost={"tokens": 50})
        assert pool.forecast({"tokens": 50}, worker="b").start_in == 600
        await first
        with pytest.raises(QuotaTimeout) as refused:
            await task
        assert (now(), refused.value.retry_after) == (40, 560)


async def test_a_retry_dies_of_it_too_and_tells_what_was_before() -> None:
    """The error of its last attempt is the cause."""
    worker = Probe(quota=minutely(1), does=fails())
    async with Pool([worker], max_quota_wait=30, retry=RetryPolicy.fixed(10), debug=True) as pool:
        task = pool.submit(0)
        with pytest.raises(QuotaTimeout) as refused:
            await task
        assert (now(), refused.value.retry_after, task.attempt_count) == (10, 50, 1)
        assert isinstance(refused.value.__cause__, ValueError)


async def test_zero_waits_for_no_quota() -> None:
    """But for a worker that is busy."""
    worker = Probe("w", quota=minutely(2), does=in_turn(1, 1))
    async with Pool([worker], max_quota_wait=0, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(3)]
        assert [await task.wait() for task in tasks] == [True] * 3
        assert [type(task.error()) for task in tasks] == [type(None), type(None), QuotaTimeout]


async def test_a_sequence_goes_on_when_one_of_it_has_died() -> None:
    """As after any other end."""
    worker = Probe(quota=Quota(tokens=Window(10, per=600)))
    async with Pool([worker], max_quota_wait=30, debug=True) as pool:
        await pool.submit(0, cost={"tokens": 9})
        large = pool.submit(1, order_key="k", cost={"tokens": 5})
        small = pool.submit(2, order_key="k", cost={"tokens": 1})
        await small
        assert isinstance(large.error(), QuotaTimeout)


async def test_a_factory_may_bring_more_quota() -> None:
    """As long as it may, nobody waits for quota alone."""
    made: list[Probe] = []

    def make() -> Probe:
        made.append(Probe(quota=minutely(1)))
        return made[-1]

    async with Pool(factory=make, max_workers=2, max_quota_wait=10, debug=True) as pool:
        for n in range(2):
            await pool.submit(n)
        assert len(made) == 2
        with pytest.raises(QuotaTimeout):
            await pool.submit(2)


async def test_a_forecast_says_when_what_it_ends_could_have_started() -> None:
    """As the error does."""
    async with Pool([Probe("w", quota=minutely(1))], max_quota_wait=30, debug=True) as pool:
        await pool.submit(0)
        forecast = pool.forecast()
        assert (forecast.start_in, forecast.worker, forecast.waiting_for) == (60, None, "quota")


# -- in the log ------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("per", "warned"), [(30, 0), (31, 1)])
async def test_a_long_wait_is_warned_of_once(
    per: float, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    """More than 30 s, once in the life of a pool."""
    async with Pool([Probe(quota=Quota(Window(1, per=per)))], debug=True) as pool:
        for n in range(4):
            pool.submit(n)
    assert (
        warnings(caplog) == ["task 2 waits for quota for another 31 s; this is said once"] * warned
    )


async def test_a_wait_that_may_end_sooner_is_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Another worker has quota, and is only busy."""
    workers = [Probe("short", quota=minutely(1)), Probe("busy", does=takes(50))]
    async with Pool(workers, debug=True) as pool:
        await pool.submit(0, worker="short")
        pool.submit(1)
        await pool.submit(2)
    assert warnings(caplog) == []
