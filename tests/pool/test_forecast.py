"""When and where a task would start, what holds it, and who is before it."""

from __future__ import annotations

import asyncio
import gc
from datetime import time
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

from retrypool_async import (
    Bucket,
    CostTooLarge,
    Daily,
    Forecast,
    NoWorkers,
    Pool,
    PoolClosed,
    QueueTimeout,
    Quota,
    RetryPolicy,
    RoutingOptions,
    SubmitOptions,
    Throttled,
    Unroutable,
    Window,
    WorkerRef,
    current_task,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

W = WorkerRef(0, "w")


def minutely(limit: float) -> Quota:
    return Quota(Window(limit, per=60))


# -- what holds it ---------------------------------------------------------------------------------


async def test_what_nothing_holds_starts_now() -> None:
    """On the worker that the strategy would choose, whose turn that does not use up."""
    async with Pool([Probe("w"), Probe("v")], debug=True) as pool:
        for _ in range(2):
            assert pool.forecast() == Forecast(0.0, W, "nothing", 0)
        await pool.submit(0)
        assert pool.forecast() == Forecast(0.0, WorkerRef(1, "v"), "nothing", 0)


async def test_quota_is_counted_through_all_that_waits_in_front() -> None:
    """Each of whom takes its share."""
    async with Pool([Probe("w", quota=minutely(2))], debug=True) as pool:
        for n in range(7):  # two start now, two at 60, two at 120, one at 180
            pool.submit(n)
        await asyncio.sleep(15)
        assert pool.forecast() == Forecast(165.0, W, "quota", 5)
        assert pool.forecast(2) == Forecast(225.0, W, "quota", 5)
        assert pool.forecast(priority=1) == Forecast(45.0, W, "quota", 0)
        await pool.close("cancel")


@pytest.mark.parametrize(
    ("limit", "start_in"),
    [
        (Window(2, per=10), 20),
        (Bucket(2, per=10), 15),
        (AsyncLimiter(2, 10), 15),
        (Daily(2, at=time(0, 0, 30)), 86_430),
        ([Window(2, per=10), Window(3, per=60)], 60),
    ],
)
async def test_every_kind_of_limit_is_counted(limit: Any, start_in: float) -> None:
    """As it will be when the time comes: four tasks are in front, two of them run now."""
    async with Pool([Probe("w", quota=Quota(requests=limit))], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(4)]
        await settle()
        assert pool.forecast().start_in == pytest.approx(start_in, abs=1e-5)
        assert pool.snapshot().workers[0].quota_left == {"requests": 0.0}
        last = pool.submit(4)
        await last
        assert now() == pytest.approx(start_in, abs=1e-5)
        assert all(task.done() for task in tasks)


async def test_a_limiter_of_ones_own_is_taken_at_its_word() -> None:
    """It cannot be played with, so nobody knows what those in front leave of it."""

    class Fixed:
        capacity = 9.0
        taken = 0.0

        def until(self, amount: float, now: float) -> float:
            return max(self.taken - now, 0.0)

        def take(self, amount: float, now: float) -> None:
            self.taken = now + 30

        def refund(self, amount: float, at: float) -> None:
            self.taken = 0.0

        def left(self, now: float) -> float:
            return 9.0

    async with Pool([Probe("w", quota=Quota(Fixed()))], debug=True) as pool:
        await pool.submit(0)
        await asyncio.sleep(10)
        assert pool.forecast() == Forecast(20.0, W, "quota", 0)
        first, second = pool.submit(1), pool.submit(2)
        assert pool.forecast() == Forecast(20.0, W, "quota", 2)  # no sooner than that
        await second
        assert (now(), first.done()) == (60, True)


async def test_what_the_service_says_is_left_is_counted() -> None:
    """And used up by those in front, but only in the forecast."""

    async def run(data: Any) -> None:
        if data == 0:
            current_task().sync_quota(remaining=2, reset_after=30)

    worker = Probe("w", does=run, quota=Quota(Window(9, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        pool.pause(until=10)
        tasks = [pool.submit(n) for n in range(1, 3)]
        assert pool.forecast() == Forecast(30.0, W, "paused", 2)
        assert pool.forecast() == Forecast(30.0, W, "paused", 2)
        for task in tasks:
            await task
    assert worker.starts == [0, 10, 10]


@pytest.mark.parametrize(
    ("obstacle", "forecast"),
    [
        ("cooling", Forecast(20.0, W, "cooling", 0)),
        ("paused", Forecast(20.0, W, "paused", 0)),
        ("the pool paused", Forecast(20.0, W, "paused", 0)),
        ("throttled", Forecast(20.0, W, "cooling", 0)),
    ],
)
@pytest.mark.parametrize("short", [False, True])
async def test_what_ends_at_a_known_time_is_waited_for(
    obstacle: str, forecast: Forecast, short: bool
) -> None:
    """And if quota is short for longer, that is what holds it."""
    quota = minutely(1) if short else Quota(Window(9, per=60))
    worker = Probe("w", does=in_turn(Throttled(20), "x") if obstacle == "throttled" else None)
    worker.quota = quota
    async with Pool([worker], debug=True) as pool:
        first = pool.submit(0, detach=True)
        await settle()
        if obstacle == "cooling":
            pool.cooldown("w", 20)
        elif obstacle != "throttled":
            pool.pause("w" if obstacle == "paused" else None, until=20)
        await settle()
        throttled = obstacle == "throttled"
        expected = Forecast(60.0, W, "quota", 0) if short else forecast
        if throttled:  # the refused task goes first
            start_in = 120.0 if short else 20.0
            expected = Forecast(start_in, W, "quota" if short else "cooling", 1)
        assert pool.forecast() == expected
        with pytest.raises(QueueTimeout) as refused:
            await pool.submit(1, queue_timeout=0)
        assert refused.value.next_available == (60.0 if short else 20.0)
        assert first.done() is not throttled
        await pool.close("cancel")


async def test_a_retry_that_falls_due_earlier_goes_first() -> None:
    """If it is more urgent; else it will be the one that comes later."""
    worker = Probe("w", does=in_turn(ValueError(), "x"), quota=minutely(1))
    async with Pool([worker], retry=RetryPolicy.fixed(10), debug=True) as pool:
        retried = pool.submit(0, priority=1)
        await settle()
        assert retried.explain() == "retry in 10.0 s; starts in 60.0 s on w"
        assert pool.forecast() == Forecast(120.0, W, "quota", 1)
        assert pool.forecast(priority=1) == Forecast(60.0, W, "quota", 0)
        await pool.submit(1)
        assert now() == 120


async def test_of_what_depends_on_unknown_run_times_nothing_is_known() -> None:
    """Busy workers, and those that are opening."""
    worker = Probe("w", does=takes(9), quota=minutely(2))
    async with Pool([worker], debug=True) as pool:
        pool.submit(0)
        assert pool.forecast() == Forecast(None, None, "busy", 0)
        pool.submit(1)
        assert pool.forecast(priority=1) == Forecast(None, None, "busy", 0)
        # The one in front will have used the last of the quota, whenever it starts.
        assert pool.forecast() == Forecast(60.0, W, "quota", 1)
        await pool.close("cancel")


async def test_it_is_not_known_when_a_worker_has_opened() -> None:
    """Even where another would be ready some day."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(5)

    async with Pool([Probe("w")], debug=True) as pool:
        pool.pause("w", until=60)
        await pool.add(Slow("v"), wait=False)
        assert pool.forecast() == Forecast(None, None, "starting", 0)
        await asyncio.sleep(5)
        await settle()
        assert pool.forecast() == Forecast(0.0, WorkerRef(1, "v"), "nothing", 0)


async def test_a_factory_may_bring_a_worker_at_any_time() -> None:
    """As long as there is room for one."""
    async with Pool(factory=lambda: Probe(quota=minutely(1)), max_workers=2, debug=True) as pool:
        await pool.submit(0)
        assert pool.forecast() == Forecast(None, None, "starting", 0)
        await pool.submit(1)
        assert pool.forecast().start_in == 60


@pytest.mark.parametrize(
    ("held_by", "why"), [("a pause", "paused"), ("two pauses", "paused"), ("a tag", "no workers")]
)
async def test_what_waits_for_somebody_to_do_something_may_wait_for_ever(
    held_by: str, why: str
) -> None:
    """Nobody knows how long."""
    async with Pool([Probe("w")], no_workers="wait", debug=True) as pool:
        if held_by != "a tag":
            pool.pause("w")
        if held_by == "two pauses":
            pool.pause(until=10)
        require = "gpu" if held_by == "a tag" else ()
        assert pool.forecast(require=require) == Forecast(None, None, why, 0)


async def test_a_task_behind_its_order_key_waits_for_that() -> None:
    """The one before it takes no time, in this view, once it has quota."""
    async with Pool([Probe("w", quota=minutely(1)), Probe("v")], debug=True) as pool:
        await pool.submit(0, worker="w")
        pool.submit(1, worker="w", order_key="k")
        waiting = pool.submit(2, order_key="k")
        v = WorkerRef(1, "v")
        assert pool.forecast(order_key="k") == Forecast(60.0, v, "order", 2)
        assert pool.forecast() == Forecast(0.0, v, "nothing", 0)
        await waiting
        assert now() == 60


async def test_an_affinity_is_waited_for_as_long_as_it_will_be() -> None:
    """Then another may take it."""
    a, b = Probe("a", quota=minutely(1)), Probe("b")
    async with Pool([a, b], affinity_wait=5, debug=True) as pool:
        await pool.submit(0, affinity="s")
        expected = Forecast(5.0, WorkerRef(1, "b"), "affinity", 0)
        assert pool.forecast(affinity="s") == expected
        await pool.submit(1, affinity="s")
        assert (now(), b.starts) == (5, [5])


async def test_lanes_take_turns_in_it_as_they_will() -> None:
    """A newcomer's first is before most of what others have waiting."""
    async with Pool([Probe("w", quota=Quota(Window(1, per=10)))], debug=True) as pool:
        for n in range(6):
            pool.submit(n, lane="many")
        await settle()
        assert pool.forecast(lane="many").start_in == 60
        assert pool.forecast(lane="few").start_in == 10
        await pool.submit(9, lane="few")
        assert now() == 10
        await pool.close("cancel")


async def test_large_tasks_hold_their_place_in_it() -> None:
    """What would fit now waits behind them."""
    worker = Probe("w", quota=Quota(tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0, cost={"tokens": 40})
        large = pool.submit(1, cost={"tokens": 90})
        assert pool.forecast({"tokens": 10}) == Forecast(60.0, W, "turn", 1)
        assert large.explain() == "w: quota 60.0 s; starts in 60.0 s on w"
        await large


async def test_tasks_in_front_that_will_be_gone_are_not_counted() -> None:
    """Their time limits are known as well."""
    async with Pool([Probe("w", quota=minutely(1))], debug=True) as pool:
        await pool.submit(0)
        hasty = [pool.submit(n, queue_timeout=10) for n in range(2)]
        late = pool.submit(2, timeout=70)
        hurried = pool.submit(3, timeout=20)
        assert pool.forecast() == Forecast(120.0, W, "quota", 1)
        # Of the task itself it is told when it would start, its own limits apart.
        assert hasty[1].explain() == "w: quota 60.0 s; starts in 60.0 s on w"
        assert hurried.explain() == "w: quota 60.0 s; starts in 120.0 s on w, 1 before it"
        await late
        assert now() == 60


# -- what it costs, and what it leaves alone -------------------------------------------------------


async def test_beyond_its_bound_it_says_how_long_it_takes_at_least() -> None:
    """Thousands of tasks wait: the plan is followed for so many starts."""
    async with Pool([Probe("w", quota=Quota(Window(1, per=1)))], debug=False) as pool:
        handles = [pool.submit(n) for n in range(5000)]
        await settle()
        bound = 25_000 // 11
        assert pool.forecast() == Forecast(bound, None, "turn", bound)
        assert pool.forecast(priority=1) == Forecast(1.0, W, "quota", 0)
        assert (
            handles[bound - 1]
            .explain()
            .endswith(f"starts in {bound - 1}.0 s on w, {bound - 2} before it")
        )
        last = handles[-1].explain()
        assert last.endswith(f"starts in {bound}.0 s at the earliest, {bound} before it")
        await pool.close("cancel")


async def test_asking_changes_nothing() -> None:
    """Quotas, turns, limiters, breakers, the agenda: all as before, and nothing is kept."""
    worker = Probe("w", quota=[Quota(Window(2, per=10)), Quota(AsyncLimiter(9, 1))])
    async with Pool([worker], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(6)]
        await settle()
        before = pool.snapshot()
        gc.collect()
        objects = len(gc.get_objects())
        for _ in range(20):
            pool.forecast(lane="x", affinity="y", order_key="z")
            tasks[-1].explain()
        assert pool.snapshot() == before
        gc.collect()
        assert len(gc.get_objects()) <= objects + 50
        for task in tasks:
            await task
    assert worker.starts == [0, 0, 10, 10, 20, 20]


async def test_it_is_refused_what_submit_would_be() -> None:
    """But for a full queue, which is no matter here."""
    worker = Probe("w", quota=Quota(tokens=Window(10, per=60)))
    pool: Pool[Any, Any] = Pool([worker], max_queue=0, debug=True)
    with pytest.raises(PoolClosed):
        pool.forecast()
    async with pool:
        with pytest.raises(CostTooLarge):
            pool.forecast({"tokens": 11})
        with pytest.raises(Unroutable):
            pool.forecast(require="gpu")
        with pytest.raises(Unroutable):
            pool.forecast(worker="v")
        with pytest.raises(ValueError, match="unknown cost dimension"):
            pool.forecast({"token": 1})
        with pytest.raises(TypeError, match="cost"):
            pool.forecast("1")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="forecast has no option 'timeout'"):
            pool.forecast(timeout=1)  # type: ignore[call-arg]
        await pool.submit(0, cost={"tokens": 10})
        assert pool.forecast({"tokens": 1}).start_in == 60
        await pool.remove("w")
        with pytest.raises(NoWorkers):
            pool.forecast()


def test_its_options_are_some_of_those_of_submit() -> None:
    """By the same names."""
    assert RoutingOptions.__annotations__.items() <= SubmitOptions.__annotations__.items()


async def test_what_runs_when_it_is_asked_is_taken_to_succeed() -> None:
    """A failure would bring a retry, which nobody can know."""
    worker = Probe("w", does=fails(), quota=minutely(1))
    async with Pool([worker], retry=RetryPolicy.fixed(100, attempts=2), debug=True) as pool:
        failing = pool.submit(0)
        assert pool.forecast() == Forecast(60.0, W, "quota", 0)
        await settle()
        assert pool.forecast() == Forecast(60.0, W, "quota", 0)
        await failing.wait()
        assert now() == 100
