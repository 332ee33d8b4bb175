"""Hooks and subscriptions: what they are told, and that they cannot disturb."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from retrypool_async import (
    AttemptFailed,
    DeadTask,
    EndReason,
    FailureAction,
    Hooks,
    Pool,
    PoolClosed,
    RetryPolicy,
    TaskHandle,
    TaskMoved,
    TaskState,
)
from retrypool_async._hooks import BACKLOG, Subscription
from tests.pool.probe import Probe, fails, in_turn, now

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")
ONE = RetryPolicy.fixed(0, attempts=1)


@pytest.mark.parametrize("is_async", [False, True])
async def test_each_hook_is_called_once_in_the_submitters_context(is_async: bool) -> None:
    """With the record of what happened."""
    seen: list[tuple[str, Any, str]] = []

    def hook(name: str) -> Any:
        async def later(record: Any) -> None:
            seen.append((name, record, VAR.get()))

        def at_once(record: Any) -> None:
            seen.append((name, record, VAR.get()))

        return later if is_async else at_once

    hooks = Hooks(**{n: hook(n) for n in ("on_attempt", "on_success", "on_dead")})
    worker = Probe(does=in_turn(ValueError(), "ok", KeyError(), KeyError()))
    async with Pool([worker], hooks=hooks, retry=RetryPolicy.fixed(0, attempts=2)) as pool:
        VAR.set("mine")
        good, bad = pool.submit(1), None
        assert await good == "ok"
        bad = pool.submit(2)
        await bad.wait()
        await asyncio.sleep(1)
        attempts = [(r.task, r.attempt.number) for n, r, _ in seen if n == "on_attempt"]
        assert attempts == [(good, 1), (good, 2), (bad, 1), (bad, 2)]
        [moved] = [r for n, r, _ in seen if n == "on_success"]
        assert isinstance(moved, TaskMoved)
        assert (moved.task, moved.new) == (good, TaskState.SUCCEEDED)
        [dead] = [r for n, r, _ in seen if n == "on_dead"]
        assert isinstance(dead, DeadTask)
        assert dead.id == bad.id
        assert {var for _, _, var in seen} == {"mine"}


async def test_a_hanging_hook_is_cut_off_and_delays_no_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After `hook_timeout`."""
    ends: list[float] = []

    async def hang(record: object) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ends.append(now())

    async with Pool([Probe()], hooks=Hooks(on_success=hang), hook_timeout=3) as pool:
        assert await pool.submit(1) == 1
        assert now() == 0
    assert ends == [3]
    assert "on_success did not end within hook_timeout" in caplog.text


@pytest.mark.parametrize(
    ("action", "state", "reason", "runs"),
    [
        (FailureAction.RETRY, TaskState.DEAD, EndReason.ATTEMPTS, 2),
        (FailureAction.DROP, TaskState.DROPPED, EndReason.DROPPED, 1),
        (FailureAction.DEAD, TaskState.DEAD, EndReason.KILLED, 1),
        (None, TaskState.DEAD, EndReason.ATTEMPTS, 2),
        ("rubbish", TaskState.DEAD, EndReason.ATTEMPTS, 2),
    ],
)
async def test_the_failure_hook_decides(
    action: Any, state: TaskState, reason: EndReason, runs: int
) -> None:
    """And may be replaced live."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=RetryPolicy.fixed(1, attempts=2)) as pool:
        pool.hooks.on_failure = lambda failed: action
        task = pool.submit(1)
        await task.wait()
        assert task.state is state
        assert [dead.reason for dead in pool.dead] == [reason] * (state is TaskState.DEAD)
        assert len(worker.starts) == runs


async def test_a_forced_retry_is_at_once_and_beyond_the_policy() -> None:
    """As often as the hook says so."""
    worker = Probe(does=in_turn(*[ValueError()] * 5, "ok"))
    hooks = Hooks(on_failure=lambda failed: FailureAction.FORCE_RETRY)
    async with Pool([worker], hooks=hooks, retry=RetryPolicy.fixed(9, attempts=1)) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0] * 6


async def test_an_async_object_cannot_decide() -> None:
    """No more than an async function can."""

    class Decides:
        async def __call__(self, failed: object) -> None: ...

    with pytest.raises(TypeError, match="on_failure"):
        Hooks(on_failure=Decides())  # type: ignore[arg-type]


async def test_a_tasks_own_callbacks_are_called_with_its_handle() -> None:
    """When it is accepted, on each start, and once at the end."""
    seen: list[str] = []
    worker = Probe(does=in_turn(ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(1)) as pool:
        task = pool.submit(
            1,
            on_queued=lambda t: seen.append(f"queued {t.id}"),
            on_running=lambda t: seen.append(f"running {t.id}"),
            on_done=lambda t: seen.append(f"done {t.id} {t.state.name}"),
        )
        assert await task.reached(TaskState.SCHEDULED)
        assert await task.reached(TaskState.SUCCEEDED)
        assert not await task.reached(TaskState.DEAD)
    assert seen[0] == "queued 1"
    assert [s for s in seen if s[0] != "q"] == ["running 1", "running 1", "done 1 SUCCEEDED"]


async def test_every_ending_is_announced_once() -> None:
    """Success, death, a drop, a cancellation, a time limit, the loss of all workers, the close."""
    seen: list[tuple[str, str]] = []

    def done(task: TaskHandle[Any]) -> None:
        seen.append((task.data, task.history[-1].reason))

    def work(data: str) -> Any:
        if data == "hangs":
            return asyncio.sleep(100)
        if data != "succeeds":
            raise ValueError
        return data

    def drop(failed: AttemptFailed) -> FailureAction | None:
        return FailureAction.DROP if failed.task.data == "drops" else None

    pool = Pool([Probe("w", does=work)], retry=ONE, hooks=Hooks(on_failure=drop), debug=True)
    async with pool:
        for data in ("succeeds", "dies", "drops"):
            await pool.submit(data, on_done=done).wait()
        running = pool.submit("hangs", on_done=done)
        for data in ("is cancelled", "waits too long", "loses its worker"):
            limit = 1 if data == "waits too long" else None
            waiting = pool.submit(data, on_done=done, queue_timeout=limit, worker="w")
            if data == "is cancelled":
                waiting.cancel()
        await asyncio.sleep(2)
        await pool.add(Probe("other", does=work))
        await pool.remove("w", force=True)
        await running.reached(TaskState.RUNNING)
        await pool.close("cancel")
    assert seen == [
        ("succeeds", "succeeded"),
        ("dies", "attempts used up"),
        ("drops", "dropped by the failure hook"),
        ("is cancelled", "cancelled by the caller"),
        ("waits too long", "queue timeout"),
        ("loses its worker", "no worker can take it"),
        ("hangs", "pool closed"),
    ]


async def test_events_come_in_order_and_end_with_the_pool() -> None:
    """A closed pool has no more to tell."""
    async with Pool([Probe()], debug=True) as pool:
        events = pool.events()
        await pool.submit(1)
    told = [event async for event in events]
    assert [e.at for e in told] == sorted(e.at for e in told)
    moves = [(e.old, e.new) for e in told if isinstance(e, TaskMoved)]
    assert [old for old, _ in moves[1:]] == [new for _, new in moves[:-1]]
    assert moves[-1][1] is TaskState.SUCCEEDED
    with pytest.raises(PoolClosed):
        pool.events()


async def test_a_slow_reader_loses_the_oldest() -> None:
    """And is told how many."""
    events = Subscription(lambda subscription: None)
    for n in range(BACKLOG + 7):
        events.push(n)  # type: ignore[arg-type]
    events.end()
    assert events.dropped == 7
    assert [event async for event in events] == list(range(7, BACKLOG + 7))
