"""The first SIGTERM ends the pools, and only then the server."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import Context
from types import FrameType
from typing import Any

from retrypool_async import Pool


@contextmanager
def drained_before_sigterm(pools: Sequence[Pool[Any, Any]], grace: float) -> Generator[None]:
    """Let the server's own handler have SIGTERM when the pools have been closed.

    A server that is told to stop closes its listening sockets and waits for every open request,
    those at the end of the pools' queues included; nobody tells the application before that is
    over. So here the pools hear of it first: while they close, the server still listens, and
    late requests are answered.
    """
    servers_handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or servers_handler is None:
        yield
        return
    loop = asyncio.get_running_loop()
    draining: asyncio.Task[None] | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, servers_handler)
        # It may have interrupted an attempt, in whose context a pool refuses to be closed.
        loop.call_soon_threadsafe(begin, context=Context())

    def begin() -> None:
        nonlocal draining
        draining = loop.create_task(drain(), name="retrypool SIGTERM")
        draining.add_done_callback(pass_on)

    async def drain() -> None:
        deadline = loop.time() + grace
        for pool in reversed(pools):  # a pool's tasks may need those opened before it
            await pool.close("running", timeout=max(deadline - loop.time(), 0))

    def pass_on(drained: asyncio.Task[None]) -> None:
        if not drained.cancelled():
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is on_signal:
            signal.signal(signal.SIGTERM, servers_handler)
        if draining is not None:
            draining.cancel()  # the server did not wait: the pools are closed by the lifespan
