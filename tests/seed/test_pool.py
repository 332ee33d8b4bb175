"""Submitting and spreading: T01 to T06, T15, and what an attempt inherits, T37."""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from typing import Any

import pytest

from retrypool_async import AttemptOutcome, Pool, RoundRobin, TaskHandle, current_task
from retrypool_async.testing import ScriptedWorker, settle
from tests.pool.probe import Probe, now, takes
from tests.seed.modes import BOTH_MODES


def worker_id(task: TaskHandle[Any]) -> int:
    assert task.worker is not None
    return task.worker.id


@BOTH_MODES
async def test_a_submitted_task_runs_once(concurrency: int | None) -> None:
    """T01: a task of 1 ms, and a look at the pool every second until it is idle."""
    worker = ScriptedWorker([(0.001, "done")])
    async with Pool([worker], concurrency=concurrency, debug=True) as pool:
        task = pool.submit(1)
        await pool.wait_until(lambda snapshot: snapshot.succeeded == 1, interval=1)
        assert now() == 1
        assert task.result() == "done"
    assert [(call.data, call.started, call.ended) for call in worker.calls] == [(1, 0, 0.001)]


@pytest.mark.parametrize(
    ("count", "seconds", "concurrency"),
    [
        pytest.param(3, 0, 1, id="T02-synchronous"),
        pytest.param(3, 0, None, id="T02-asynchronous"),
        pytest.param(10, 0.005, 1, id="T03-synchronous"),
    ],
)
async def test_round_robin_is_exact(count: int, seconds: float, concurrency: int | None) -> None:
    """T02, T03: of 100 tasks in a burst, the i-th runs on worker i mod n."""
    workers = [Probe(f"w{n}", does=takes(seconds)) for n in range(count)]
    pool = Pool(workers, strategy=RoundRobin(), concurrency=concurrency, debug=True)
    async with pool:
        tasks = [pool.submit(n) for n in range(100)]
        await pool.join()
        assert [worker_id(task) for task in tasks] == [n % count for n in range(100)]
    assert now() == pytest.approx(100 * seconds)


async def test_round_robin_goes_round_although_all_end_at_once() -> None:
    """T03: of timers due at one moment any may fire first; no worker is left out of a round."""
    workers = [Probe(f"w{n}", does=takes(0.005)) for n in range(10)]
    async with Pool(workers, strategy=RoundRobin(), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(100)]
        await pool.join()
        ids = [worker_id(task) for task in tasks]
        assert ids[:10] == list(range(10))
        rounds = [ids[first : first + 10] for first in range(0, 100, 10)]
        assert [sorted(each) for each in rounds] == [list(range(10))] * 10
    assert now() == pytest.approx(0.05)


async def test_a_worker_with_a_task_is_not_free() -> None:
    """T04: exactly one of three is left while two tasks of 100 ms run."""
    workers = [Probe(f"w{n}", does=takes(0.1)) for n in range(3)]
    async with Pool(workers, strategy=RoundRobin(), debug=True) as pool:
        assert pool.free_workers() == pool.workers()
        pool.submit(1)
        pool.submit(2)
        await asyncio.sleep(0.05)
        assert pool.free_workers() == [pool.workers()[2]]


async def test_a_task_can_be_submitted_to_a_free_worker_only() -> None:
    """T05: two of three workers block for good, the free one takes the task at once."""
    signals: asyncio.Queue[int] = asyncio.Queue()

    async def blocks(data: int) -> None:
        signals.put_nowait(data)
        await asyncio.Event().wait()

    workers = [Probe("w0", does=blocks), Probe("w1", does=signals.put_nowait)]
    workers.append(Probe("w2", does=blocks))
    async with Pool(workers, strategy=RoundRobin(), debug=True) as pool:

        async def caller(data: int) -> None:
            pool.submit(data)

        await asyncio.gather(*(caller(n) for n in range(3)))
        await asyncio.sleep(0.01)
        assert sorted(signals.get_nowait() for _ in range(3)) == [0, 1, 2]
        assert pool.free_workers() == [pool.workers()[1]]
        task = pool.submit(5, queue_timeout=0)
        await task
        assert worker_id(task) == 1
        await pool.close("cancel")


async def test_a_caller_that_never_pauses_loses_nothing() -> None:
    """T06: 100,000 tasks that raise a counter; the totals of the snapshot are true."""
    counter = 0

    def raise_counter(data: int) -> None:
        nonlocal counter
        counter += 1

    workers = [Probe(does=raise_counter) for _ in range(2 * (os.cpu_count() or 1))]
    async with Pool(workers) as pool:
        for n in range(100_000):
            await pool.enqueue(n)
        await pool.join()
        snapshot = pool.snapshot()
    assert counter == snapshot.submitted == snapshot.succeeded == 100_000
    assert sum(worker.served for worker in snapshot.workers) == 100_000


@pytest.mark.parametrize(
    ("count", "tasks", "batch", "pause"),
    [(4, 100, 10, 0.0), (2, 50, 1, 0.0), (3, 30, 5, 0.010)],
)
async def test_many_callers_submit_at_once(
    count: int, tasks: int, batch: int, pause: float
) -> None:
    """T15: every task is done once, no worker has two, and none idles while work waits."""

    async def work(data: int) -> None:
        await asyncio.sleep(0.050 + data % 50 / 1000)

    workers = [ScriptedWorker([work]) for _ in range(count)]
    async with Pool(workers, debug=True) as pool:

        async def caller(first: int) -> None:
            for data in range(first, first + batch):
                await asyncio.sleep(pause)
                pool.submit(data)

        await asyncio.gather(*(caller(first) for first in range(0, tasks, batch)))
        await pool.join()
        assert len(pool.workers()) == count
        assert (pool.snapshot().succeeded, len(pool.dead)) == (tasks, 0)
    done = sorted(call.data for worker in workers for call in worker.calls)
    assert done == list(range(tasks))
    assert [worker.overlaps for worker in workers] == [0] * count
    ends = [worker.calls[-1].ended or 0 for worker in workers]
    assert max(ends) - min(ends) <= 0.099  # the longest task


# -- T37: what an attempt inherits from its submitter ----------------------------------------------

key1: ContextVar[str] = ContextVar("key1", default="")
key2: ContextVar[str] = ContextVar("key2", default="")


class Witness(ScriptedWorker):
    """Takes 100 ms, and notes the context it finds and what becomes of it."""

    def __init__(self) -> None:
        super().__init__([self.look])
        self.values: tuple[str, str] = ("", "")
        self.left_before: float | None = None
        self.left_after: float | None = None

    async def look(self, data: object) -> None:
        self.values = key1.get(), key2.get()
        self.left_before = current_task().remaining()
        await asyncio.sleep(0.1)
        self.left_after = current_task().remaining()


async def test_the_submitters_values_reach_the_attempt() -> None:
    """T37, values: two context variables."""
    key1.set("value1")
    key2.set("value2")
    worker = Witness()
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1)
    assert worker.values == ("value1", "value2")


async def test_the_deadline_reaches_the_attempt() -> None:
    """T37, deadline and combined: 200 ms, half of which are left at the end of the attempt."""
    key1.set("value1")
    worker = Witness()
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1, timeout=0.2)
    assert worker.values == ("value1", "")
    assert (worker.left_before, worker.left_after) == (0.2, 0.1)


async def test_the_cancellation_of_the_pools_owner_reaches_the_attempt() -> None:
    """T37, cancellation: of the code around `async with`, once the attempt has begun."""
    worker = Witness()
    tasks: list[TaskHandle[Any]] = []

    async def owner() -> None:
        async with Pool([worker], debug=True) as pool:
            tasks.append(pool.submit(1))
            await asyncio.Event().wait()

    owning = asyncio.create_task(owner())
    await settle()
    assert len(worker.calls) == 1
    owning.cancel()
    await asyncio.wait([owning])
    assert now() == 0
    assert isinstance(worker.calls[0].outcome, asyncio.CancelledError)
    assert tasks[0].attempts[0].outcome is AttemptOutcome.SHUTDOWN


async def test_the_cancellation_of_a_caller_reaches_the_attempt() -> None:
    """T37, cancellation and combined: by the deadline of whoever awaits the task."""
    key1.set("value1")
    worker = Witness()
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.submit(1)
        await settle()
    assert worker.values == ("value1", "")
    assert worker.calls[0].ended == 0.05
    assert isinstance(worker.calls[0].outcome, asyncio.CancelledError)
