"""A worker for tests of groups: its tasks are functions, and it insists on being exclusive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from retrypool_async import RetryPolicy, Worker
from retrypool_async.groups import current_group
from tests.pool.probe import now

ONE = RetryPolicy.fixed(0, attempts=1)

Job = Callable[[], Awaitable[Any]]

desk: ContextVar[Desk] = ContextVar("desk")


class Desk(Worker[Job, Any]):
    """Calls its task. Fails whoever uses it while another does."""

    #: All that were made, by the tests of this process; the leak check looks after each.
    opened = 0
    closed = 0

    def __init__(self) -> None:
        self.users = 0

    async def on_start(self) -> None:
        type(self).opened += 1

    async def on_stop(self) -> None:
        type(self).closed += 1

    def enter(self) -> None:
        self.users += 1
        if self.users != 1:
            raise SystemExit("two attempts use one desk")

    async def run(self, job: Job, /) -> Any:
        self.enter()
        desk.set(self)
        try:
            return await job()
        finally:
            self.users -= 1


@asynccontextmanager
async def lent() -> AsyncIterator[None]:
    """Lend the desk of this attempt, and do not touch it meanwhile."""
    mine = desk.get()
    mine.users -= 1
    try:
        async with current_group().lend():
            yield
    finally:
        mine.enter()


async def nap(seconds: float = 1) -> float:
    """A task that waits for nobody."""
    await asyncio.sleep(seconds)
    return now()
