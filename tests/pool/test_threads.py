"""Submitting from other threads: real ones, on an ordinary event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from retrypool_async import (
    Pool,
    PoolClosed,
    PoolState,
    QueueFull,
    RetryPolicy,
    TaskHandle,
    TaskState,
    ThreadWorker,
    Unroutable,
)
from tests.pool.probe import Probe, fails, takes

pytestmark = pytest.mark.real_time

ONE = RetryPolicy.fixed(0, attempts=1)
S = TypeVar("S")


def while_the_loop_waits(call: Callable[[], S]) -> S:
    """What a thread's call returns; the loop does not turn meanwhile."""
    returned: list[S] = []
    thread = threading.Thread(target=lambda: returned.append(call()))
    thread.start()
    thread.join(5)
    return returned[0]


async def test_a_thread_gets_the_result_in_its_own_context() -> None:
    """The options are those of `submit`."""
    tenant = contextvars.ContextVar("tenant", default="nobody")

    def ask() -> Any:
        tenant.set("alice")
        return pool.submit_threadsafe(20, require="gpu").result(5)

    worker = Probe(does=lambda data: (data + 1, tenant.get()), tags="gpu")
    async with Pool([worker], debug=True) as pool:
        assert await asyncio.to_thread(ask) == (21, "alice")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
async def test_the_error_of_a_task_is_raised_in_the_thread_alone(error: BaseException) -> None:
    """Not even an exit gets at the loop."""
    async with Pool([Probe(does=fails(error))], retry=ONE, debug=True) as pool:
        future = await asyncio.to_thread(pool.submit_threadsafe, 1)
        assert await asyncio.to_thread(future.exception, 5) is error
        assert pool.state is PoolState.RUNNING


@pytest.mark.parametrize(
    ("options", "refusal"),
    [({}, QueueFull), ({"require": "gpu"}, Unroutable), ({"priorty": 1}, TypeError)],
)
async def test_a_refusal_is_the_exception_of_the_future(
    options: dict[str, Any], refusal: type[Exception]
) -> None:
    """Only the pool's own thread can tell whether it takes a task."""
    async with Pool([Probe(does=takes(0.1))], max_queue=0, debug=True) as pool:
        pool.submit(1)
        future = await asyncio.to_thread(pool.submit_threadsafe, 2, **options)
        assert isinstance(await asyncio.to_thread(future.exception, 5), refusal)
        assert pool.snapshot().submitted == 1


async def test_a_pool_that_does_not_run_refuses_at_the_call() -> None:
    """Before its start, and from the beginning of its closing on."""
    pool = Pool([Probe(does=takes(0.1))], debug=True)
    with pytest.raises(PoolClosed, match="not started"):
        await asyncio.to_thread(pool.submit_threadsafe, 1)
    await pool.start()
    pool.submit(1)
    pool.request_close()
    with pytest.raises(PoolClosed, match="closing"):
        await asyncio.to_thread(pool.submit_threadsafe, 2)
    await pool.close()


async def test_a_closing_that_comes_in_between_is_the_exception_of_the_future() -> None:
    """Asked while the pool was open, looked at when it was not any more."""
    async with Pool([Probe()], debug=True) as pool:
        future = while_the_loop_waits(lambda: pool.submit_threadsafe(1))
        pool.request_close()
        assert isinstance(await asyncio.to_thread(future.exception, 5), PoolClosed)


def test_the_end_of_the_loop_ends_what_threads_wait_for() -> None:
    """Though nobody has closed the pool; nothing can be asked of it any more."""
    pool = Pool([Probe(does=takes(60))])

    async def abandon() -> Future[Any]:
        await pool.start()
        return while_the_loop_waits(lambda: pool.submit_threadsafe(1))

    future = asyncio.run(abandon())
    assert isinstance(future.exception(0), PoolClosed)
    with pytest.raises(PoolClosed):
        pool.submit_threadsafe(2)


async def test_a_loop_that_closes_at_this_very_moment_refuses_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pool was open when the thread looked."""

    def closed(*_: object) -> None:
        raise RuntimeError("Event loop is closed")

    async with Pool([Probe()], debug=True) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", closed)
            error = while_the_loop_waits(lambda: _error_of(lambda: pool.submit_threadsafe(1)))
        assert isinstance(error, PoolClosed)


def _error_of(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


async def test_the_end_of_the_pool_ends_what_threads_wait_for() -> None:
    """With the error that any caller gets."""
    async with Pool([Probe(does=takes(60))], debug=True) as pool:
        future = await asyncio.to_thread(pool.submit_threadsafe, 1)
        await pool.close("cancel")
        assert isinstance(await asyncio.to_thread(future.exception, 5), PoolClosed)


@pytest.mark.parametrize("where", ["a task", "a callback", "an attempt"])
async def test_the_thread_of_the_loop_is_refused(where: str) -> None:
    """It would wait for itself."""
    caught: list[RuntimeError] = []

    def ask(_: object = None) -> None:
        with pytest.raises(RuntimeError, match="use submit there") as refused:
            pool.submit_threadsafe(2)
        caught.append(refused.value)

    async with Pool([Probe(does=ask if where == "an attempt" else None)], debug=True) as pool:
        if where == "a task":
            ask()
        elif where == "a callback":
            asyncio.get_running_loop().call_soon(ask)
        await pool.submit(1)
        assert len(caught) == 1
        assert pool.snapshot().submitted == 1


async def test_another_loop_in_another_thread_may_await_the_future() -> None:
    """It blocks nobody there."""

    async def ask() -> Any:
        return await asyncio.wrap_future(pool.submit_threadsafe(1))

    async with Pool([Probe()], debug=True) as pool:
        assert await asyncio.to_thread(asyncio.run, ask()) == 1


@pytest.mark.parametrize("detach", [False, True])
async def test_cancelling_the_future_cancels_the_task_unless_it_is_detached(detach: bool) -> None:
    """As it is with a caller that awaits it."""
    handles: list[TaskHandle[Any]] = []
    async with Pool([Probe(does=takes(0.2))], debug=True) as pool:
        future = await asyncio.to_thread(
            lambda: pool.submit_threadsafe(1, detach=detach, on_queued=handles.append)
        )
        while not handles:
            await asyncio.sleep(0.01)
        [task] = handles
        assert await asyncio.to_thread(future.cancel)
        await task.wait()
        assert task.state is (TaskState.SUCCEEDED if detach else TaskState.CANCELLED)
        assert future.cancelled()


async def test_cancelling_the_future_leaves_the_task_to_others_who_await_it() -> None:
    """And the other way round: the last one counts, wherever it is."""
    handles: list[TaskHandle[Any]] = []
    async with Pool([Probe(does=takes(0.2))], debug=True) as pool:

        async def with_two_callers() -> tuple[Future[Any], asyncio.Task[Any]]:
            future = await asyncio.to_thread(
                lambda: pool.submit_threadsafe(1, on_queued=handles.append)
            )
            while not handles:
                await asyncio.sleep(0.01)
            caller = asyncio.ensure_future(_awaited(handles.pop()))
            await asyncio.sleep(0)
            return future, caller

        future, caller = await with_two_callers()
        await asyncio.to_thread(future.cancel)
        assert await caller == 1
        future, caller = await with_two_callers()
        caller.cancel()
        assert await asyncio.to_thread(future.result, 5) == 1


async def _awaited(handle: TaskHandle[Any]) -> Any:
    return await handle


async def test_a_future_cancelled_before_the_loop_has_turned_submits_nothing() -> None:
    """And those who wait for several futures hear of it."""

    def ask() -> Future[Any]:
        future = pool.submit_threadsafe(1)
        assert future.cancel()
        return future

    async with Pool([Probe()], debug=True) as pool:
        future = while_the_loop_waits(ask)
        done = await asyncio.to_thread(concurrent.futures.wait, [future], 5)
        assert done.done == {future}
        assert pool.snapshot().submitted == 0


async def test_a_task_cancelled_by_others_is_a_cancelled_future() -> None:
    """As it raises `CancelledError` for those who await it."""
    async with Pool([Probe(does=takes(60))], debug=True) as pool:
        future = await asyncio.to_thread(
            lambda: pool.submit_threadsafe(1, on_running=lambda task: task.cancel())
        )
        await asyncio.to_thread(concurrent.futures.wait, [future], 5)
        assert future.cancelled()


async def test_a_task_that_ends_at_its_submit_ends_the_future() -> None:
    """Nobody is free, and it would not wait."""
    async with Pool([Probe(does=takes(0.1))], debug=True) as pool:
        pool.submit(1)
        future = await asyncio.to_thread(lambda: pool.submit_threadsafe(2, queue_timeout=0))
        assert isinstance(await asyncio.to_thread(future.exception, 5), TimeoutError)


async def test_a_thread_worker_may_submit_to_its_own_pool() -> None:
    """To another worker of it, and wait there."""

    def count_down(n: int) -> list[int]:
        return [n, *(pool.submit_threadsafe(n - 1).result(5) if n else [])]

    workers = [ThreadWorker(count_down, name=f"thread-{n}") for n in range(4)]
    async with Pool(workers, debug=True) as pool:
        assert await pool.submit(3) == [3, 2, 1, 0]


async def test_many_threads_at_once_lose_nothing() -> None:
    """Each gets its own results; the books balance after every step."""

    def ask(number: int) -> list[Any]:
        futures = [pool.submit_threadsafe((number, n)) for n in range(50)]
        return [future.result(5) for future in futures]

    async with Pool([Probe() for _ in range(3)], debug=True) as pool:
        answers = await asyncio.gather(*(asyncio.to_thread(ask, number) for number in range(8)))
        assert answers == [[(number, n) for n in range(50)] for number in range(8)]
        assert pool.snapshot().succeeded == 400
