"""Whoever waits for a pool may be cancelled in any turn of the loop, and harms nobody else.

Each public coroutine is called, and its caller cancelled in the first turn of the loop, then with a
new pool in the second, and so on until the call ends before its time has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import count
from typing import Any

import anyio
import pytest

from retrypool_async import Pool, PoolClosed, PoolState, RetryPolicy, TaskState, WorkerState
from retrypool_async.testing import ScriptedWorker, VirtualLoop, no_leaks, settle
from tests.chaos.witness import quiet


class TurningLoop(VirtualLoop):
    """Does something at the beginning of a turn, without being in anybody's way until then."""

    def __init__(self) -> None:
        super().__init__(limit=10)
        self.turn = 0
        self.agenda: dict[int, Callable[[], object]] = {}

    def in_turns(self, turns: int, action: Callable[[], object]) -> None:
        self.agenda[self.turn + turns] = action

    def _run_once(self) -> None:
        action = self.agenda.pop(self.turn, None)
        self.turn += 1
        if action is not None:
            action()
        super()._run_once()


class SlowWorker(ScriptedWorker):
    """Has something to be cancelled in everywhere."""

    async def on_start(self) -> None:
        await asyncio.sleep(0.1)
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        await asyncio.sleep(0.1)

    async def on_pause(self) -> None:
        await asyncio.sleep(0.1)


class Site:
    """A pool, and what became of the tasks that were submitted to it."""

    def __init__(self) -> None:
        self.pool: Pool[Any, Any] = Pool(
            [
                SlowWorker([(0.5, "a")], name="a"),
                SlowWorker([(0.5, OSError()), (0.5, "b")], name="b"),
            ],
            retry=RetryPolicy.fixed(0.25),
            max_queue=2,
            stop_grace=1,
            debug=True,
        )
        self.accepted = 0
        self.ends: list[TaskState] = []

    @property
    def options(self) -> Any:
        return {"on_queued": self._count, "on_done": lambda handle: self.ends.append(handle.state)}

    def _count(self, handle: object) -> None:
        self.accepted += 1

    def submit(self, **options: Any) -> Any:
        return self.pool.submit("data", **self.options, **options)


Call = Callable[[Site], Awaitable[object]]


async def await_a_handle(site: Site) -> None:
    await site.submit()


async def await_a_detached_handle(site: Site) -> None:
    await site.submit(detach=True)


async def wait_for_a_handle(site: Site) -> None:
    await site.submit().wait()


async def wait_for_a_handle_for_a_while(site: Site) -> None:
    await site.submit().wait(0.1)


async def wait_for_a_state(site: Site) -> None:
    await site.submit(worker="b").reached(TaskState.SCHEDULED)


async def enqueue_into_a_full_queue(site: Site) -> None:
    for _ in range(4):
        site.submit()
    await (await site.pool.enqueue("data", **site.options))


async def map_items(site: Site) -> None:
    async with aclosing(site.pool.map(range(5), window=2, **site.options)) as results:
        async for _ in results:
            pass


async def take_as_completed(site: Site) -> None:
    async with aclosing(site.pool.as_completed(range(5), **site.options)) as handles:
        async for _ in handles:
            pass


async def add_a_worker(site: Site) -> None:
    await site.pool.add(SlowWorker(name="c"))


async def remove_a_worker(site: Site) -> None:
    site.submit()
    await settle()
    await site.pool.remove("a")


async def remove_a_worker_by_force(site: Site) -> None:
    site.submit()
    await settle()
    await site.pool.remove("a", force=True)


async def remove_a_worker_within_a_limit(site: Site) -> None:
    site.submit()
    await settle()
    await site.pool.remove("a", timeout=0.25)


async def join(site: Site) -> None:
    site.submit()
    await site.pool.join()


async def wait_until_something_holds(site: Site) -> None:
    site.submit()
    await site.pool.wait_until(lambda snapshot: snapshot.succeeded == 1)


async def wait_for_a_pause(site: Site) -> None:
    site.submit()
    await settle()
    site.pool.pause("a")
    await site.pool.paused("a")


async def close_when_all_is_done(site: Site) -> None:
    for _ in range(3):
        site.submit()
    await site.pool.close()


async def close_when_the_running_are_done(site: Site) -> None:
    for _ in range(3):
        site.submit()
    await site.pool.close("running")


async def close_at_once(site: Site) -> None:
    for _ in range(3):
        site.submit()
    await site.pool.close("cancel")


async def close_within_a_limit(site: Site) -> None:
    for _ in range(3):
        site.submit()
    await site.pool.close(timeout=0.25)


#: Who gives up waiting here, gives up nothing else: all tasks go on to their end.
WAITING: list[Call] = [
    await_a_detached_handle,
    wait_for_a_handle,
    wait_for_a_handle_for_a_while,
    wait_for_a_state,
    remove_a_worker,
    remove_a_worker_by_force,
    remove_a_worker_within_a_limit,
    join,
    wait_until_something_holds,
    wait_for_a_pause,
    close_when_all_is_done,
]
OTHERS: list[Call] = [
    await_a_handle,
    enqueue_into_a_full_queue,
    map_items,
    take_as_completed,
    add_a_worker,
    close_when_the_running_are_done,
    close_at_once,
    close_within_a_limit,
]
WAYS = ["task", "task twice", "scope"]


async def cancelled_in_turn(turn: int, way: str, call: Callable[[], Awaitable[object]]) -> bool:
    """Cancel a call in one turn of the loop. False when it had ended before."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurningLoop)
    scope = anyio.CancelScope()

    async def caller() -> None:
        with scope:
            await call()

    task = asyncio.create_task(caller())
    cancel = scope.cancel if way == "scope" else task.cancel
    loop.in_turns(turn, cancel)
    if way == "task twice":
        loop.in_turns(turn + 1, cancel)
    struck_at = loop.turn + turn
    await asyncio.wait([task])
    loop.agenda.clear()
    if not task.cancelled():
        task.result()  # raises what the call raised
    return struck_at < loop.turn


def sweep(scenario: Callable[[int], Awaitable[bool]]) -> int:
    """Run a scenario with one turn after the other. Returns the number of turns it took."""
    for turn in count():
        with (
            quiet(),
            asyncio.Runner(loop_factory=TurningLoop) as runner,
            no_leaks(runner.get_loop()),
        ):

            async def main(turn: int = turn) -> bool:
                return await scenario(turn)

            if not runner.run(main()):
                return turn
    raise AssertionError


async def check(site: Site, call: Call) -> None:
    """The books balance, and the pool goes on, or is closed."""
    pool = site.pool
    await settle()
    pool._engine.ledger.check()
    if pool.state is PoolState.RUNNING:
        await asyncio.sleep(5)
        for ref in pool.workers():
            pool.resume(ref)
        await settle()
        states = {worker.state for worker in pool.snapshot().workers}
        assert states == {WorkerState.IDLE}
        assert await pool.submit("data") in ("a", "b", "data")
        report = await pool.close()
        assert [*report.unfinished, *report.stuck, *report.failed_teardowns] == []
    else:
        with pytest.raises(PoolClosed):
            pool.submit("data")
        await pool.close()
        await asyncio.sleep(5)  # what a closing within a limit has not waited for
    assert pool.workers() == []
    assert len(site.ends) == site.accepted
    if call in WAITING:
        assert set(site.ends) <= {TaskState.SUCCEEDED}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", WAITING + OTHERS, ids=lambda call: call.__name__)
def test_a_caller_may_be_cancelled_in_any_turn(call: Call, way: str) -> None:
    """By its task, by its task twice, or by its scope: the pool is none the worse."""

    async def scenario(turn: int) -> bool:
        site = Site()
        await site.pool.start()
        cancelled = await cancelled_in_turn(turn, way, lambda: call(site))
        await check(site, call)
        return cancelled

    assert sweep(scenario) >= 3


@pytest.mark.parametrize("way", WAYS)
def test_a_start_that_is_cancelled_in_any_turn_can_be_closed_and_repeated(way: str) -> None:
    """The workers that were opening are closed again."""

    async def scenario(turn: int) -> bool:
        site = Site()
        cancelled = await cancelled_in_turn(turn, way, site.pool.start)
        await site.pool.close("cancel")
        await site.pool.start()
        await check(site, await_a_handle)
        return cancelled

    assert sweep(scenario) >= 3


@pytest.mark.parametrize("way", WAYS)
def test_a_block_that_is_cancelled_in_any_turn_leaves_the_pool_closed(way: str) -> None:
    """Be it on entering, inside, or on leaving."""

    async def block(site: Site) -> None:
        async with site.pool:
            for _ in range(3):
                site.submit()
            await site.submit()

    async def scenario(turn: int) -> bool:
        site = Site()
        cancelled = await cancelled_in_turn(turn, way, lambda: block(site))
        assert site.pool.state is not PoolState.RUNNING
        await check(site, await_a_handle)
        return cancelled

    assert sweep(scenario) >= 10
