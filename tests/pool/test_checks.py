"""Workers that look at their resource before it is used after a rest: `check`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from retrypool_async import (
    Breaker,
    Pool,
    QueueFull,
    QueueTimeout,
    Quota,
    RetryPolicy,
    TaskHandle,
    TaskTimeout,
    Window,
    Worker,
    WorkerState,
)
from retrypool_async.groups import BlockingPool
from tests.pool.probe import Probe, now, takes

AT_ONCE = RetryPolicy.fixed(0)


class Checking(Probe):
    """Writes down its checks, which take a while and go as they are told to."""

    fit: Any = True
    seconds = 0.0

    async def check(self) -> bool | None:
        self.log.append(f"check {now():g}")
        await asyncio.sleep(self.seconds)
        if isinstance(self.fit, BaseException):
            raise self.fit
        return self.fit  # type: ignore[no-any-return]


def runs(task: TaskHandle[Any]) -> list[tuple[str, float]]:
    """On which worker each attempt began, and when."""
    return [(attempt.worker, attempt.started) for attempt in task.attempts]


@pytest.mark.parametrize("fit", [True, None])
async def test_a_worker_that_has_rested_looks_at_its_resource_first(fit: bool | None) -> None:
    """Not before each task, nor while it does nothing."""
    worker = Checking("a", takes(20), fit=fit, seconds=2.0)
    async with Pool([worker], check_idle=30, debug=True) as pool:
        for at in (29, 70, 130):
            await asyncio.sleep(at - now())
            await pool.submit(at)
        assert worker.starts == [29, 70, 132]
        assert worker.log == ["start", "check 130"]


@pytest.mark.parametrize("fit", [False, OSError("gone")], ids=["False", "raises"])
async def test_a_resource_that_is_not_good_any_more_is_opened_anew(fit: Any) -> None:
    """The task waits for that, and has spent no attempt; no breaker opens."""
    worker = Checking("a", fit=fit, seconds=2.0)
    async with Pool([worker], breaker=Breaker(1), debug=True) as pool:
        await asyncio.sleep(100)
        task = pool.submit(1)
        await task
        assert runs(task) == [("a", 102)]
        assert worker.log == ["start", "check 100", "stop", "start"]
        [snapshot] = pool.snapshot().workers
        assert (snapshot.failed, snapshot.state) == (0, WorkerState.IDLE)


async def test_meanwhile_the_task_goes_to_another_that_is_free() -> None:
    """One that has worked of late; and what waits for it longest goes first."""
    a, b = Checking("a", seconds=5.0), Checking("b")
    async with Pool([a, b], debug=True) as pool:
        await asyncio.sleep(25)
        await pool.submit(0, worker="b")
        await asyncio.sleep(25)
        task = pool.submit(1)
        await task
        assert runs(task) == [("b", 50)]
        assert (a.log, b.log) == (["start", "check 50"], ["start"])
        await asyncio.sleep(10)
        assert [record.state for record in pool.snapshot().workers] == [WorkerState.IDLE] * 2


@pytest.mark.parametrize(("until", "ends"), [(0, 104), (112, 113)])
async def test_a_check_that_hangs_is_given_up(until: float, ends: float) -> None:
    """After `check_timeout` the resource is opened anew. If the check ignores that, it is stuck."""

    class Hanging(Checking):
        async def check(self) -> bool:
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    if now() >= until:
                        return True  # too late to count

    worker = Hanging("a")
    async with Pool([worker], check_timeout=4, stop_grace=3, debug=True) as pool:
        await asyncio.sleep(100)
        task = pool.submit(1)
        await asyncio.sleep(10)
        stuck = pool.snapshot().workers[0].state is WorkerState.STUCK
        assert stuck is (ends > 110)
        await task
        assert worker.log == ["start", "stop", "start"]
        assert runs(task) == [("a", ends)]


async def test_time_limits_run_on_and_quota_is_not_used() -> None:
    """A task that waits for a check waits like any other."""
    worker = Checking("a", seconds=9.0, quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        await asyncio.sleep(100)
        with pytest.raises(QueueTimeout, match="resetting"):
            await pool.submit(1, queue_timeout=0)
        with pytest.raises(QueueTimeout):
            await pool.submit(2, queue_timeout=3)
        with pytest.raises(TaskTimeout):
            await pool.submit(3, timeout=2)
        assert now() == 105
        assert pool.snapshot().workers[0].quota_left == {"requests": 1}
        await pool.submit(4)
        assert worker.starts == [109]
    assert worker.log == ["start", "check 100", "stop"]


async def test_a_queue_of_zero_is_full_until_the_check_is_over() -> None:
    """Who waits for room has the worker then."""
    async with Pool([Checking("a", seconds=2.0)], max_queue=0, debug=True) as pool:
        await asyncio.sleep(100)
        with pytest.raises(QueueFull):
            pool.submit(1)
        assert runs(await pool.enqueue(2)) == []
        assert now() == 102


async def test_giving_up_ends_the_wait_for_workers_whose_checks_fail() -> None:
    """No attempt after the caller's timeout. Origin: psycopg/psycopg#1401."""

    async def fail(data: object) -> None:
        await asyncio.sleep(0.1)
        raise ValueError

    workers = [Checking(does=fail, fit=False, seconds=0.2) for _ in range(2)]
    policy = RetryPolicy.fixed(0, attempts=1000)
    async with Pool(workers, retry=policy, bounce=True, check_idle=0.05, debug=True) as pool:
        await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.submit(1), 1)
        assert now() == 11
        await asyncio.sleep(10)
    starts = [start for worker in workers for start in worker.starts]
    assert starts
    assert max(starts) <= 11
    assert max(len(worker.log) for worker in workers) < 20


async def test_an_operator_is_obeyed_after_the_check() -> None:
    """A pause, a removal, a close."""
    a, b = (Checking(name, seconds=5.0) for name in "ab")
    async with Pool([a, b], debug=True) as pool:
        await asyncio.sleep(100)
        waiting = [pool.submit(n, worker=name) for n, name in enumerate("ab")]
        pool.pause("a", until=20)
        removal = asyncio.create_task(pool.remove("b"))
        await waiting[0]
        assert now() == 120
        await removal
        assert not await waiting[1].wait(0) or waiting[1].error() is not None
    assert a.log == ["start", "check 100", "pause", "resume", "stop"]
    assert b.log == ["start", "check 100", "remove", "stop"]


async def test_a_worker_that_says_nothing_of_its_resource_is_not_asked() -> None:
    """It starts at once, however long it has rested."""
    async with Pool([Probe("a")], debug=True) as pool:
        await asyncio.sleep(1000)
        task = pool.submit(1)
        await task
        assert runs(task) == [("a", 1000)]


async def test_workers_from_a_factory_are_asked_as_well() -> None:
    """Nobody is made in the place of one that looks at its resource."""
    made: list[Checking] = []

    def factory() -> Checking:
        made.append(Checking(seconds=2.0))
        return made[-1]

    async with Pool(factory=factory, max_workers=3, idle_timeout=1000, debug=True) as pool:
        await asyncio.sleep(100)
        await pool.submit(1)
        assert [worker.starts for worker in made] == [[102]]


async def test_workers_of_groups_are_asked_as_well() -> None:
    """The pool of groups passes the question on."""
    made: list[Checking] = []

    def factory() -> Checking:
        made.append(Checking(seconds=2.0))
        return made[-1]

    pool: Pool[Any, Any] = Pool()
    async with pool, BlockingPool(pool, factory, max_workers=1) as groups:
        await groups.submit("g", 1)
        assert made[0].starts == [0]
        await asyncio.sleep(100)
        await groups.submit("g", 2)
        assert made[0].starts == [0, 102]


@pytest.mark.parametrize("value", [0, -1, None, "5", True, float("nan")])
def test_a_rest_must_be_some_time(value: Any) -> None:
    """Else a worker would be asked again and again."""
    with pytest.raises((TypeError, ValueError), match="check_idle"):
        Pool(check_idle=value)


def test_a_plain_check_is_refused() -> None:
    """It is awaited."""

    class Plain(Worker[int, int]):
        async def run(self, data: int, /) -> int:
            return data

        def check(self) -> bool:  # type: ignore[override]
            return True

    with pytest.raises(TypeError, match=r"Plain\.check must be `async def`"):
        Pool([Plain()])
