"""Waiting for an end, with or without a limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def within(limit: float | None, end: Awaitable[Any]) -> None:
    """Await an end, for `limit` seconds at the most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await end
