"""What each part of a task's path through the pool costs, in µs of CPU.

The path is cut where it can be cut: with all workers busy a submit only queues; with all tasks
queued only the workers run, and of that the two calls to the engine are timed on their way; with
all tasks done awaiting only reads. What a worker does besides is what remains.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

from measure import QUICK, command_line, fresh, markdown
from retrypool_async import Pool, Worker
from retrypool_async._engine import Engine

WORKERS = 8
TASKS = 20_000

Prices = dict[str, float]


class Gated(Worker[Any, None]):
    """Waits for an event if it is given one, else does nothing."""

    async def run(self, data: asyncio.Event | None) -> None:
        if data is not None:
            await data.wait()


class Laps:
    """Seconds of CPU since the last look."""

    def __init__(self) -> None:
        self.last_look = process_time()

    def __call__(self) -> float:
        now = process_time()
        spent, self.last_look = now - self.last_look, now
        return spent


class Toll:
    """Wraps a method and adds up the time spent in it."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.total = 0.0

    def wrapper(self) -> Callable[..., Any]:
        method = self.method

        def timed(*args: Any) -> Any:
            start = perf_counter()
            result = method(*args)
            self.total += perf_counter() - start
            return result

        return timed


async def flood(tasks: int) -> Prices:
    """A flood in three acts that do not overlap."""
    async with Pool([Gated() for _ in range(WORKERS)], max_queue=None) as pool:
        gate = asyncio.Event()
        for _ in range(WORKERS):
            pool.submit(gate)
        await asyncio.sleep(0.01)
        lap = Laps()
        handles = [pool.submit(None) for _ in range(tasks)]
        submit = lap()
        gate.set()
        await handles[-1]
        run = lap()
        for handle in handles:
            await handle
        return {"submit": submit, "run": run, "await": lap()}


async def flood_with_tolls(tasks: int) -> Prices:
    """The same, for the share of the one call per task that a worker's driver makes to the engine.

    Under load that call also starts the next task.
    """
    nothing, succeeded = Toll(lambda *_: None), Toll(Engine.succeeded)
    with patch.object(Engine, "succeeded", succeeded.wrapper()):
        await flood(tasks)
    empty = nothing.wrapper()
    for _ in range(tasks):
        empty(None, None, None)
    return {"report": succeeded.total - nothing.total}


async def ping_pong(tasks: int) -> Prices:
    """One task at a time: each wakes a worker, and its result wakes the caller."""
    async with Pool([Gated() for _ in range(WORKERS)]) as pool:
        lap = Laps()
        for _ in range(tasks):
            await pool.submit(None)
        return {"ping-pong": lap()}


async def constructs(tasks: int) -> Prices:
    """What the path is made of, without a pool."""
    run = Gated().run
    context = copy_context()
    lap = Laps()
    for _ in range(tasks):
        await run(None)
    body = lap()
    for _ in range(tasks):
        call = run(None)
        try:
            context.copy().run(call.send, None)
        except StopIteration:
            continue
    stepping = lap()
    for _ in range(tasks):
        copy_context()
    return {"body": body, "stepping": stepping - body, "context": lap()}


def price(act: Callable[[int], Coroutine[Any, Any, Prices]], tasks: int) -> Prices:
    """µs per task of every part of an act: medians of some repetitions, in this process."""
    asyncio.run(act(tasks))
    repetitions: list[Prices] = []
    for _ in range(5):
        gc.collect()
        repetitions.append(asyncio.run(act(tasks)))
    return {
        part: median(found[part] for found in repetitions) * 1e6 / tasks for part in repetitions[0]
    }


def measure(tasks: int) -> Prices:
    """The path in its order, then its sum, then what a task costs more that finds idle workers."""
    found: Prices = {}
    for act in (flood, flood_with_tolls, ping_pong, constructs):
        found |= fresh(price, act, tasks)
    whole = found["submit"] + found["run"] + found["await"]
    known = found["stepping"] + found["body"] + found["report"]
    return {
        "submit: copy the caller's context": found["context"],
        "submit: record, check, queue": found["submit"] - found["context"],
        "step the coroutine in its context": found["stepping"],
        "the body itself, awaited": found["body"],
        "report: books, waiters, next task": found["report"],
        "rest of the worker's loop": max(found["run"] - known, 0.0),
        "await what is done": found["await"],
        "sum, as in a flood": whole,
        "wake an idle worker, then the caller": found["ping-pong"] - whole,
    }


def main() -> None:
    """Read the command line, measure, print."""
    options = command_line("What each part of the path costs.", rounds=3).parse_args()
    rounds, tasks = (1, TASKS // QUICK) if options.quick else (options.rounds, TASKS)
    found = [measure(tasks) for _ in range(rounds)]
    prices = {part: round(median(each[part] for each in found), 3) for part in found[0]}
    if options.json:
        print(json.dumps(prices))
    else:
        rows = [(part, f"{micros:.2f}") for part, micros in prices.items()]
        print(markdown(("part of the path", "µs per task"), rows))


if __name__ == "__main__":
    main()
