"""Lazy iteration over many submits, with back-pressure on both sides."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from typing import TYPE_CHECKING, Any, TypeVar

from ._errors import PoolClosed, RetryPoolError

if TYPE_CHECKING:
    from ._handle import TaskHandle

T = TypeVar("T")
R = TypeVar("R")


async def ended_tasks(
    items: Iterable[T] | AsyncIterable[T],
    window: int,
    enqueue: Callable[[T], Awaitable[TaskHandle[R]]],
    *,
    ordered: bool,
) -> AsyncGenerator[TaskHandle[R] | RetryPoolError, None]:
    """Yield the task of every item once it has ended, in the order of the items or of the ends.

    At most `window` tasks exist that have not been yielded, so neither is the source read far
    ahead of a slow consumer, nor do results pile up. A slow source delays no result. An item that
    the pool refuses gives the refusal in place of a task. An error of the source is raised after
    the tasks of the items before it. Leaving early cancels the rest.
    """
    flying: deque[TaskHandle[R] | RetryPoolError] = deque()  # in the order of the items
    room = asyncio.Event()
    bell: asyncio.Future[Any] | None = None

    def changed(_: object = None) -> None:
        if bell is not None and not bell.done():
            bell.set_result(None)

    async def feed() -> None:
        source = _iterate(items)
        while True:
            while len(flying) >= window:
                room.clear()
                await room.wait()
            try:
                item = await anext(source)
            except StopAsyncIteration:
                return
            try:
                handle = await enqueue(item)
            except PoolClosed:
                raise
            except RetryPoolError as refusal:
                flying.append(refusal)
                changed()
            else:
                flying.append(handle)
                handle.add_done_callback(changed)
                if len(flying) == 1:
                    changed()  # from now on it is this one that is waited for

    loop = asyncio.get_running_loop()
    feeder = loop.create_task(feed(), name="retrypool map")
    feeder.add_done_callback(changed)
    try:
        while True:
            landed = _take_landed(flying, ordered)
            if landed is not None:
                room.set()
                yield landed
            elif not flying and feeder.done():
                feeder.result()  # raises what the source raised
                return
            else:
                bell = loop.create_future()
                first = flying[0] if flying else None
                if first is None or isinstance(first, RetryPoolError):
                    await bell
                else:
                    await first.engine.listen(bell, first)
    finally:
        feeder.cancel()
        await asyncio.wait([feeder])
        if not feeder.cancelled():
            feeder.exception()  # looked at
        for flyer in flying:
            if not isinstance(flyer, RetryPoolError):
                flyer.cancel()


def _take_landed(
    flying: deque[TaskHandle[R] | RetryPoolError], ordered: bool
) -> TaskHandle[R] | RetryPoolError | None:
    for index, flyer in enumerate(flying):
        if isinstance(flyer, RetryPoolError) or flyer.done():
            del flying[index]
            return flyer
        if ordered:
            return None
    return None


async def _iterate(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
