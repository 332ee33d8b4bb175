"""Hooks, events and snapshots: they see everything, disturb nothing, and tell no secrets."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import pytest

from retrypool_async import (
    AttemptEnded,
    DeadTask,
    EndReason,
    Hooks,
    Pool,
    QueueFull,
    RetryPolicy,
    TaskMoved,
    TaskState,
    WorkerMoved,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)
SECRET = "sk-SECRET-123"


async def test_each_hook_is_called_once_per_event_in_the_submitters_context() -> None:
    """Sync or async, with one record."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: list[Any] = []

    async def died(dead: DeadTask) -> None:
        await asyncio.sleep(1)
        seen.append(("dead", dead.id, request.get()))

    def attempted(ended: AttemptEnded) -> None:
        seen.append((ended.attempt.outcome.name, ended.task.id, request.get()))

    hooks = Hooks(
        on_attempt=attempted,
        on_dead=died,
        on_success=lambda moved: seen.append(("success", moved.task.id, request.get())),
    )
    worker = Probe(does=in_turn("ok", ValueError()))
    async with Pool([worker], hooks=hooks, retry=ONE, debug=True) as pool:
        request.set("mine")
        await pool.submit(1)
        await pool.submit(2).wait()
    assert seen == [
        ("OK", 1, "mine"),
        ("success", 1, "mine"),
        ("ERROR", 2, "mine"),
        ("dead", 2, "mine"),
    ]


@pytest.mark.parametrize("kind", ["raises", "hangs"])
async def test_a_bad_hook_changes_nothing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and cut off."""

    async def hangs(record: object) -> None:
        await asyncio.sleep(1000)

    def raises(record: object) -> None:
        raise ZeroDivisionError

    bad = hangs if kind == "hangs" else raises
    hooks = Hooks(**{name: bad for name in Hooks.NAMES if name != "on_failure"})
    async with Pool([Probe()], hooks=hooks, hook_timeout=3, debug=True) as pool:
        assert await pool.submit(1, on_queued=bad, on_running=bad, on_done=bad) == 1
        assert now() == 0
    assert now() <= 3
    assert caplog.records


async def test_hooks_are_replaced_live() -> None:
    """From the next event on."""
    seen: list[int] = []
    async with Pool([Probe()], debug=True) as pool:
        await pool.submit(1)
        pool.hooks.on_success = lambda moved: seen.append(moved.task.id)
        await pool.submit(2)
        pool.hooks.on_success = None
        await pool.submit(3)
    assert seen == [2]


async def test_callbacks_of_a_task_are_called_with_its_handle() -> None:
    """Also one that is added when it has ended."""
    seen: list[str] = []
    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        task = pool.submit(
            1,
            on_queued=lambda t: seen.append(f"queued {t.id}"),
            on_running=lambda t: seen.append(f"running {t.id}"),
            on_done=lambda t: seen.append(f"done {t.result()}"),
        )
        await task
        task.add_done_callback(lambda t: seen.append("late"))
        await asyncio.sleep(0.1)
    assert seen == ["queued 1", "running 1", "done 1", "late"]


async def test_events_tell_every_move_in_order_and_end_with_the_pool() -> None:
    """From the subscription on."""
    async with Pool([Probe("w", does=in_turn(ValueError(), "ok"))], debug=True) as pool:
        pool.retry = RetryPolicy.fixed(5)
        events = pool.events()
        task = pool.submit(1)
        await task
    told = [event async for event in events]
    moves = [event for event in told if isinstance(event, TaskMoved)]
    assert [(move.old, move.new, move.at, move.reason, move.worker) for move in moves] == [
        (move.old, move.new, move.at, move.reason, move.worker) for move in task.history
    ]
    assert [event.at for event in told] == sorted(event.at for event in told)
    assert any(isinstance(event, WorkerMoved) for event in told)


async def test_a_slow_reader_loses_the_oldest_events_and_is_told_how_many() -> None:
    """The pool never waits for it."""
    async with Pool([Probe()], max_queue=None) as pool:
        events = pool.events()
        for n in range(3000):
            await pool.submit(n)
        assert events.dropped > 0
        await events.aclose()
        assert await pool.submit(1) == 1


async def test_a_snapshot_is_coherent_and_changes_nothing() -> None:
    """Its counts add up at any moment."""
    worker = Probe("w", does=takes(10))
    async with Pool([worker, Probe("p", does=takes(10))], debug=True) as pool:
        pool.pause("p", reason="captcha")
        for n in range(5):
            pool.submit(n)
        await asyncio.sleep(4)
        first, second = pool.snapshot(), pool.snapshot()
        assert first == second
        assert sum(first.tasks.values()) == first.submitted == 5
        assert first.tasks[TaskState.RUNNING] == 1
        assert first.oldest_wait == 4
        assert [w.pause_reason for w in first.workers] == [None, "captcha"]
        await pool.close("cancel")


async def test_dead_tasks_keep_their_ids_and_their_count() -> None:
    """Newest kept, all counted, each can be tried again."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=ONE, dead_limit=3, max_queue=1, debug=True) as pool:
        for n in range(5):
            await pool.submit(n).wait()
        assert [dead.data for dead in pool.dead] == [2, 3, 4]
        assert (len(pool.dead), pool.dead.total, pool.dead.evicted) == (3, 5, 2)
        assert pool.dead.reasons() == {EndReason.ATTEMPTS: 3}
        assert pool.dead.pull(4).data == 3
        assert 4 not in pool.dead
        worker.does = takes(1)
        again = pool.dead.requeue(3)
        assert (again.origin, again.data) == (3, 2)
        assert await again == 2
        blocked = [pool.submit(0), pool.submit(1)]
        with pytest.raises(QueueFull):
            pool.dead.requeue(5)
        assert 5 in pool.dead
        for task in blocked:
            await task
        assert [dead.id for dead in pool.dead.pull_all()] == [5]


async def test_secrets_stay_out_of_logs_and_representations(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the errors, the data and the hooks say."""

    def leaky(record: object) -> None:
        raise RuntimeError(f"hook saw {SECRET}")

    shown: list[str] = []
    hooks = Hooks(
        on_event=lambda event: shown.append(repr(event)),
        on_attempt=lambda ended: shown.append(repr(ended)),
        on_dead=leaky,
        on_failure=lambda failed: shown.append(repr(failed)),  # type: ignore[func-returns-value]
    )
    worker = Probe("key-1", does=fails(ValueError(f"bad key {SECRET}")))
    with caplog.at_level(logging.DEBUG, "retrypool_async"):
        pool = Pool([worker], hooks=hooks, secrets=[SECRET], retry=RetryPolicy.fixed(1))
        async with pool:
            task = pool.submit(SECRET, metadata={"key": SECRET}, timeout=60)
            await task.wait()
            running = pool.submit(SECRET)
            [dead] = pool.dead
            shown += map(repr, (pool, task, running, dead, pool.dead, pool.snapshot(), pool.retry))
            shown += map(repr, (*task.attempts, *task.history))
            shown += [attempt.traceback for attempt in task.attempts]
            report = await pool.close("cancel")
            shown += [repr(report), repr(running.error())]
    assert "ValueError" in "".join(shown)
    assert SECRET not in "".join(shown)
    formatter = logging.Formatter("%(message)s")
    logged = "".join(formatter.format(record) for record in caplog.records)
    assert "RuntimeError" in logged
    assert SECRET not in logged
