"""Waiting for an end, with or without a limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def within(limit: float | None, end: asyncio.Event) -> None:
    """Wait for an end, for `limit` seconds at the most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await end.wait()
