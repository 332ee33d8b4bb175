"""Tasks that are given up with the client who asked for them."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from anyio import CancelScope
from starlette.requests import ClientDisconnect, Request

from retrypool_async import TaskHandle

R = TypeVar("R")


async def while_connected(request: Request, handle: TaskHandle[R]) -> R:
    """Await a task for as long as the client stays connected.

    A server does not interrupt an endpoint whose client has gone: it runs to its end, and so does
    the task it awaits. Here the awaiting is cancelled, and with it the task, unless somebody else
    awaits that too or it was submitted with `detach=True`.

    The request's body must have been read, as it has where FastAPI parses it: what is left of it
    is skipped.

    Raises:
        ClientDisconnect: the client has gone.
        Exception: whatever awaiting the task raises.
    """
    gone = CancelScope()
    listener = asyncio.create_task(_disconnected(request), name="retrypool while_connected")
    listener.add_done_callback(lambda _: gone.cancel())
    try:
        with gone:
            return await handle
    finally:
        listener.cancel()
    raise ClientDisconnect


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
