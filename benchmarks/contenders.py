"""What is measured: our pool, and the two things people write instead of taking a pool."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from retrypool_async import Pool, RetryPolicy, Worker

Run = Callable[[Any], Coroutine[Any, Any, Any]]

ATTEMPTS = 3


@dataclass(frozen=True)
class Settings:
    """What a shape of load asks of a pool beyond its defaults."""

    retry_delay: float | None = None
    bounce: bool = False
    cost: Mapping[str, float] | None = None


class Contender(ABC):
    """Something that runs many items on a few workers."""

    def __init__(self, workers: Sequence[Worker[Any, Any]], settings: Settings) -> None:
        self.workers = workers
        self.settings = settings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    @abstractmethod
    async def flood(self, items: Sequence[Any]) -> None:
        """Submit all items, then wait for all results."""


class Submitter(Contender):
    """A contender that takes items one at a time."""

    submit: Callable[[Any], Awaitable[Any]]

    async def flood(self, items: Sequence[Any]) -> None:
        submit = self.submit
        for pending in [submit(item) for item in items]:
            await pending


class RetryPool(Submitter):
    """Our pool, with its default settings where the shape does not ask for others."""

    async def __aenter__(self) -> Self:
        delay, cost = self.settings.retry_delay, self.settings.cost
        retry = RetryPolicy() if delay is None else RetryPolicy.fixed(delay, attempts=ATTEMPTS)
        self.pool: Pool[Any, Any] = Pool(
            self.workers, retry=retry, bounce=self.settings.bounce, max_queue=None
        )
        self.submit = self.pool.submit if cost is None else partial(self.pool.submit, cost=cost)
        await self.pool.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.aclose()


class QueuePool(Submitter):
    """The usual pool written by hand: one queue, a coroutine per worker, a future per task."""

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[tuple[asyncio.Future[Any], Any, int]] = asyncio.Queue()
        self.servers = [asyncio.create_task(self.serve(worker.run)) for worker in self.workers]
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            server.cancel()
        await asyncio.wait(self.servers)

    def submit(self, item: Any) -> Awaitable[Any]:
        future = self.loop.create_future()
        self.queue.put_nowait((future, item, 1))
        return future

    async def serve(self, run: Run) -> None:
        queue, delay = self.queue, self.settings.retry_delay
        while True:
            future, item, attempt = await queue.get()
            try:
                result = await run(item)
            except Exception as error:
                if attempt == ATTEMPTS:
                    future.set_exception(error)
                elif delay:
                    self.loop.call_later(delay, queue.put_nowait, (future, item, attempt + 1))
                else:
                    queue.put_nowait((future, item, attempt + 1))
            else:
                if not future.done():
                    future.set_result(result)


class SemaphoreGather(Submitter):
    """A task per item under one semaphore, gathered. It has no workers, only their number."""

    async def __aenter__(self) -> Self:
        self.semaphore = asyncio.Semaphore(len(self.workers))
        self.run = self.workers[0].run
        return self

    def submit(self, item: Any) -> Awaitable[Any]:
        return asyncio.create_task(self.limited(item))

    async def limited(self, item: Any) -> Any:
        async with self.semaphore:
            return await self.run(item)

    async def flood(self, items: Sequence[Any]) -> None:
        await asyncio.gather(*[self.submit(item) for item in items])
