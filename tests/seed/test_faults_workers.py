"""Faults around workers that come, go, pause and cling to what they had."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from retrypool_async import (
    EndReason,
    Hooks,
    NoWorkers,
    Pool,
    RoundRobin,
    TaskMoved,
    TaskState,
    WorkerState,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, now, takes


async def test_the_numbers_stay_true_while_workers_come_and_go() -> None:
    """F-13: five tasks, while workers are added, paused, resumed and removed."""
    async with Pool([Probe("w0", does=takes(10))], debug=True) as pool:

        def tasks() -> tuple[int, int]:
            counts = pool.snapshot().tasks
            return counts[TaskState.QUEUED], counts[TaskState.RUNNING]

        for n in range(5):
            pool.submit(n)
        await settle()
        assert tasks() == (4, 1)
        for n in (1, 2):
            await pool.add(Probe(f"w{n}", does=takes(10)))
            await settle()
            assert tasks() == (4 - n, 1 + n)
        pool.pause("w1")
        pool.resume("w1")
        assert tasks() == (2, 3)
        await pool.remove("w2", force=True)
        assert tasks() == (3, 2)
        await pool.join()
        assert tasks() == (0, 0)


async def test_a_worker_can_be_removed_at_work_where_one_runs_at_a_time() -> None:
    """F-23: the removal takes as long as the attempt, and the others go on."""
    workers = [Probe(f"w{n}", does=takes(3)) for n in range(2)]
    async with Pool(workers, concurrency=1, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(3)]
        await asyncio.sleep(1)
        await pool.remove("w0")
        assert now() == 3
        for task in tasks:
            await task
    assert [worker.starts for worker in workers] == [[0], [3, 6]]
    assert workers[0].log == ["start", "remove", "stop"]


@pytest.mark.parametrize("policy", ["raise", "dead"])
async def test_a_worker_that_is_leaving_is_not_counted_on(policy: Any) -> None:
    """F-29: while its last attempt runs and while its hook hangs, a submit hears the policy."""

    class Lingers(Probe):
        async def on_remove(self) -> None:
            await asyncio.sleep(5)

    async with Pool([Lingers("w", does=takes(5))], no_workers=policy, debug=True) as pool:
        pool.submit(0)
        await asyncio.sleep(1)
        removal = asyncio.create_task(pool.remove("w"))
        for moment in (1, 6):
            await asyncio.sleep(moment - now())
            await settle()
            if policy == "raise":
                with pytest.raises(NoWorkers):
                    pool.submit(1)
            else:
                with pytest.raises(NoWorkers):
                    await pool.submit(1)
            assert now() == moment
        await removal
        assert now() == 10
        dead = {EndReason.NO_WORKERS: 2} if policy == "dead" else {}
        assert pool.dead.reasons() == dead


async def test_what_an_abandoned_attempt_returns_reaches_no_other_task() -> None:
    """F-33: the old worker ends long after its task was done elsewhere; nobody is told twice."""

    async def deaf(data: object) -> object:
        while now() < 20:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(20 - now())
        return "late"

    told: list[tuple[int, object]] = []

    def note(moved: TaskMoved) -> None:
        told.append((moved.task.data, moved.task.result()))

    hooks = Hooks(on_success=note)
    async with Pool([Probe("old", does=deaf)], hooks=hooks, debug=True) as pool:
        first = pool.submit(1)
        await asyncio.sleep(1)
        await pool.add(Probe("new"))
        await pool.remove("old", force=True, timeout=1)
        assert await first == 1
        assert await pool.submit(2) == 2
        await asyncio.sleep(30)
        assert await pool.submit(3) == 3
        assert pool.snapshot().succeeded == 3
    assert told == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("end", ["cancelled owner", "close"])
async def test_paused_and_idle_workers_end_with_their_pool(end: str) -> None:
    """F-35: twenty pools of five workers, most of them with nothing to do, leave no task behind."""
    before = asyncio.all_tasks()
    workers: list[Probe] = []

    async def owner() -> None:
        mine = [Probe(f"w{n}") for n in range(5)]
        workers.extend(mine)
        async with Pool(mine, debug=True) as pool:
            await pool.submit(1)
            pool.pause("w1")
            pool.pause("w2")
            if end == "cancelled owner":
                await asyncio.Event().wait()

    owners = [asyncio.create_task(owner()) for _ in range(20)]
    await settle()
    for task in owners:
        task.cancel()
    await asyncio.wait(owners)
    assert asyncio.all_tasks() == before
    assert [worker.log.count("stop") for worker in workers] == [1] * 100


async def test_workers_are_listed_in_order_and_the_departed_not_at_all() -> None:
    """F-58, F-60i: by id; the free ones by how long they have been free."""
    async with Pool([Probe(f"w{n}") for n in range(5)], debug=True) as pool:
        for _ in range(50):
            await pool.add(Probe("guest"))
            await pool.remove("guest")
        ids = [ref.id for ref in pool.workers()]
        assert ids == [worker.id for worker in pool.snapshot().workers] == [0, 1, 2, 3, 4]
        for n in (3, 0):
            await pool.submit(n, worker=n)
        assert [ref.id for ref in pool.free_workers()] == [1, 2, 4, 3, 0]


async def test_each_worker_is_seen_at_its_own_work_where_one_runs_at_a_time() -> None:
    """F-57: one is busy, and the snapshot says which."""
    workers = [Probe(f"w{n}", does=takes(1)) for n in range(3)]
    async with Pool(workers, concurrency=1, strategy=RoundRobin(), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(3)]
        await asyncio.sleep(0.5)
        for n in range(3):
            seen = [(worker.state, worker.task) for worker in pool.snapshot().workers]
            expected: list[tuple[WorkerState, int | None]] = [(WorkerState.IDLE, None)] * 3
            expected[n] = (WorkerState.BUSY, tasks[n].id)
            assert seen == expected
            await asyncio.sleep(1)
