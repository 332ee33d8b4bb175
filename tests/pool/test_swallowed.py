"""Code that takes a cancellation and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from retrypool_async import Pool, PoolClosed, Worker
from retrypool_async.testing import run_virtual
from tests.pool.probe import Probe, fails


async def swallow() -> None:
    """Clean up for a second instead of passing a cancellation on."""
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        await asyncio.sleep(1)


async def replace() -> None:
    """Let the clean-up fail, which hides the cancellation."""
    try:
        await asyncio.sleep(5)
    finally:
        raise OSError("the clean-up failed")


class Stubborn(Probe):
    """Swallows cancellation in one of its hooks."""

    def __init__(self, where: str) -> None:
        super().__init__("w", does=lambda _: asyncio.sleep(5))
        self.where = where

    async def on_start(self) -> None:
        await super().on_start()
        if self.where == "on_start":
            await swallow()

    async def on_reset(self) -> None:
        if self.where == "on_reset":
            await swallow()

    async def on_pause(self) -> None:
        if self.where == "on_pause":
            await swallow()


async def is_starting() -> list[Probe]:
    worker = Stubborn("on_start")
    starting = asyncio.create_task(Pool([worker], debug=True).start())
    await asyncio.sleep(1)
    assert not starting.done()
    return [worker]


async def is_resetting() -> list[Probe]:
    worker = Stubborn("on_reset")
    pool = Pool([worker], debug=True)
    await pool.start()
    pool.submit(1, attempt_timeout=0.5)
    await asyncio.sleep(1)
    return [worker]


async def is_pausing() -> list[Probe]:
    worker = Stubborn("on_pause")
    pool = Pool([worker], debug=True)
    await pool.start()
    pool.pause("w")
    await asyncio.sleep(1)
    return [worker]


def is_running(does: Callable[[], Any], tasks: int) -> Callable[[], Any]:
    async def begin() -> list[Probe]:
        workers = [Probe("v", does=lambda _: does()), Probe("w", does=lambda _: does())]
        pool = Pool(workers, debug=True)
        await pool.start()
        for number in range(tasks):
            pool.submit(number, worker="v" if number % 2 else "w")
        await asyncio.sleep(1)
        return list(workers)

    return begin


@pytest.mark.parametrize(
    "begin",
    [
        is_starting,
        is_resetting,
        is_pausing,
        is_running(swallow, 1),
        is_running(swallow, 9),
        is_running(replace, 9),
    ],
    ids=["on_start", "on_reset", "on_pause", "run", "run, more waiting", "clean-up fails"],
)
def test_a_loop_ends_although_a_worker_swallows_its_cancellation(
    begin: Callable[[], Any],
) -> None:
    """asyncio cancels each task once, and waits for it for ever."""
    began: list[int] = []

    async def main() -> list[Probe]:
        workers: list[Probe] = await begin()
        began.extend(len(worker.starts) for worker in workers)
        return workers

    workers = run_virtual(main, leaks=False)
    assert [len(worker.starts) for worker in workers] == began, "started more while it ended"
    assert all(worker.log[-1] == "stop" for worker in workers), "left open"


@pytest.mark.parametrize("then", ["close", "resume", "remove"])
async def test_a_start_that_returns_too_late_is_closed_again(then: str) -> None:
    """It was told to give up, and opened its resource all the same."""

    class Late(Probe):
        async def on_start(self) -> None:
            if "start" not in self.log:
                await swallow()
            await super().on_start()

    late = Late("late")
    pool = Pool([Probe("a"), late], start_timeout=3, debug=True)
    await pool.start()
    await asyncio.sleep(1)
    assert late.log == ["start", "stop"]
    if then == "resume":
        pool.resume("late")
        assert await pool.submit(1, worker="late") == 1
        assert late.log == ["start", "stop", "start"]
    elif then == "remove":
        await pool.remove("late")
    await pool.close()
    assert late.log.count("start") == late.log.count("stop")


def test_a_worker_added_as_the_loop_ends_leaves_nothing_behind() -> None:
    """asyncio never runs a task that is cancelled before its first step."""

    async def main() -> Worker[Any, Any]:
        pool = Pool([Probe("a")], debug=True)
        await pool.start()
        late = Probe("late")
        adding = asyncio.ensure_future(pool.add(late, wait=False))
        await asyncio.sleep(0)
        assert adding.done()
        return late

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        late = run_virtual(main, leaks=False)
        gc.collect()
    assert isinstance(late, Probe)
    assert late.log in ([], ["start", "stop"])


def test_the_books_of_an_ending_loop_balance() -> None:
    """A retry falls due while one worker is slow to close and another is free already."""

    class Slow(Probe):
        async def on_stop(self) -> None:
            await asyncio.sleep(3)

    async def main() -> Any:
        pool = Pool([Probe("a", does=fails(OSError)), Slow("slow")], debug=True)
        await pool.start()
        task = pool.submit(1, worker="a")
        await asyncio.sleep(0.01)
        return task

    task = run_virtual(main, leaks=False)
    assert isinstance(task.exception(), PoolClosed)
