"""Hooks, pauses, removals and crashes of workers: T20, T33 to T36, T40, T41."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from retrypool_async import (
    AttemptEnded,
    EndReason,
    FailureAction,
    Hooks,
    NoWorkers,
    Pool,
    QueueTimeout,
    RetryPolicy,
    WorkerRef,
    current_task,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, now, takes
from tests.seed.modes import BOTH_MODES

ONE = RetryPolicy.fixed(0, attempts=1)


async def test_hooks_are_called_once_each_and_the_number_is_there_before_them() -> None:
    """T20: pause, resume and remove worker 0."""
    numbers: list[list[WorkerRef]] = []

    class Dynamic(Probe):
        async def on_start(self) -> None:
            await super().on_start()
            numbers.append(pool.workers())

    worker = Dynamic("w")
    pool = Pool([worker], debug=True)
    async with pool:
        pool.pause(0)
        await pool.paused(0)
        pool.resume(0)
        await settle()
        await pool.remove(0)
        assert pool.workers() == []
    assert numbers == [[WorkerRef(0, "w")]]
    assert worker.log == ["start", "pause", "resume", "remove", "stop"]


@BOTH_MODES
async def test_no_task_is_lost_or_blamed_while_workers_come_and_go(concurrency: int | None) -> None:
    """T33, T34: 20 tasks of 10 ms, during which one worker is paused and the other removed."""
    w1, w2 = Probe("w1", does=takes(0.010)), Probe("w2", does=takes(0.010))
    pool = Pool(
        [w1, w2],
        retry=RetryPolicy.fixed(0.001, attempts=3),
        hooks=Hooks(on_failure=lambda failed: FailureAction.RETRY),
        concurrency=concurrency,
        debug=True,
    )
    async with pool:
        tasks = [pool.submit(n) for n in range(10)]
        pool.pause(0)
        await pool.paused(0)
        tasks += [pool.submit(n) for n in range(10, 20)]
        pool.resume(0)
        await asyncio.sleep(0.015)
        await pool.remove(1)
        await pool.join()
        assert [await task for task in tasks] == list(range(20))
        assert [task.attempt_count for task in tasks] == [1] * 20
        assert len(pool.dead) == 0
    assert len(w1.starts) + len(w2.starts) == 20
    assert w1.starts
    assert w2.starts
    assert w1.log == ["start", "pause", "resume", "stop"]
    assert w2.log == ["start", "remove", "stop"]


async def test_tasks_outlast_the_pause_of_every_worker() -> None:
    """T35: they die in Go. A paused worker may come back, so here they wait for it."""
    worker = Probe("w")
    pool = Pool([worker], retry=ONE, dead_limit=100, no_workers="dead", debug=True)
    async with pool:
        pool.pause(0)
        tasks = [pool.submit(n) for n in range(5)]
        await asyncio.sleep(0.1)
        assert worker.starts == []
        pool.resume(0)
        await pool.join()
        assert [await task for task in tasks] == list(range(5))
        assert len(pool.dead) == 0
    assert worker.starts == [0.1] * 5


async def test_tasks_without_any_worker_die_where_the_pool_says_so() -> None:
    """T36: submit takes them, and awaiting tells."""
    worker = Probe("w")
    pool = Pool([worker], retry=ONE, dead_limit=100, no_workers="dead", debug=True)
    async with pool:
        await pool.remove(0)
        tasks = [pool.submit(n) for n in range(5)]
        for task in tasks:
            with pytest.raises(NoWorkers):
                await task
        assert [dead.data for dead in pool.dead] == list(range(5))
        assert pool.dead.reasons() == {EndReason.NO_WORKERS: 5}
        assert pool.snapshot().submitted == 5
    assert worker.starts == []


@pytest.mark.parametrize(
    ("attempts", "crashes", "concurrency", "dead", "succeeded"),
    [
        pytest.param(2, {1: [1]}, None, 0, 1, id="A"),
        pytest.param(3, {1: [1, 2, 3]}, None, 1, 0, id="B"),
        pytest.param(3, {1: [1, 2], 2: [1, 2, 3]}, 1, 1, 1, id="C"),
        pytest.param(1, {1: [1]}, None, 1, 0, id="D"),
    ],
)
async def test_a_crash_in_a_worker_is_a_failed_attempt(
    attempts: int,
    crashes: dict[int, list[int]],
    concurrency: int | None,
    dead: int,
    succeeded: int,
) -> None:
    """T40: counted, retried after 50 ms, and reported with a traceback into the worker's code."""
    reports: dict[int, list[str]] = {task: [] for task in crashes}
    runs: Counter[int] = Counter()

    def crash_when_told(data: int) -> None:
        runs[data] += 1
        if current_task().attempt in crashes[data]:
            raise RuntimeError(f"crash {runs[data]} of task {data}")

    def report(ended: AttemptEnded) -> None:
        if ended.attempt.error is not None:
            reports[ended.task.data].append(ended.attempt.traceback)

    pool = Pool(
        [Probe("w", does=crash_when_told)],
        retry=RetryPolicy.fixed(0.050, attempts=attempts),
        hooks=Hooks(on_attempt=report),
        concurrency=concurrency,
        debug=True,
    )
    async with pool:
        for data in crashes:
            pool.submit(data)
        await pool.join()
        snapshot = pool.snapshot()
        assert (snapshot.dead, snapshot.succeeded) == (dead, succeeded)
    assert now() == pytest.approx(0.050 * (max(runs.values()) - 1))
    for data, listed in crashes.items():
        assert runs[data] == min(len(listed) + 1, attempts)
        assert len(reports[data]) == min(len(listed), attempts)
        for number, text in enumerate(reports[data], start=1):
            assert f"RuntimeError: crash {number} of task {data}" in text
            assert "in crash_when_told" in text
            assert __file__ in text


@BOTH_MODES
async def test_a_pause_holds_tasks_back_and_loses_none(concurrency: int | None) -> None:
    """T41: 40 tasks of 10 ms, a third of them submitted during a pause of 200 ms.

    In Go these are refused, and what was queued before dies.
    """
    worker = Probe("w", does=takes(0.010))
    async with Pool([worker], concurrency=concurrency, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(20)]
        await asyncio.sleep(0.1)
        before = pool.snapshot().succeeded
        pool.pause(0)
        tasks += [pool.submit(n) for n in range(20, 30)]
        with pytest.raises(QueueTimeout) as refusal:
            await pool.submit(30, queue_timeout=0)  # for a caller that will not wait
        assert refusal.value.reason == "paused"
        await asyncio.sleep(0.2)
        assert pool.snapshot().succeeded == before + 1
        pool.resume(0)
        tasks += [pool.submit(n) for n in range(30, 40)]
        await asyncio.sleep(0.3)
        assert [await task for task in tasks] == list(range(40))
    assert before == 10
    assert len(worker.starts) == 40
    assert worker.starts == sorted(worker.starts)
