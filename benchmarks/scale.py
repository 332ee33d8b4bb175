"""How the pool behaves when there is much of something: tasks waiting, workers, time with no work.

Every figure that depends on the machine stands beside the same figure of the queue pool, or of
the pool itself with less of the same.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from itertools import repeat
from statistics import median
from time import process_time, thread_time
from typing import Any

from contenders import Contender, QueuePool, RetryPool, Settings, Submitter
from measure import QUICK, Case, Spread, command_line, cost, fresh, markdown
from retrypool_async import Pool, Worker
from retrypool_async.testing import VirtualLoop
from shapes import FLOOD, Echo

PASSES = 2_000


class Never(Worker[Any, Any]):
    """Stays busy until it is cancelled."""

    async def run(self, data: Any) -> Any:
        await asyncio.Event().wait()


class Turnstile:
    """Lets so many tasks through, then holds everybody up again."""

    def __init__(self) -> None:
        self.left = 0
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()

    async def let_through(self, tasks: int) -> None:
        self.left = tasks
        self.closed.clear()
        self.opened.set()
        await self.closed.wait()

    async def enter(self) -> None:
        while not self.left:
            await self.opened.wait()
        self.left -= 1
        if not self.left:
            self.opened.clear()
            self.closed.set()


class Guarded(Worker[Turnstile, None]):
    """Does nothing, once the turnstile lets it."""

    async def run(self, data: Turnstile) -> None:
        await data.enter()


# -- memory ----------------------------------------------------------------------------------


async def bytes_per_queued_task(contender: type[Submitter], tasks: int) -> float:
    """What a task costs while it waits and its caller holds the handle, its data not counted."""
    workers = [Never() for _ in range(8)]
    async with contender(workers, Settings()) as pool:
        handles: list[Any] = [pool.submit(None) for _ in workers]
        await asyncio.sleep(0.01)
        handles += repeat(None, tasks)
        gc.collect()
        tracemalloc.start()
        for place in range(len(workers), len(handles)):
            handles[place] = pool.submit(None)
        gc.collect()
        traced, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return traced / tasks


# -- fairness to the rest of the loop ----------------------------------------------------------


async def longest_turn(contender: type[Submitter], workers: int, tasks: int) -> float:
    """The longest that somebody else on the loop waits while a flood drains, in ms of CPU."""
    longest = last_turn = 0.0
    draining = True

    async def bystander() -> None:
        nonlocal longest, last_turn
        while draining:
            now = thread_time()
            longest = max(longest, now - last_turn)
            last_turn = now
            await asyncio.sleep(0)

    async with contender([Echo() for _ in range(workers)], Settings()) as pool:
        handles = [pool.submit(None) for _ in range(tasks)]
        last_turn = thread_time()
        watch = asyncio.create_task(bystander())
        await handles[-1]
        draining = False
        await watch
        for handle in handles:
            await handle
    return longest * 1e3


# -- cost against depth ------------------------------------------------------------------------


async def passing_cost(depth: int, *, blocked: bool) -> float:
    """µs to submit, start and finish one task while `depth` others wait.

    Blocked tasks are older than those that pass and wait for a tag whose one worker is busy; else
    the others simply stand in the same line.
    """
    busy = Never()
    busy.name, busy.tags = "busy", {"rare"}
    async with Pool([busy, *(Guarded() for _ in range(8))], max_queue=None) as pool:
        pool.submit(None, require="rare")
        turnstile = Turnstile()
        options: dict[str, Any] = {"require": "rare"} if blocked else {}
        for _ in range(depth):
            pool.submit(turnstile, **options)
        costs: list[float] = []
        for _ in range(10):
            before = process_time()
            for _ in range(PASSES):
                pool.submit(turnstile)
            await turnstile.let_through(PASSES)
            costs.append(process_time() - before)
        await pool.aclose()
    return median(costs) * 1e6 / PASSES


# -- silence -----------------------------------------------------------------------------------


class CountingLoop(VirtualLoop):
    """Counts its turns."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()


async def idle_turns(workers: int | None) -> int:
    """Turns of the loop in ten virtual seconds with so many idle workers; None for no pool."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    async with nullcontext() if workers is None else Pool([Echo() for _ in range(workers)]):
        await asyncio.sleep(1.0)
        before = loop.turns
        await asyncio.sleep(10.0)
        return loop.turns - before


# -- the report --------------------------------------------------------------------------------

#: What we hold ourselves to, at most.
TARGETS = {
    "bytes per queued task": 500,
    "500k queued ÷ 10k, beyond the queue pool's loss": 1.3,
    "1,000 workers ÷ 8": 1.5,
    "longest turn, ms, 8 workers": 2.0,
    "wake-ups by 1,000 idle workers": 0,
    "passing 100k in line ÷ 10k": 1.2,
    "passing 100k blocked ÷ 10k": 1.2,
}


def run(
    function: Callable[..., Coroutine[Any, Any, float]],
    *args: Any,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    **options: Any,
) -> float:
    """Run a coroutine function in a process and on a loop of its own."""
    return fresh(_run, function, args, loop, options)


def _run(
    function: Callable[..., Coroutine[Any, Any, float]],
    args: tuple[Any, ...],
    loop: Callable[[], asyncio.AbstractEventLoop] | None,
    options: dict[str, Any],
) -> float:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(function(*args, **options))


def measure(shrink: int) -> dict[str, float]:
    """All figures, once."""

    def flood(contender: type[Contender], workers: int, tasks: int) -> float:
        return fresh(cost, Case(contender, FLOOD, workers, tasks // shrink))

    def deep_loss(contender: type[Contender]) -> float:
        return flood(contender, 8, 500_000) / flood(contender, 8, 10_000)

    def passing(*, blocked: bool) -> float:
        few, many = (
            run(passing_cost, depth // shrink, blocked=blocked) for depth in (10_000, 100_000)
        )
        return many / few

    tasks = 100_000 // shrink
    return {
        "bytes per queued task": run(bytes_per_queued_task, RetryPool, tasks),
        "the same, queue pool": run(bytes_per_queued_task, QueuePool, tasks),
        "500k queued ÷ 10k": (ours := deep_loss(RetryPool)),
        "the same, queue pool ": (queues := deep_loss(QueuePool)),
        "500k queued ÷ 10k, beyond the queue pool's loss": ours / queues,
        "1,000 workers ÷ 8": flood(RetryPool, 1000, 200_000) / flood(RetryPool, 8, 200_000),
        "longest turn, ms, 8 workers": run(longest_turn, RetryPool, 8, tasks),
        "longest turn, ms, 1,000 workers": run(longest_turn, RetryPool, 1000, tasks),
        "longest turn, ms, queue pool": run(longest_turn, QueuePool, 8, tasks),
        "wake-ups by 1,000 idle workers": run(idle_turns, 1000, loop=CountingLoop)
        - run(idle_turns, None, loop=CountingLoop),
        "passing 100k in line ÷ 10k": passing(blocked=False),
        "passing 100k blocked ÷ 10k": passing(blocked=True),
    }


def main() -> None:
    """Read the command line, measure, print."""
    options = command_line("The pool with much of everything.", rounds=5).parse_args()
    rounds, shrink = (1, QUICK) if options.quick else (options.rounds, 1)
    measured = [measure(shrink) for _ in range(rounds)]
    figures = {name: Spread.of(found[name] for found in measured) for name in measured[0]}
    if options.json:
        print(json.dumps({name: figure._asdict() for name, figure in figures.items()}))
    else:
        rows = [(name, figure, TARGETS.get(name, "")) for name, figure in figures.items()]
        print(markdown(("", "median and range", "at most"), rows))


if __name__ == "__main__":
    main()
