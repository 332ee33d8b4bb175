"""Event loops: of fixtures, of two runs, of two threads, in debug mode, of another make."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib.util
import logging
import sys
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import pytest_asyncio

from retrypool_async import Bucket, Pool, PoolState, Quota, RetryPolicy, Window, current_task
from retrypool_async.testing import VirtualLoop
from tests.pool.probe import Probe, fails, in_turn, takes

ONE = RetryPolicy.fixed(0, attempts=1)


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[Pool[Any, Any]]:
    async with Pool([Probe("a"), Probe("b")], debug=True) as pool:
        yield pool


async def test_a_pool_of_a_fixture_serves_a_test(pool: Pool[Any, Any]) -> None:
    """Setup and teardown of the fixture may be tasks of their own."""
    assert [v async for v in pool.map(range(5))] == list(range(5))
    await pool.add(Probe("c"))
    await pool.remove("a")


async def test_a_pool_opened_in_one_task_is_closed_in_another() -> None:
    """And used in a third; workers come and go from a fourth."""
    pool = Pool([Probe("a", does=takes(1))], debug=True)

    async def in_a_task(call: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.create_task(call)

    async def use() -> Any:
        return await pool.submit(1)

    await in_a_task(pool.__aenter__())
    assert await in_a_task(use()) == 1
    await in_a_task(pool.add(Probe("b")))
    await in_a_task(pool.remove("b"))
    await in_a_task(pool.__aexit__(None, None, None))


async def test_pools_close_in_any_order() -> None:
    """The first opened need not be the last closed."""
    first, second = Pool([Probe()], debug=True), Pool([Probe()], debug=True)
    await first.start()
    await second.start()
    await first.close()
    assert await second.submit(1) == 1
    await second.close()


async def test_one_pool_may_serve_the_workers_of_another() -> None:
    """The inner attempt knows its own task and the inner pool may be closed from inside."""
    async with Pool([Probe(does=takes(1))], debug=True) as inner:

        async def ask(data: int) -> int:
            result: int = await inner.submit(data + 1)
            await inner.join()
            return result

        async with Pool([Probe(does=ask) for _ in range(2)], debug=True) as outer:
            assert [v async for v in outer.map(range(4))] == [1, 2, 3, 4]


async def test_an_attempt_notes_things_on_its_own_task_and_on_no_other() -> None:
    """Also where one pool serves the workers of another."""

    def note(data: object) -> None:
        current_task().metadata["noted by"] = "inner"

    async with Pool([Probe(does=note)], debug=True) as inner:

        async def ask(data: object) -> Any:
            current_task().metadata["noted by"] = "outer"
            task = inner.submit(data)
            await task
            return task.metadata

        async with Pool([Probe(does=ask)], debug=True) as outer:
            task = outer.submit(1)
            assert await task == {"noted by": "inner"}
            assert task.metadata == {"noted by": "outer"}


@pytest.mark.parametrize("where", ["open", "add", "submit", "listen"])
async def test_a_pool_keeps_nothing_of_a_request_alive(where: str) -> None:
    """Neither of the one it was opened in, nor of those that used it and are over."""

    class Request:
        pass

    request: contextvars.ContextVar[Request | None] = contextvars.ContextVar("r", default=None)
    pool = Pool([Probe("w", quota=Quota(Window(5, per=3600)))], debug=True)
    if where != "open":
        await pool.start()

    async def handle() -> weakref.ref[Request]:
        request.set(Request())
        if where == "open":
            await pool.start()
        elif where == "add":
            await pool.add(Probe("x"))
        elif where == "submit":
            await pool.submit(1, timeout=3600, queue_timeout=60)
        else:
            events = pool.events()
            pool.pause(until=0.5)
            await pool.submit(1)
            await events.aclose()
        current = request.get()
        assert current is not None
        return weakref.ref(current)

    ref = await asyncio.create_task(handle())
    await asyncio.sleep(1)
    gc.collect()
    assert ref() is None
    await pool.close()


async def use(pool: Pool[Any, Any]) -> None:
    async with pool:
        assert [v async for v in pool.map(range(5))] == list(range(5))


def test_a_pool_with_quotas_runs_in_one_loop_after_the_other() -> None:
    """Clocks that start anew, waiters that were cancelled: nothing of the first run is left."""
    quota = Quota(requests=Bucket(2, per=1), tokens=Window(5, per=1))
    pool = Pool([Probe("w", quota=quota)], quota=Quota(Window(3, per=1)), debug=True)

    async def cancelled() -> None:
        async with pool:
            waiter = asyncio.ensure_future(pool.submit(1, cost={"tokens": 5}))
            other = asyncio.ensure_future(pool.submit(1, cost={"tokens": 5}))
            await asyncio.sleep(0)
            waiter.cancel()
            other.cancel()

    for main in (lambda: use(pool), cancelled, lambda: use(pool)):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())


def test_a_loop_that_ends_with_the_pool_open_leaves_no_handle_unsettled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No warning, every resource closed, and the same pool runs in the next loop."""
    worker = Probe("w", does=takes(50))
    pool = Pool([worker], debug=True)

    async def abandon() -> list[Any]:
        await pool.start()
        tasks = [pool.submit(n) for n in range(3)]
        await asyncio.sleep(0.01)
        return tasks

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks = asyncio.run(abandon())
        gc.collect()
    assert [task.done() for task in tasks] == [True] * 3
    assert pool.state is PoolState.CLOSED
    for task in tasks:
        assert task.error() is not None
        task.add_done_callback(print)
    assert worker.log == ["start", "stop"]
    worker.does = None
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(use(pool))
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def from_another_thread(call: Callable[[], Any]) -> BaseException | None:
    """Call it in a thread, in a loop of its own if it gives something to await."""
    caught: list[BaseException] = []

    async def in_a_loop(awaitable: Any) -> None:
        await asyncio.wait_for(awaitable, 2)

    def target() -> None:
        try:
            result = call()
            if hasattr(result, "__await__"):
                asyncio.run(in_a_loop(result))
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    return caught[0] if caught else None


@pytest.mark.real_time
@pytest.mark.parametrize(
    "name", ["submit", "enqueue", "start", "enter", "close", "pause", "add", "join", "cancel"]
)
async def test_use_from_another_thread_or_loop_is_a_clear_error(name: str) -> None:
    """It changes nothing, and the loop of the pool goes on."""
    async with Pool([Probe("w")], debug=True) as pool:
        blocker = pool.submit(0)
        calls: dict[str, Callable[[], Any]] = {
            "submit": lambda: pool.submit(1),
            "enqueue": lambda: pool.enqueue(1),
            "start": pool.start,
            "enter": pool.__aenter__,
            "close": pool.close,
            "pause": pool.pause,
            "add": lambda: pool.add(Probe("x")),
            "join": pool.join,
            "cancel": blocker.cancel,
        }
        error = from_another_thread(calls[name])
        assert isinstance(error, RuntimeError), error
        assert "loop" in str(error) or "running" in str(error)
        snapshot = pool.snapshot()
        assert (snapshot.submitted, snapshot.paused, len(snapshot.workers)) == (1, False, 1)
        assert await pool.submit(2) == 2
        assert await blocker == 0


@pytest.mark.real_time
async def test_in_debug_mode_asyncio_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    """No slow callback, no unsafe call, no coroutine that was never awaited."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 1
    try:
        workers = [Probe(does=in_turn(ValueError(), 1)), Probe(does=takes(0.001), max_tasks=2)]
        async with Pool(workers, retry=RetryPolicy.fixed(0.001), debug=True) as pool:
            events = pool.events()
            tasks = [pool.submit(n, bounce=True) for n in range(20)]
            tasks[3].cancel()
            await pool.join()
            await events.aclose()
    finally:
        loop.set_debug(False)
    assert [r for r in caplog.records if r.name == "asyncio" and r.levelno > logging.DEBUG] == []


async def sample() -> None:
    """A bit of everything, in little real time."""
    workers = [
        Probe("a", quota=Quota(Window(5, per=0.01))),
        Probe("b", does=takes(0.001)),
        Probe("c", does=in_turn(ValueError(), 3)),
    ]
    async with Pool(workers, retry=RetryPolicy.fixed(0.002), debug=True) as pool:
        tasks = [pool.submit(n, timeout=5) for n in range(50)]
        slow = pool.submit(1, worker="b", attempt_timeout=0.0005, retry=ONE)
        tasks[7].cancel()
        await slow.wait()
        await pool.remove("b", force=True)
        await pool.join()
        assert sum(task.cancelled() for task in tasks) <= 1
        assert all(task.done() for task in tasks)


@pytest.mark.real_time
async def test_a_pool_runs_on_an_ordinary_loop() -> None:
    """As on a virtual one."""
    await sample()


def test_a_pool_runs_on_uvloop() -> None:
    """Whose clock has steps of a millisecond."""
    if importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    uvloop = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(sample())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_a_pool_runs_with_eager_tasks() -> None:
    """Whatever runs before `create_task` returns."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        await sample()

    asyncio.run(main())


async def test_a_burst_of_failures_does_not_starve_the_loop() -> None:
    """Others get their turns, however fast attempts fail."""
    turns = 0

    async def ticker() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(ticker())
    retry = RetryPolicy.fixed(0, attempts=3000)
    async with Pool([Probe(does=fails())], retry=retry, history_limit=2) as pool:
        await pool.submit(1).wait()
    ticking.cancel()
    assert turns >= 5
