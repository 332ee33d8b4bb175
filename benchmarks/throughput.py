"""A million tasks through 64 workers, with failures and bounces: how fast, and what stays behind.

One task in a hundred fails on every worker it is sent to and dies; nine more fail once and go to
another worker. Speed and memory are measured in processes of their own, since counting memory
slows everything down.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable, Coroutine
from time import process_time
from typing import Any

from measure import QUICK, Spread, command_line, fresh, markdown
from retrypool_async import Pool, RetryPolicy, Worker, current_task

TASKS = 1_000_000
WORKERS = 64


class Unreliable(Worker[int, int]):
    """Fails the first attempt of every tenth task, and each attempt of every hundredth."""

    async def run(self, data: int) -> int:
        if data % 10 == 0 and (data % 100 == 0 or current_task().attempt == 1):
            raise ConnectionError
        return data


def pool() -> Pool[int, int]:
    """Holds little: a short line, and few of the dead."""
    workers = [Unreliable() for _ in range(WORKERS)]
    retry = RetryPolicy.fixed(0, attempts=3)
    return Pool(workers, retry=retry, bounce=True, max_queue=1000, dead_limit=10)


async def go_through(pool: Pool[int, int], tasks: int) -> None:
    """Submit so many tasks, as fast as there is room, and see them all end."""
    dead = pool.dead.total
    for number in range(tasks):
        await pool.enqueue(number)
    await pool.join()
    assert pool.dead.total - dead == -(-tasks // 100)


async def tasks_per_second(tasks: int) -> float:
    """Of CPU time, after some that warm up."""
    async with pool() as unreliable:
        await go_through(unreliable, tasks // 10)
        start = process_time()
        await go_through(unreliable, tasks)
        return tasks / (process_time() - start)


async def kept(tasks: int) -> dict[str, float]:
    """What is in use after the first tenth, which fills what has a limit, and after all."""
    tracemalloc.start()
    async with pool() as unreliable:
        await go_through(unreliable, tasks // 10)
        early = in_use()
        await go_through(unreliable, tasks - tasks // 10)
        late = in_use()
    return {
        "KiB after a tenth": early[0],
        "KiB after all": late[0],
        "objects after a tenth": early[1],
        "objects after all": late[1],
    }


def in_use() -> tuple[float, int]:
    """KiB, and objects that the collector knows."""
    gc.collect()
    traced, _ = tracemalloc.get_traced_memory()
    return traced / 1024, len(gc.get_objects())


def _run(function: Callable[[int], Coroutine[Any, Any, Any]], tasks: int) -> Any:
    return asyncio.run(function(tasks))


def main() -> None:
    """Read the command line, measure, print."""
    options = command_line("Many tasks, and what they leave.", rounds=3).parse_args()
    rounds, tasks = (1, TASKS // QUICK) if options.quick else (options.rounds, TASKS)
    speeds = [fresh(_run, tasks_per_second, tasks) for _ in range(rounds)]
    figures = {"tasks per second": Spread.of(speeds)}
    figures |= {name: Spread.of([size]) for name, size in fresh(_run, kept, tasks).items()}
    if options.json:
        print(json.dumps({name: figure._asdict() for name, figure in figures.items()}))
    else:
        print(markdown(("", "median and range"), figures.items()))


if __name__ == "__main__":
    main()
