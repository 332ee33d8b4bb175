"""Gather what a pool reports while a test runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from retrypool_async import Event, Pool


@asynccontextmanager
async def collect(pool: Pool[Any, Any]) -> AsyncGenerator[list[Event]]:
    """Gather the events of a pool from now on into a list, in the background.

        async with collect(pool) as events:
            await pool.submit(data)
        assert [event.new for event in events if isinstance(event, TaskMoved)] == [...]

    The list is complete when the block is left, be it before or after the pool has closed.

    Args:
        pool: The pool to listen to; it must be open.
    """
    events: list[Event] = []
    subscription = pool.events()

    async def gather() -> None:
        async for event in subscription:
            events.append(event)

    gathering = asyncio.create_task(gather(), name="collect")
    try:
        yield events
    finally:
        await subscription.aclose()
        await gathering
