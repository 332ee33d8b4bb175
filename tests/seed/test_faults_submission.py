"""Faults of submitting, and of the line that tasks wait in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from retrypool_async import (
    CostTooLarge,
    EndReason,
    NoWorkers,
    Pool,
    PoolClosed,
    QueueFull,
    QueueTimeout,
    Quota,
    TaskState,
    Unroutable,
    Window,
    current_task,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, now, takes
from tests.seed.modes import BOTH_MODES


@BOTH_MODES
async def test_an_urgent_task_in_an_empty_line_upsets_no_later_one(concurrency: int | None) -> None:
    """F-08: an immediate retry finds nobody waiting; ordinary tasks come after it. Five times."""
    order: list[tuple[int, int]] = []

    async def fail_first(data: int) -> None:
        await asyncio.sleep(1)
        attempt = current_task().attempt
        order.append((data, attempt))
        if data % 2 == 0 and attempt == 1:
            raise ValueError

    async with Pool([Probe("w", does=fail_first)], concurrency=concurrency, debug=True) as pool:
        for n in range(0, 10, 2):
            urgent = pool.submit(n, immediate=True)
            await asyncio.sleep(1.5)
            await pool.submit(n + 1)
            assert urgent.done()
    assert order == [run for n in range(0, 10, 2) for run in ((n, 1), (n, 2), (n + 1, 1))]


@pytest.mark.parametrize("limit", [1024, None])
async def test_a_line_is_as_long_as_it_is_said_to_be(limit: int | None) -> None:
    """F-09: a full one refuses the next, and keeps no trace of it; without a limit it grows."""
    order: list[int] = []
    async with Pool([Probe("w", does=order.append)], max_queue=limit) as pool:
        first = pool.submit(0)  # goes to the worker, not into the line
        for n in range(1, 1025):
            pool.submit(n)
        if limit is None:
            pool.submit(1025)
        else:
            with pytest.raises(QueueFull):
                pool.submit(1025)
        await first
        await pool.join()
        pool.submit(1026)
    beyond = [1025] if limit is None else []
    assert order == [*range(1025), *beyond, 1026]


REFUSALS: list[tuple[type[Exception], dict[str, Any], dict[str, Any]]] = [
    (QueueFull, {"max_queue": 0}, {}),
    (NoWorkers, {}, {}),
    (Unroutable, {}, {"require": "gpu"}),
    (CostTooLarge, {}, {"cost": 2}),
    (ValueError, {}, {"timeout": -1}),
    (PoolClosed, {}, {}),
]


@pytest.mark.parametrize(("error", "settings", "options"), REFUSALS)
async def test_what_is_refused_is_not_counted(
    error: type[Exception], settings: dict[str, Any], options: dict[str, Any]
) -> None:
    """F-10: nobody waits for a task that the pool did not take."""
    quota = Quota(Window(1, per=1))
    async with Pool([Probe("w", quota=quota)], debug=True, **settings) as pool:
        if error is NoWorkers:
            await pool.remove("w")
        elif error is QueueFull:
            pool.pause()
        elif error is PoolClosed:
            pool.request_close()
        for _ in range(3):
            with pytest.raises(error):
                pool.submit(1, **options)
        await pool.join()
        snapshot = pool.snapshot()
        assert (snapshot.submitted, sum(snapshot.tasks.values())) == (0, 0)
    assert now() == 0


async def test_no_task_waits_for_a_busy_worker_beside_an_idle_one() -> None:
    """F-15: worker 0 is at work for 10 ms of 200; the next task starts at once on worker 1."""
    workers = [Probe(f"w{n}", does=takes(0.2)) for n in range(2)]
    async with Pool(workers, debug=True) as pool:
        pool.submit(0, worker=0)
        await asyncio.sleep(0.01)
        pool.submit(1)
    assert [worker.starts for worker in workers] == [[0], [0.01]]


async def test_only_a_retry_is_urgent_and_not_the_first_attempt() -> None:
    """F-19: tasks marked immediate are spread over the workers, and wait their turn."""
    workers = [Probe(f"w{n}", does=takes(1)) for n in range(3)]
    order: list[int] = []
    async with Pool(workers, debug=True) as pool:
        for n in range(9):
            pool.submit(n, immediate=n % 3 == 2, on_running=lambda task: order.append(task.data))
    assert [len(worker.starts) for worker in workers] == [3, 3, 3]
    assert order == list(range(9))


@pytest.mark.parametrize("obstacle", ["closed", "no quota", "pool quota", "no workers"])
async def test_asking_for_a_free_worker_goes_round_no_other_limit(obstacle: str) -> None:
    """F-20: it is one more wish of a submit, which refuses what any submit refuses."""
    quota = Quota(Window(1, per=60))
    worker = Probe("w", quota=quota if obstacle == "no quota" else None)
    shared = quota if obstacle == "pool quota" else None
    async with Pool([worker], quota=shared, metadata={"pool": "mine"}, debug=True) as pool:
        first = pool.submit(1, queue_timeout=0)
        assert await first == 1
        assert first.metadata == {"pool": "mine"}
        refusal: type[Exception] = QueueTimeout
        if obstacle == "closed":
            pool.request_close()
            refusal = PoolClosed
        elif obstacle == "no workers":
            await pool.remove("w")
            refusal = NoWorkers
        with pytest.raises(refusal):
            await pool.submit(2, queue_timeout=0)
    assert worker.starts == [0]


async def test_a_task_that_dies_for_want_of_workers_is_a_task_like_any_other() -> None:
    """F-30: with its options, its history and its place in the counts."""
    told: list[str] = []

    def note(what: str) -> Any:
        return lambda task: told.append(f"{what} {task.data}")

    async with Pool(no_workers="dead", metadata={"a": 1}, debug=True) as pool:
        task = pool.submit(
            "x", metadata={"b": 2}, on_queued=note("queued"), on_done=note("done"), priority=3
        )
        with pytest.raises(NoWorkers):
            await task
        await settle()
        dead = pool.dead[task.id]
        assert (dead.reason, dead.metadata) == (EndReason.NO_WORKERS, {"a": 1, "b": 2})
        assert [(move.old, move.new) for move in dead.history] == [
            (TaskState.CREATED, TaskState.PENDING),
            (TaskState.PENDING, TaskState.QUEUED),
            (TaskState.QUEUED, TaskState.DEAD),
        ]
        snapshot = pool.snapshot()
        assert (snapshot.submitted, snapshot.dead) == (1, 1)
        assert told == ["queued x", "done x"]
        await pool.add(Probe("late"))
        assert await pool.dead.requeue(task.id) == "x"


async def test_callers_may_stop_waiting_and_have_used_nothing_up() -> None:
    """F-43: neither one that gave up nor one that was refused has taken the permit of the next."""
    worker = Probe("w", quota=Quota(Window(1, per=10)))
    async with Pool([worker], max_queue=1, debug=True) as pool:
        await pool.submit(0)
        waiting = pool.submit(1)
        with pytest.raises(QueueFull):
            pool.submit(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await pool.enqueue(3)
        await waiting
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await pool.submit(4)
        await pool.submit(5)
    assert worker.starts == [0, 10, 20]
