"""Hooks and events: complete, in order, and powerless."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from retrypool_async import (
    AttemptEnded,
    AttemptFailed,
    AttemptOutcome,
    FailureAction,
    Hooks,
    Pool,
    PoolClosed,
    PoolState,
    Quota,
    RetryPolicy,
    TaskMoved,
    TaskState,
    Throttled,
    Window,
    WorkerMoved,
    WorkerState,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)
SYNC_HOOKS = [*(name for name in Hooks.NAMES if name != "on_failure"), "on_queued", "on_running"]


class Odd(BaseException):
    """Not an `Exception`, and none of those that end a program."""


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, Odd])
@pytest.mark.parametrize("name", [*SYNC_HOOKS, "on_done", "on_failure", "classify"])
async def test_whatever_a_hook_raises_stays_in_it(name: str, error: type[BaseException]) -> None:
    """Values and errors reach their callers, and the worker stays."""
    calls = 0

    def bad(record: Any) -> None:
        nonlocal calls
        calls += 1
        raise error

    worker = Probe("w", does=lambda data: fails(KeyError)(data) if data == "bad" else data)
    hooks, options = Hooks(), {}
    if name == "classify":
        worker.classify = bad  # type: ignore[method-assign]
    elif name in Hooks.NAMES:
        setattr(hooks, name, bad)
    else:
        options[name] = bad
    async with Pool([worker], hooks=hooks, retry=ONE, debug=True) as pool:
        for _ in range(3):
            assert await pool.submit(1, **options) == 1  # type: ignore[arg-type]
            failing = pool.submit("bad", **options)  # type: ignore[arg-type]
            await failing.wait()
            assert failing.error() is not None
            if name != "classify":
                assert isinstance(failing.error(), KeyError)
        assert [ref.name for ref in pool.workers()] == ["w"]
        await pool.join()
    assert calls
    assert worker.log == ["start", "stop"]


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, Odd])
async def test_whatever_an_async_hook_raises_stays_in_it(error: type[BaseException]) -> None:
    """Also when the pool closes meanwhile."""

    async def bad(record: Any) -> None:
        await asyncio.sleep(1)
        raise error

    async with Pool([Probe()], hooks=Hooks(on_success=bad, on_worker=bad), debug=True) as pool:
        assert [await pool.submit(n) for n in range(3)] == [0, 1, 2]
        await asyncio.sleep(2)
        assert await pool.submit(3) == 3


@pytest.mark.parametrize("limit", [0, 1, 2, 50])
async def test_every_attempt_is_told_of_however_few_are_kept(limit: int) -> None:
    """The hook sees the one that has just ended."""
    seen: list[tuple[int, AttemptOutcome]] = []
    hooks = Hooks(on_attempt=lambda e: seen.append((e.attempt.number, e.attempt.outcome)))
    worker = Probe(does=in_turn(ValueError(), Throttled(1), ValueError(), "ok"))
    retry = RetryPolicy.fixed(0, attempts=3)
    async with Pool([worker], hooks=hooks, retry=retry, history_limit=limit, debug=True) as pool:
        assert await pool.submit(1) == "ok"
        await settle()
    outcomes = [AttemptOutcome.ERROR, AttemptOutcome.THROTTLED, AttemptOutcome.ERROR]
    assert seen == list(enumerate([*outcomes, AttemptOutcome.OK], 1))


async def test_the_attempt_hook_sees_attempts_that_were_cut_off() -> None:
    """Limits, cancels, the close: each once, at its time."""
    seen: list[tuple[int, AttemptOutcome, float]] = []

    def attempted(ended: AttemptEnded) -> None:
        seen.append((ended.task.id, ended.attempt.outcome, ended.attempt.ended))

    hooks = Hooks(on_attempt=attempted)
    async with Pool([Probe(does=takes(100))], hooks=hooks, retry=ONE, debug=True) as pool:
        await pool.submit(1, attempt_timeout=1).wait()
        cancelled = pool.submit(2)
        await asyncio.sleep(1)
        cancelled.cancel()
        await cancelled.wait()
        await pool.submit(3, timeout=3).wait()
        pool.submit(4)
        await asyncio.sleep(1)
        await pool.close("cancel")
    assert seen == [
        (1, AttemptOutcome.TIMEOUT, 1),
        (2, AttemptOutcome.CANCELLED, 2),
        (3, AttemptOutcome.TIMEOUT, 5),
        (4, AttemptOutcome.SHUTDOWN, 6),
    ]


async def test_hooks_may_submit_cancel_and_close() -> None:
    """What they ask for is done as if somebody else had asked."""
    async with Pool([Probe("w", does=takes(1))], debug=True) as pool:
        born: list[Any] = []

        def follow(moved: TaskMoved) -> None:
            if len(born) < 3:
                born.append(pool.submit(len(born)))
                pool.submit("never").cancel()
            else:
                pool.request_close()

        pool.hooks.on_success = follow
        await pool.submit("first")
        while pool.state is PoolState.RUNNING:
            await asyncio.sleep(0.5)
        assert [await task for task in born] == [0, 1, 2]
        with pytest.raises(PoolClosed):
            pool.submit(1)
    assert now() == 4


async def test_the_failure_hook_sees_only_ordinary_failures_and_their_number() -> None:
    """Refusals are not failures, and rubbish it answers counts as no answer."""
    seen: list[tuple[int, str, type]] = []

    def decide(failed: AttemptFailed) -> Any:
        seen.append((failed.number, failed.worker, type(failed.error)))
        return "rubbish" if failed.number == 1 else FailureAction.FORCE_RETRY

    errors = (ValueError(), Throttled(1), KeyError(), OSError(), "ok")
    worker = Probe("w", does=in_turn(*errors))
    retry = RetryPolicy.fixed(5, attempts=2)
    async with Pool([worker], hooks=Hooks(on_failure=decide), retry=retry, debug=True) as pool:
        assert await pool.submit(1) == "ok"
        assert worker.starts == [0, 5, 6, 6, 6]
    assert seen == [(1, "w", ValueError), (2, "w", KeyError), (3, "w", OSError)]


async def test_a_reader_that_comes_late_hears_from_then_on_and_several_hear_the_same() -> None:
    """Each has its own place."""
    async with Pool([Probe("w")], debug=True) as pool:
        early = pool.events()
        await pool.submit(1)
        late = pool.events()
        await pool.submit(2)
    seen_early = [event async for event in early]
    seen_late = [event async for event in late]
    assert seen_early[-len(seen_late) :] == seen_late
    assert {e.task.id for e in seen_late if isinstance(e, TaskMoved)} == {2}
    assert {e.task.id for e in seen_early if isinstance(e, TaskMoved)} == {1, 2}


async def test_two_readers_of_one_subscription_share_it_and_both_end() -> None:
    """Neither is forgotten while waiting."""
    async with Pool([Probe()], debug=True) as pool:
        events = pool.events()

        async def read() -> int:
            return len([event async for event in events])

        readers = [asyncio.ensure_future(read()) for _ in range(2)]
        await settle()
        await pool.submit(1)
    counts = await asyncio.gather(*readers)
    assert sum(counts) > 0


async def test_a_reader_that_is_cancelled_or_closed_stops_being_served() -> None:
    """The pool forgets it."""
    async with Pool([Probe()], debug=True) as pool:
        events = pool.events()
        reader = asyncio.ensure_future(anext(events))
        await settle()
        reader.cancel()
        await settle()
        await pool.submit(1)
        first = await anext(events)
        assert isinstance(first, TaskMoved)
        waiting = pool.events()
        reader = asyncio.ensure_future(anext(waiting))
        await settle()
        await waiting.aclose()
        with pytest.raises(StopAsyncIteration):
            await reader


async def test_the_life_of_a_task_is_told_move_by_move_with_reasons() -> None:
    """A retry, a cooldown and a success."""
    worker = Probe("w", does=in_turn(ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(5), debug=True) as pool:
        events = pool.events()
        await pool.submit(1)
    told = [(e.new, e.at) async for e in events if isinstance(e, TaskMoved)]
    assert told == [
        (TaskState.PENDING, 0),
        (TaskState.QUEUED, 0),
        (TaskState.RESERVED, 0),
        (TaskState.RUNNING, 0),
        (TaskState.SCHEDULED, 0),
        (TaskState.QUEUED, 5),
        (TaskState.RESERVED, 5),
        (TaskState.RUNNING, 5),
        (TaskState.SUCCEEDED, 5),
    ]


async def test_a_refused_worker_is_visible_from_outside_at_any_time() -> None:
    """One event per refusal, and the snapshot says until when."""
    worker = Probe("w", does=in_turn(*[Throttled(20)] * 4, "ok"))
    async with Pool([worker], debug=True) as pool:
        events = pool.events()
        task = pool.submit(1)
        for n in range(4):
            await asyncio.sleep(20 * n + 10 - now())
            [w] = pool.snapshot().workers
            assert (w.state, w.cooling_until, w.throttled) == (
                WorkerState.COOLING,
                20 * (n + 1),
                n + 1,
            )
        assert await task == "ok"
    cooling = [
        (e.worker.name, e.at)
        async for e in events
        if isinstance(e, WorkerMoved) and e.new is WorkerState.COOLING
    ]
    assert cooling == [("w", 20 * n) for n in range(4)]


async def test_the_log_is_loud_only_about_deaths(caplog: pytest.LogCaptureFixture) -> None:
    """Waits, refusals and retries are no errors."""
    worker = Probe("w", quota=Quota(Window(1, per=1)))
    with caplog.at_level(logging.DEBUG, "retrypool_async"):
        async with Pool([worker], retry=RetryPolicy.fixed(1, attempts=2), debug=True) as pool:
            for n in range(100):
                pool.submit(n)
            await pool.join()
            worker.does = in_turn(*[Throttled(2)] * 5, "ok")
            await pool.submit(1)
            for _ in range(10):
                worker.does = in_turn(ValueError(), "ok")
                await pool.submit(1)
            worker.does = fails()
            await pool.submit(1).wait()
    levels = [record.levelno for record in caplog.records]
    assert levels.count(logging.ERROR) == 1
    assert levels.count(logging.WARNING) <= 5
    assert all(record.name == "retrypool_async" for record in caplog.records)


async def test_log_records_say_in_fields_what_they_are_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Pool, task and worker, for whoever collects logs by machine."""
    worker = Probe("w", does=in_turn(Throttled(1), ValueError(), KeyError()))
    policy = RetryPolicy.fixed(1, attempts=2)
    with caplog.at_level(logging.INFO, "retrypool_async"):
        async with Pool([worker], retry=policy, name="mine", debug=True) as pool:
            task = pool.submit(1)
            await task.wait()
    fields = [(r.levelname, *map(vars(r).get, ("pool", "task", "worker"))) for r in caplog.records]
    levels = ["WARNING", "INFO", "INFO", "ERROR"]
    assert fields == [(level, "mine", task.id, "w") for level in levels]


def test_nothing_is_printed_unless_logging_is_set_up() -> None:
    """Neither about the death nor about the failures before it."""
    program = """
import asyncio
from retrypool_async import FunctionWorker, Pool, RetryPolicy

async def fail(data): raise ValueError(data)

async def main():
    async with Pool([FunctionWorker(fail)], retry=RetryPolicy.fixed(0, attempts=2)) as pool:
        await pool.submit(1).wait()
        print(len(pool.dead))

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("1\n", "")


async def test_the_moves_of_a_worker_are_a_chain_from_start_to_stop() -> None:
    """Each is told once, with the state it was in before."""
    moves: list[WorkerMoved] = []
    worker = Probe("w", does=takes(1), max_tasks=1)
    async with Pool([worker], hooks=Hooks(on_worker=moves.append), debug=True) as pool:
        await pool.submit(1)
        await pool.join()
    for before, after in pairwise(moves):
        assert after.old is before.new
    assert moves[-1].new is WorkerState.STOPPED
    assert {move.worker.name for move in moves} == {"w"}
