"""What a caller can do with the handle of a task, and what it never does to others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest

from retrypool_async import (
    AttemptOutcome,
    Pool,
    Quota,
    RetryPolicy,
    TaskHandle,
    TaskState,
    Throttled,
    Window,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


async def test_a_handle_answers_like_a_future() -> None:
    """Before the end it says so; after it, it repeats the outcome as often as asked."""
    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        task = pool.submit(7)
        for ask in (task.result, task.exception, task.error):
            with pytest.raises(asyncio.InvalidStateError):
                ask()
        assert (task.done(), task.cancelled(), task.state) == (False, False, TaskState.RESERVED)
        assert [await task, await task, task.result()] == [7, 7, 7]
        assert (task.done(), task.exception(), task.error()) == (True, None, None)
        assert not task.cancel()


async def test_a_cancelled_handle_answers_like_a_cancelled_future() -> None:
    """`error` returns what `result` and `exception` raise."""
    async with Pool([Probe(does=takes(9))], debug=True) as pool:
        task = pool.submit(1)
        assert task.cancel()
        await task.wait()
        assert isinstance(task.error(), asyncio.CancelledError)
        for ask in (task.result, task.exception):
            with pytest.raises(asyncio.CancelledError):
                ask()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(pool.dead) == 0


async def test_all_awaiters_get_the_outcome_although_some_give_up() -> None:
    """Cancelling one of several, by itself or by a timeout, is nobody else's business."""
    async with Pool([Probe(does=takes(5))], debug=True) as pool:
        task = pool.submit(1)
        waiters = [asyncio.ensure_future(task) for _ in range(4)]
        await asyncio.sleep(1)
        waiters[0].cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await task
        assert await asyncio.gather(*waiters[1:]) == [1, 1, 1]
        assert now() == 5


async def test_an_awaiter_cancelled_in_the_turn_of_the_end_takes_nothing_along() -> None:
    """The task has ended already."""
    async with Pool([Probe(does=takes(5))], debug=True) as pool:
        task = pool.submit(1)
        waiter = asyncio.ensure_future(task)
        task.add_done_callback(lambda _: waiter.cancel())
        await task.wait()
        await settle()
        assert waiter.cancelled()
        assert await task == 1


async def test_wait_is_bounded_and_tells_whether_it_ended() -> None:
    """It raises neither the task's error nor a timeout."""
    async with Pool(
        [Probe(does=in_turn(ValueError()))], retry=RetryPolicy.fixed(4), debug=True
    ) as pool:
        task = pool.submit(1)
        assert [await task.wait(3), now()] == [False, 3]
        assert [await task.wait(0), now()] == [False, pytest.approx(3)]
        assert [await task.wait(100), now()] == [True, 8]
        assert isinstance(task.error(), ValueError)
        assert await task.wait()


async def test_reached_follows_a_task_through_its_retry() -> None:
    """Several may wait for different states, and one that gives up leaves no trace."""
    async with Pool([Probe(does=in_turn(ValueError(), "ok"))], debug=True) as pool:
        pool.retry = RetryPolicy.fixed(5)
        task = pool.submit(1)
        at: dict[TaskState, float] = {}

        async def watch(state: TaskState) -> None:
            assert await task.reached(state)
            at[state] = now()

        watchers = [
            asyncio.ensure_future(watch(state))
            for state in (TaskState.SCHEDULED, TaskState.RUNNING, TaskState.SUCCEEDED)
        ]
        impatient = asyncio.ensure_future(task.reached(TaskState.DEAD))
        await settle()
        impatient.cancel()
        await asyncio.gather(*watchers)
        assert at == {TaskState.RUNNING: 0, TaskState.SCHEDULED: 0, TaskState.SUCCEEDED: 5}
        assert not await task.reached(TaskState.DEAD)


async def test_a_done_callback_that_raises_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is called once, in order, with the handle; the error is logged."""
    called: list[Any] = []

    def breaks(task: object) -> None:
        raise ZeroDivisionError

    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        task = pool.submit(1)
        task.add_done_callback(lambda t: called.append(("first", t is task)))
        task.add_done_callback(breaks)
        task.add_done_callback(lambda t: called.append(("last", t.result())))
        await task
        assert called == [("first", True), ("last", 1)]
    assert "ZeroDivisionError" in caplog.text


async def test_a_done_callback_may_submit_and_cancel() -> None:
    """The books are complete when it is called."""
    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        first, second = pool.submit(1), pool.submit(2)
        born: list[TaskHandle[Any]] = []
        first.add_done_callback(lambda _: second.cancel())
        first.add_done_callback(lambda _: born.append(pool.submit(3)))
        await first
        await second.wait()
        assert second.cancelled()
        assert await born[0] == 3
        assert now() == 2


async def test_an_error_keeps_its_identity_its_cause_and_one_note() -> None:
    """The very object that was raised, whoever awaits and however often."""
    cause = OSError("down")
    problem = ValueError("x")

    def work(data: object) -> None:
        raise problem from cause

    async with Pool([Probe("w", does=work)], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1)
        for _ in range(3):
            with pytest.raises(ValueError, match="x") as raised:
                await task
            assert raised.value is problem
        assert problem.__cause__ is cause
        assert problem.__notes__ == ["attempt 3 on w"]
        assert task.attempt_count == 3


async def test_the_traceback_of_an_error_leads_into_the_workers_code() -> None:
    """It ends where the error was raised, and does not wander through the library."""

    def deep(data: object) -> None:
        raise ValueError

    async with Pool([Probe(does=deep)], retry=ONE, debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(ValueError, match="attempt") as raised:
            await task
        assert raised.traceback[-1].name == "deep"
        passed = {entry.path.name for entry in raised.traceback}
        assert passed.isdisjoint({"_runner.py", "_steps.py"})
        assert [frame.function for frame in task.attempts[0].frames][-1] == "deep"


async def test_the_history_tells_worker_outcome_and_times_of_every_run() -> None:
    """An error, a refusal, another error: three workers, two attempts that count."""
    first, last = ValueError("first"), KeyError("last")
    workers = [
        Probe("a", does=fails(first)),
        Probe("b", does=fails(Throttled(60))),
        Probe("c", does=fails(last)),
    ]
    policy = RetryPolicy.fixed(5, attempts=2)
    async with Pool(workers, retry=policy, bounce=True, debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(KeyError) as raised:
            await task
        assert raised.value is last
        assert [(a.number, a.worker, a.outcome, a.started, a.counted) for a in task.attempts] == [
            (1, "a", AttemptOutcome.ERROR, 0, True),
            (2, "b", AttemptOutcome.THROTTLED, 5, False),
            (3, "c", AttemptOutcome.ERROR, 5, True),
        ]
        assert [task.attempt_count, task.throttles] == [2, 1]
        assert task.attempts[0].error is first


async def test_the_four_times_add_up_to_the_life_of_a_task() -> None:
    """Queued 60 s, 5 s for quota, 3 s running in two attempts, 3 s backing off."""
    calls = 0

    async def work(data: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            return await asyncio.sleep(60)
        if calls == 2:
            await asyncio.sleep(2)
            raise ValueError
        return await asyncio.sleep(1, result=data)

    worker = Probe(does=work, quota=Quota(tokens=Window(1, per=65)))
    async with Pool([worker], retry=RetryPolicy.fixed(3), debug=True) as pool:
        blocker = pool.submit(0, cost={"tokens": 1})
        task = pool.submit(1, cost={"tokens": 1})
        pool.submit(2, cost={"tokens": 0})
        await blocker
        await task.wait()
    assert task.times.queue == pytest.approx(60, abs=1)
    assert sum(task.times) == pytest.approx(task.ended_at - task.submitted_at)


ENDINGS: dict[str, Callable[[], Callable[[Any], Any] | None]] = {
    "value": lambda: None,
    "error": fails,
    "retried": lambda: in_turn(ValueError(), "ok"),
    "throttled": lambda: in_turn(Throttled(1), "ok"),
    "cancelled": lambda: takes(100),
    "attempt timeout": lambda: takes(100),
    "timeout": lambda: takes(100),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_no_way_to_end_leaves_a_cycle(ending: str) -> None:
    """With the garbage collector off, reference counts alone free everything."""
    worker = Probe()
    async with Pool([worker], retry=RetryPolicy.fixed(0, attempts=2)) as pool:

        async def caller() -> None:
            options: dict[str, Any] = {}
            if "timeout" in ending:
                options[ending.replace(" ", "_")] = 1
            worker.does = ENDINGS[ending]()
            limit = 1 if ending == "cancelled" else None
            with contextlib.suppress(ValueError, TimeoutError):
                async with asyncio.timeout(limit):
                    await pool.submit(1, **options)

        await caller()
        await asyncio.sleep(10)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await caller()
            pool.dead.clear()
            await asyncio.sleep(10)
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_an_unread_error_is_told_when_it_happens_and_not_when_it_is_collected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether the handle is kept for ever or thrown away."""
    seen: list[tuple[float, int]] = []
    async with Pool([Probe(does=takes(1))], retry=ONE, debug=True) as pool:
        pool.hooks.on_dead = lambda dead: seen.append((now(), dead.id))
        kept = pool.submit(1, attempt_timeout=0.5)
        pool.submit(2, attempt_timeout=0.5)
        await pool.join()
        errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
        assert [message.split(":")[0] for message in errors] == ["task 1 died", "task 2 died"]
        del kept
        gc.collect()
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 2
    assert seen == [(0.5, 1), (1, 2)]


async def test_a_thousand_attempts_of_a_long_message_are_not_kept() -> None:
    """The first and the newest, and of each message only a part is printed."""
    attempts = 0

    def work(data: object) -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError(f"{attempts} {'x' * 10_000}")

    policy = RetryPolicy.fixed(0, attempts=1000)
    async with Pool([Probe(does=work)], retry=policy, history_limit=10) as pool:
        task = pool.submit(1)
        await task.wait()
        assert task.attempt_count == 1000
        kept = [attempt.number for attempt in task.attempts]
        assert kept == [1, *range(992, 1001)]
        assert all("x" in a.traceback and len(a.traceback) < 6000 for a in task.attempts)
