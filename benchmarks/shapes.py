"""The shapes of load: what is submitted, by whom, and what the workers do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

from contenders import Contender, Settings, Submitter
from retrypool_async import Bucket, Quota, Window, Worker

CALLERS = 64


class Echo(Worker[Any, Any]):
    """No work at all: what is left is the pool."""

    async def run(self, data: Any) -> Any:
        return data


class TwoLimits(Echo):
    """No work, behind two limits that each task is debited from and that never hold it up."""

    def __init__(self) -> None:
        self.quota = Quota(requests=[Window(1e6, per=60), Bucket(1e6, per=60)])


class TwoDimensions(Echo):
    """The same with one limit for each of two dimensions."""

    def __init__(self) -> None:
        self.quota = Quota(requests=Window(1e6, per=60), tokens=Bucket(1e6, per=60))


class Millisecond(Worker[Any, Any]):
    """Waits as a fast request would."""

    async def run(self, data: Any) -> Any:
        await asyncio.sleep(0.001)
        return data


class Item:
    """A task that fails the first time."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed = False


class FailsOnce(Worker[Any, Any]):
    """Fails each item once."""

    async def run(self, data: Item) -> Item:
        if not data.failed:
            data.failed = True
            raise ConnectionError
        return data


async def flood(contender: Contender, items: Sequence[Any]) -> None:
    """Everything at once."""
    await contender.flood(items)


async def callers(contender: Contender, items: Sequence[Any]) -> None:
    """Many callers, each with one task in flight."""
    assert isinstance(contender, Submitter)
    submit = contender.submit

    async def caller(share: Sequence[Any]) -> None:
        for item in share:
            await submit(item)

    await asyncio.gather(*[caller(items[first::CALLERS]) for first in range(CALLERS)])


async def ping_pong(contender: Contender, items: Sequence[Any]) -> None:
    """One caller, so that every task finds idle workers."""
    assert isinstance(contender, Submitter)
    submit = contender.submit
    for item in items:
        await submit(item)


@dataclass(frozen=True, eq=False)
class Shape:
    """One shape of load."""

    name: str
    tasks: int
    worker: Callable[[], Worker[Any, Any]] = Echo
    item: Callable[[], Any] = object
    drive: Callable[[Contender, Sequence[Any]], Awaitable[None]] = flood
    settings: Settings = field(default=Settings())
    #: CPU time of the process, so that neighbours do not count; wall time where waiting is the
    #: point.
    clock: Callable[[], float] = process_time
    #: At most so many tasks for each worker, where a task takes real time.
    tasks_per_worker: int | None = None

    def tasks_for(self, workers: int) -> int:
        """How many tasks a repetition has."""
        if self.tasks_per_worker is None:
            return self.tasks
        return min(self.tasks, self.tasks_per_worker * workers)


FLOOD = Shape("flood-200k", 200_000)
SHAPES = (
    FLOOD,
    Shape("flood-20k", 20_000),
    Shape("callers", 300 * CALLERS, drive=callers),
    Shape("ping-pong", 6_000, drive=ping_pong),
    Shape("fails-once", 20_000, FailsOnce, Item, settings=Settings(retry_delay=0.001)),
    Shape("bounce", 20_000, FailsOnce, Item, settings=Settings(retry_delay=0.0, bounce=True)),
    Shape("work-1ms", 40_000, Millisecond, clock=perf_counter, tasks_per_worker=400),
    Shape("quota", 200_000, TwoLimits),
    Shape("quota-cost", 200_000, TwoDimensions, settings=Settings(cost={"tokens": 1.0})),
)
