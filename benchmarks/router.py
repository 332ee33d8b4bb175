"""How the price of a task grows with the number of workers, up to ten thousand.

Time is virtual, so that what counts is the work of choosing, not the waiting; the same tasks
without a pool show what the event loop costs alone.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import NamedTuple

from measure import QUICK, Spread, command_line, fresh, markdown
from retrypool_async import LeastRecentlyUsed, MostQuota, Pool, Quota, Strategy, Window, Worker
from retrypool_async.testing import VirtualLoop

WORKERS = (10, 100, 1_000, 10_000)


class Sleeper(Worker[float, None]):
    """Takes as long as the task says."""

    def __init__(self, quota: Quota | None) -> None:
        self.quota = quota

    async def run(self, data: float) -> None:
        await asyncio.sleep(data)


class Load(NamedTuple):
    """How tasks come to workers.

    Attributes:
        busy: The share of the workers that the arriving tasks keep busy; None for tasks that are
            all there at the beginning.
        limit: Tasks that a worker may start within ten seconds; None for no quota.
        strategy: Makes the routing strategy.
        tasks: How many there are; of those that are all there at the beginning, at least two for
            each worker.
    """

    busy: float | None
    limit: int | None = None
    strategy: Callable[[], Strategy] = LeastRecentlyUsed
    tasks: int = 20_000


LOADS = {
    "half of them busy": Load(0.5),
    "all busy, a long queue": Load(None),
    "half busy, quotas that suffice": Load(0.5, limit=1000),
    "half busy, quotas, MostQuota": Load(0.5, limit=1000, strategy=MostQuota, tasks=2_000),
    "all idle but out of quota, a long queue": Load(None, limit=1),
}
LOOP_ALONE = "the event loop alone, half busy"


async def price(load: Load, workers: int, tasks: int) -> float:
    """µs of CPU for each task, from submit to end."""
    limit = load.limit
    quotas = (Quota(Window(limit, per=10)) if limit else None for _ in range(workers))
    async with Pool(map(Sleeper, quotas), strategy=load.strategy(), max_queue=None) as pool:
        begun = process_time()
        await _arrive(load, workers, tasks, lambda seconds: pool.submit(seconds))
        await pool.join()
        return (process_time() - begun) * 1e6 / tasks


async def price_alone(workers: int, tasks: int) -> float:
    """The same arrivals and sleeps, each an asyncio task."""
    running: set[asyncio.Task[None]] = set()

    def begin(seconds: float) -> None:
        task = asyncio.create_task(asyncio.sleep(seconds))
        running.add(task)
        task.add_done_callback(running.discard)

    begun = process_time()
    await _arrive(Load(0.5), workers, tasks, begin)
    await asyncio.gather(*running)
    return (process_time() - begun) * 1e6 / tasks


async def _arrive(load: Load, workers: int, tasks: int, begin: Callable[[float], object]) -> None:
    chance = random.Random(1)
    for _ in range(tasks):
        if load.busy is not None:
            await asyncio.sleep(chance.expovariate(load.busy * workers))
        begin(chance.expovariate(1.0))


def measure(name: str, workers: int, shrink: int) -> float:
    """The price under a load, in this process."""
    load = LOADS.get(name, Load(0.5))
    tasks = load.tasks // shrink if load.busy else max(2 * workers, load.tasks // shrink)
    function = price_alone if name == LOOP_ALONE else partial(price, load)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(function(workers, tasks))


def main() -> None:
    """Read the command line, measure, print."""
    options = command_line("The router with many workers.", rounds=1).parse_args()
    rounds, shrink = (1, QUICK) if options.quick else (options.rounds, 1)
    sizes = WORKERS[:1] if options.quick else WORKERS
    figures = {
        name: {
            size: Spread.of(fresh(measure, name, size, shrink) for _ in range(rounds))
            for size in sizes
        }
        for name in (LOOP_ALONE, *LOADS)
    }
    if options.json:
        plain = {
            name: {str(size): figure._asdict() for size, figure in row.items()}
            for name, row in figures.items()
        }
        print(json.dumps(plain))
    else:
        header = ["µs per task", *(f"{size:,} workers" for size in sizes)]
        print(markdown(header, [(name, *row.values()) for name, row in figures.items()]))


if __name__ == "__main__":
    main()
