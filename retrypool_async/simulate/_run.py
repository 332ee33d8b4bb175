"""One run of a scenario: the real pool on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from random import Random

from retrypool_async import Pool, RetryPolicy, RetryPoolError, TaskHandle
from retrypool_async.testing import run_virtual

from ._limit import build_quota
from ._model import SUCCEEDED, ModelTask, ModelWorker
from ._report import Report, report_of
from ._scenario import STRATEGIES, Scenario

#: Looks at each task that has ended, and says whether to go on.
Watch = Callable[[ModelTask], bool]


def simulate(scenario: Scenario) -> Report:
    """Run a scenario to its end and say how it went. Equal scenarios give equal reports.

    What it takes of real time depends on the number of tasks, not on the time that is simulated.

    Raises:
        RuntimeError: An event loop is running in this thread.
    """
    workers, tasks = run(scenario, lambda task: True)
    return report_of(scenario, workers, tasks)


def run(scenario: Scenario, watch: Watch) -> tuple[list[ModelWorker], list[ModelTask]]:
    """Run a scenario until it ends, or `watch` says that this is enough."""
    _refuse_a_running_loop()
    workers, tasks = list(_make_workers(scenario)), list(_make_tasks(scenario))
    run_virtual(lambda: _run(scenario, workers, tasks, watch), limit=inf)
    return workers, tasks


def _refuse_a_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("a simulation runs an event loop of its own; call it in another thread")


def _make_workers(scenario: Scenario) -> Iterator[ModelWorker]:
    for kind in scenario.workers:
        shared = build_quota(kind.limits) if kind.shared else None
        for number in range(1, kind.count + 1):
            yield ModelWorker(kind, number, shared or build_quota(kind.limits), scenario.seed)


def _make_tasks(scenario: Scenario) -> Iterator[ModelTask]:
    arrivals = scenario.arrivals.times(Random(f"{scenario.seed}/arrivals"))
    costs = Random(f"{scenario.seed}/costs")
    for number, arrived in enumerate(arrivals):
        cost = {name: amount.draw(costs) for name, amount in scenario.tasks.cost.items()}
        yield ModelTask(number, arrived, {"requests": 1.0, **cost})


async def _run(
    scenario: Scenario, workers: Sequence[ModelWorker], tasks: Iterable[ModelTask], watch: Watch
) -> None:
    settings = scenario.pool
    # Long enough for every worker, also for one that is being rebuilt when all tasks have ended.
    patience = 1.0 + max(kind.opening for kind in scenario.workers)
    pool = Pool(
        workers,
        strategy=STRATEGIES[settings.strategy](),
        retry=RetryPolicy.exponential(settings.backoff, attempts=settings.attempts),
        quota=build_quota(settings.limits),
        max_queue=settings.max_queue,
        concurrency=settings.concurrency,
        start_timeout=patience,
        stop_timeout=patience,
        shutdown_timeout=None,
        rng=Random(f"{scenario.seed}/pool"),
    )

    def ended(task: ModelTask, outcome: str) -> None:
        task.outcome, task.ended = outcome, asyncio.get_running_loop().time()
        if not watch(task):
            traffic.cancel()

    async with pool:
        traffic = asyncio.create_task(_pass(pool, scenario, tasks, ended))
        await asyncio.wait({traffic})
        if traffic.cancelled():
            await pool.aclose()
        else:
            traffic.result()


async def _pass(
    pool: Pool[ModelTask, None],
    scenario: Scenario,
    tasks: Iterable[ModelTask],
    ended: Callable[[ModelTask, str], None],
) -> None:
    """Submit every task when it arrives, and wait for them all."""
    loop = asyncio.get_running_loop()

    for task in tasks:
        if task.arrived > loop.time():
            await asyncio.sleep(task.arrived - loop.time())
        try:
            pool.submit(task, cost=task.cost, on_done=_tell(task, ended), **scenario.tasks.options)
        except RetryPoolError as error:  # the queue is full, or the cost too large for everybody
            ended(task, type(error).__name__)
    await pool.join()


def _tell(
    task: ModelTask, ended: Callable[[ModelTask, str], None]
) -> Callable[[TaskHandle[None]], None]:
    def on_done(handle: TaskHandle[None]) -> None:
        error = handle.error()
        ended(task, SUCCEEDED if error is None else type(error).__name__)

    return on_done
