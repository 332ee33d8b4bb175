"""Faults of watching: callbacks, snapshots, metadata."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from retrypool_async import Hooks, Pool, TaskHandle, TaskMoved, TaskState
from retrypool_async.testing import ScriptedWorker, settle
from tests.pool.probe import Probe, in_turn, now


async def test_a_condition_that_raises_ends_the_wait_and_nothing_else() -> None:
    """F-47: whoever waits hears of it; the pool works on."""
    async with Pool([Probe("w")], debug=True) as pool:

        def wrong(snapshot: object) -> bool:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await pool.wait_until(wrong)
        assert await pool.submit(1) == 1


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_worker_said_to_be_free_takes_the_next_task_at_once(kind: str) -> None:
    """F-47b: also when it is asked for inside the callback of the task before."""
    followers: list[TaskHandle[Any]] = []

    def follow(moved: TaskMoved) -> None:
        if moved.task.data == "first":
            [free] = pool.free_workers()
            followers.append(pool.submit("next", worker=free, queue_timeout=0))

    async def follow_later(moved: TaskMoved) -> None:
        follow(moved)
        await asyncio.sleep(1)

    worker = ScriptedWorker([(1, "ok")], name="w")
    hooks = Hooks(on_success=follow if kind == "plain" else follow_later)
    async with Pool([worker], hooks=hooks, debug=True) as pool:
        await pool.submit("first")
        await settle()
        assert pool.free_workers() == []
        assert await followers[0] == "ok"
    assert [(call.data, call.started) for call in worker.calls] == [("first", 0), ("next", 1)]
    assert worker.overlaps == 0


@pytest.mark.parametrize("name", [*(n for n in Hooks.NAMES if n != "on_failure"), "on_done"])
async def test_an_error_outside_of_attempts_is_reported(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """F-49: to the log, with the hook's name and its traceback."""

    def broken(record: object) -> None:
        raise ZeroDivisionError

    worker = Probe("w", does=in_turn("ok", ValueError()))
    hooks = Hooks() if name == "on_done" else Hooks(**{name: broken})
    async with Pool([worker], hooks=hooks, debug=True) as pool:
        for n in range(2):
            await pool.submit(n, on_done=broken if name == "on_done" else None).wait()
    assert f"{name} raised" in caplog.messages
    assert "in broken\n    raise ZeroDivisionError" in caplog.text


async def test_metadata_is_nobody_elses() -> None:
    """F-59: neither the pool's, nor the submitter's, nor another task's, nor a snapshot's."""
    of_pool, of_submit = {"a": 1}, {"b": 2}
    async with Pool([Probe("w")], metadata=of_pool, debug=True) as pool:
        pool.pause()
        one, two = pool.submit(1, metadata=of_submit), pool.submit(2, metadata=of_submit)
        one.metadata["a"] = of_pool["a"] = of_submit["b"] = 99
        assert (one.metadata, two.metadata) == ({"a": 99, "b": 2}, {"a": 1, "b": 2})
        pool.resume()
        assert pool.submit(3).metadata == {"a": 1}


async def test_watching_needs_no_loop_to_be_started_or_stopped() -> None:
    """F-56: a snapshot is of this moment; a subscription ends with its reader, or with the pool."""
    before = asyncio.all_tasks()
    pool = Pool([Probe("w")], debug=True)
    async with pool:
        streams = [pool.events() for _ in range(3)]
        for stream in streams[:2]:
            await stream.aclose()
            await stream.aclose()
        task = pool.submit(1)
        assert pool.snapshot().tasks[TaskState.RESERVED] == 1
        await task
        assert pool.snapshot().succeeded == 1
    assert asyncio.all_tasks() == before
    assert [event async for event in streams[2]]
    assert [event async for event in streams[0]] == []
    assert now() == 0
