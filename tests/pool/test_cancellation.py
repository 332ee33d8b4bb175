"""Callers who give up, limits that are reached, and code that does not want to stop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from retrypool_async import (
    AttemptOutcome,
    AttemptTimeout,
    Pool,
    QueueTimeout,
    Quota,
    RetryPolicy,
    TaskState,
    TaskTimeout,
    Window,
    Worker,
    WorkerState,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


def all_idle(pool: Pool[Any, Any]) -> bool:
    snapshot = pool.snapshot()
    waiting = snapshot.tasks[TaskState.QUEUED] + snapshot.tasks[TaskState.RUNNING]
    return waiting == 0 and all(w.state is WorkerState.IDLE for w in snapshot.workers)


async def test_the_place_of_a_cancelled_waiter_goes_to_the_next() -> None:
    """T2 is cancelled at 5; T3 starts at 10 and T2 never ran."""
    worker = Probe(quota=Quota(Window(1, per=10)))
    async with Pool([worker], debug=True) as pool:
        pool.submit(1)
        second, third = asyncio.ensure_future(pool.submit(2)), pool.submit(3)
        await asyncio.sleep(5)
        second.cancel()
        assert await third == 3
    assert worker.starts == [0, 10]


async def test_a_task_cancelled_in_the_turn_of_its_turn_wakes_the_next() -> None:
    """The worker comes free and its promised task is withdrawn at once."""
    started: list[Any] = []

    def work(data: Any) -> Any:
        started.append((data, now()))
        return asyncio.sleep(1, result=data)

    async with Pool([Probe(does=work)], debug=True) as pool:
        first, second, third = (pool.submit(n) for n in (1, 2, 3))
        first.add_done_callback(lambda _: second.cancel())
        await third
        assert second.cancelled()
    assert started[-1] == (3, 1)


async def test_a_start_and_a_queue_timeout_at_the_same_instant_lose_nothing() -> None:
    """A thousand times over: the waiter runs or hears, and the worker is free."""
    worker = Probe(does=takes(0.25))
    async with Pool([worker]) as pool:
        for _ in range(1000):
            running, waiting = pool.submit(1), pool.submit(2, queue_timeout=0.25)
            await running
            with contextlib.suppress(QueueTimeout):
                assert await waiting == 2
            assert all_idle(pool)
        before = now()
        await pool.submit(3)
        assert now() == before + 0.25


async def test_callers_that_give_up_under_contention_leave_no_worker_behind() -> None:
    """Fifty submitters with a hundredth of a second each, for two seconds."""
    workers = [Probe(does=takes(0.05)) for _ in range(2)]

    async def impatient(pool: Pool[Any, Any]) -> None:
        while now() < 2:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await pool.submit(1)

    async with Pool(workers, debug=True) as pool:
        await asyncio.gather(*(impatient(pool) for _ in range(50)))
        await asyncio.sleep(0.1)
        assert all_idle(pool)
        before = now()
        await pool.submit(1)
        assert now() == pytest.approx(before + 0.05)


async def test_a_caller_cancelled_right_away_does_not_hold_up_the_close() -> None:
    """One turn of the loop after the submit."""
    async with Pool([Probe(does=takes(50))], debug=True) as pool:
        caller = asyncio.ensure_future(pool.submit(1))
        await asyncio.sleep(0)
        caller.cancel()
    assert now() == 0


async def test_giving_up_ends_the_retries() -> None:
    """No attempt after the caller's timeout."""

    async def work(data: object) -> None:
        await asyncio.sleep(0.1)
        raise ValueError

    workers = [Probe(does=work) for _ in range(2)]
    retry = RetryPolicy.fixed(0, attempts=1000)
    async with Pool(workers, retry=retry, bounce=True, debug=True) as pool:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.submit(1), 1)
        assert now() == 1
        await asyncio.sleep(10)
    assert max(start for worker in workers for start in worker.starts) <= 1


async def test_timeouts_give_the_worker_back() -> None:
    """Ten that hang; the eleventh starts at once."""
    worker = Probe(does=takes(1000))
    async with Pool([worker], retry=ONE, attempt_timeout=1, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        for task in tasks:
            with pytest.raises(AttemptTimeout):
                await task
        assert now() == 10
        worker.does = None
        assert await pool.submit(11) == 11
        assert now() == 10
    assert worker.log.count("start") == worker.log.count("stop") == 11


async def test_an_attempt_that_fails_before_its_first_await_gives_the_worker_back() -> None:
    """Also when it returns what nobody can await."""

    class Rubbish(Worker[int, int]):
        async def run(self, data: int, /) -> int:
            return await 5  # type: ignore[misc]

    for worker in (Probe(does=fails()), Rubbish()):
        async with Pool([worker], retry=ONE, debug=True) as pool:
            for _ in range(3):
                with pytest.raises((ValueError, TypeError)):
                    await pool.submit(1)
            assert all_idle(pool)


@pytest.mark.parametrize("late", ["value", "error"])
async def test_a_late_outcome_of_a_cancelled_task_disturbs_nobody(late: str) -> None:
    """A value counts, since it came; an error does not. The worker is free at 2."""

    async def work(data: object) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        await asyncio.sleep(1)
        if late == "error":
            raise ValueError
        return "late"

    worker = Probe(does=work)
    async with Pool([worker], debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        assert task.cancel()
        assert not task.done()
        await task.wait()
        assert now() == 2
        if late == "value":
            assert await task == "late"
        else:
            assert task.cancelled()
        worker.does = None
        assert await pool.submit(2) == 2
        assert now() == 2
        assert len(worker.starts) == 2


async def test_a_second_cancel_does_not_interrupt_the_clean_up() -> None:
    """The stop is asked for once, however often the caller asks."""
    cleaned: list[float] = []

    async def work(data: object) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            for _ in range(4):
                await asyncio.sleep(0.5)
            cleaned.append(now())

    async with Pool([Probe(does=work)], stop_grace=5, debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        for _ in range(4):
            task.cancel()
            await asyncio.sleep(0.3)
        await task.wait()
    assert cleaned == [3]


async def test_a_value_at_the_instant_of_the_tasks_timeout_counts() -> None:
    """Whichever timer was armed first: the limit's, or the code's."""
    async with Pool([Probe(does=takes(2))], retry=ONE, debug=True) as pool:
        assert await pool.submit(1, timeout=2) == 1
        blocker = pool.submit(2)
        behind = pool.submit(3, timeout=4)
        assert [await blocker, await behind] == [2, 3]
        assert now() == 6


async def test_a_value_returned_after_a_cancel_was_asked_counts() -> None:
    """What was done is not thrown away, and the next task does not die of the cancel."""

    async def work(data: int) -> int:
        if data == 1:
            task.cancel()
        return data

    async with Pool([Probe(does=work)], debug=True) as pool:
        task = pool.submit(1)
        following = pool.submit(2)
        assert [await task, await following] == [1, 2]


async def test_the_tasks_timeout_is_a_wall_even_for_code_that_ignores_it() -> None:
    """The caller hears at 3; the worker is stuck from 3 + 5 to 20, then it serves again."""

    async def stubborn(data: object) -> object:
        while now() < 20:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(20 - now())
        return data

    worker = Probe("w", does=stubborn)
    async with Pool([worker], stop_grace=5, retry=ONE, debug=True) as pool:
        task = pool.submit(1, timeout=3)
        with pytest.raises(TaskTimeout):
            await task
        assert now() == 3
        waiting = pool.submit(2)
        states = []
        for at in (4, 9, 19):
            await asyncio.sleep(at - now())
            states.append(pool.snapshot().workers[0].state)
        assert states == [WorkerState.RESETTING, WorkerState.STUCK, WorkerState.STUCK]
        worker.does = None
        assert await waiting == 2
        assert now() == 20
        assert [attempt.outcome for attempt in task.attempts] == [AttemptOutcome.TIMEOUT]
    assert worker.log == ["start", "stop", "start", "stop"]


async def test_a_cancelled_task_that_ignores_it_ends_when_the_grace_does() -> None:
    """Cancelled for its caller at 1 + 2, whatever its code does later."""

    async def stubborn(data: object) -> object:
        while now() < 50:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(50 - now())
        return data

    worker = Probe(does=stubborn)
    other = Probe()
    async with Pool([worker, other], stop_grace=2, debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        task.cancel()
        await task.wait()
        assert (now(), task.cancelled()) == (3, True)
        assert await pool.submit(2) == 2
        assert now() == 3
        await asyncio.sleep(50)


async def test_an_interrupted_resource_is_reset_by_its_own_method_if_it_has_one() -> None:
    """After a timeout, after a cancel; not after an error or a value."""

    class Own(Probe):
        async def on_reset(self) -> None:
            self.log.append(f"reset {now():g}")

    worker = Own(does=takes(10))
    async with Pool([worker], retry=ONE, debug=True) as pool:
        with pytest.raises(AttemptTimeout):
            await pool.submit(1, attempt_timeout=1)
        task = pool.submit(2)
        await asyncio.sleep(1)
        task.cancel()
        await task.wait()
        worker.does = fails()
        await pool.submit(3).wait()
        worker.does = None
        await pool.submit(4)
    assert worker.log == ["start", "reset 1", "reset 2", "stop"]


@pytest.mark.parametrize("trouble", ["raises", "hangs"])
async def test_a_reset_that_fails_leads_to_a_rebuild(trouble: str) -> None:
    """The next task gets a fresh resource."""

    class Own(Probe):
        async def on_reset(self) -> None:
            self.log.append("reset")
            if trouble == "raises":
                raise OSError
            await asyncio.sleep(1000)

    worker = Own(does=takes(10))
    async with Pool([worker], retry=ONE, start_timeout=3, stop_timeout=2, debug=True) as pool:
        await pool.submit(1, attempt_timeout=1).wait()
        worker.does = None
        assert await pool.submit(2) == 2
        assert now() == (2 if trouble == "raises" else 7)
    assert worker.log == ["start", "reset", "stop", "start", "stop"]


async def test_a_task_group_inside_an_attempt_is_stopped_as_a_whole() -> None:
    """Its children end with it, and the worker lives on."""
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(name)

    async def work(data: object) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child, "a")
            group.start_soon(child, "b")

    worker = Probe(does=work)
    async with Pool([worker], retry=ONE, debug=True) as pool:
        with pytest.raises(AttemptTimeout):
            await pool.submit(1, attempt_timeout=1)
        await settle()
        assert sorted(ended) == ["a", "b"]
        worker.does = None
        assert await pool.submit(2) == 2
        assert now() == 1


@pytest.mark.parametrize("scope", ["anyio", "asyncio", "wait_for"])
async def test_timeouts_of_the_workers_own_are_its_own(scope: str) -> None:
    """They fail the attempt with TimeoutError, or are dealt with inside; nothing leaks."""

    async def work(data: object) -> object:
        if scope == "anyio":
            with anyio.fail_after(1):
                await asyncio.sleep(10)
        elif scope == "asyncio":
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        else:
            await asyncio.wait_for(asyncio.sleep(10), 1)
        return data

    worker = Probe(does=work)
    async with Pool([worker], retry=RetryPolicy.fixed(0, attempts=2), debug=True) as pool:
        with pytest.raises(TimeoutError) as raised:
            await pool.submit(1)
        assert type(raised.value) is TimeoutError
        assert worker.starts == [0, 1]
        worker.does = None
        assert await pool.submit(2) == 2


async def test_a_callback_that_withdraws_its_own_task_is_obeyed() -> None:
    """When it is queued it never runs; when it begins to run it is stopped."""
    ran: list[Any] = []

    def work(data: Any) -> Any:
        ran.append(data)
        return asyncio.sleep(10, result=data)

    worker = Probe(does=work)
    async with Pool([worker], debug=True) as pool:
        queued = pool.submit(1, on_queued=lambda task: task.cancel())
        await queued.wait()
        assert queued.cancelled()
        started = pool.submit(2, on_running=lambda task: task.cancel())
        await started.wait()
        assert started.cancelled()
        worker.does = None
        assert await pool.submit(3) == 3
    assert 1 not in ran
    assert now() == 0


async def test_every_turn_is_a_safe_one_to_cancel_a_caller_in() -> None:
    """Whichever turn of the loop the caller is cancelled in, the books balance after it."""

    async def work(data: int) -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        if data % 2:
            raise ValueError
        return data

    async with Pool([Probe(does=work)], debug=True) as pool:
        pool.retry = RetryPolicy.fixed(0, attempts=2)
        for turn in range(25):
            for data in (0, 1):
                task = pool.submit(data)
                caller = asyncio.ensure_future(task)
                for _ in range(turn):
                    await asyncio.sleep(0)
                caller.cancel()
                await asyncio.wait([caller])
                await task.wait()
                await pool.join()
                await settle()
                assert all_idle(pool), turn
                assert await pool.submit(2) == 2


@pytest.mark.parametrize("operator", ["remove", "remove by force", "close"])
@pytest.mark.parametrize("first", ["caller", "operator"])
async def test_what_its_caller_cancelled_is_not_run_again(operator: str, first: str) -> None:
    """Not on another worker either, when its own is taken away during its clean-up."""

    async def does(_: Any) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1.9)

    workers = [Probe("a", does=does), Probe("b", does=does)]
    async with Pool(workers, stop_grace=2, debug=True) as pool:
        task = pool.submit(1, worker=None)
        await asyncio.sleep(1)
        if first == "caller":
            assert task.cancel()
        if operator == "close":
            await pool.close(mode="cancel", timeout=1)
        else:
            force = operator == "remove by force"
            removing = asyncio.create_task(pool.remove("a", timeout=1, force=force))
            await settle()
            if first == "operator":
                assert task.cancel()
            await removing
        if operator != "close" or first == "caller":
            with pytest.raises(asyncio.CancelledError):
                await task
        assert task.done()
        assert [len(worker.starts) for worker in workers] == [1, 0]
    await asyncio.sleep(2)  # its clean-up ends
