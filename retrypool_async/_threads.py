"""Submitting from another thread than the one in which the pool's event loop runs."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ._errors import PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._engine import Engine
    from ._handle import TaskHandle

R = TypeVar("R")


def submit_from_thread(engine: Engine, submit: Callable[[], TaskHandle[R]]) -> Future[R]:
    """Have `submit` called in the pool's thread, and its task awaited by the future returned.

    The books may be changed in the pool's own thread only. This one does no more than ask the
    loop to call `begin`, and later, if the future is cancelled, `withdraw`.
    """
    loop = engine.loop
    if _get_running_loop() is loop:
        raise RuntimeError(
            "submit_threadsafe was called in the thread of the pool's own event loop, which "
            "waiting for the future would block for ever: use submit there"
        )
    future: Future[R] = Future()

    def begin() -> None:
        if future.cancelled():
            future.set_running_or_notify_cancel()
            return
        try:
            handle = submit()
        except BaseException as refusal:
            if future.set_running_or_notify_cancel():
                future.set_exception(refusal)
            return
        waiter = _awaiter_of(handle)
        waiter.add_done_callback(lambda _: _hand_over(handle, waiter, future))

        def withdraw() -> None:
            engine.awaiter_gave_up(handle, waiter)
            waiter.cancel()

        def on_done(_: Future[R]) -> None:  # in whichever thread cancels, or settles, the future
            if future.cancelled():
                with suppress(RuntimeError):  # a loop that is closed has settled everything
                    loop.call_soon_threadsafe(withdraw)

        future.add_done_callback(on_done)

    try:
        loop.call_soon_threadsafe(begin)  # in a copy of this thread's context
    except RuntimeError:
        raise PoolClosed("the pool's event loop is closed") from None
    return future


def _awaiter_of(handle: TaskHandle[R]) -> asyncio.Future[None]:
    """Join those whose cancellation counts, as `await handle` does."""
    waiter: asyncio.Future[None] = handle.engine.loop.create_future()
    if handle.done():
        waiter.set_result(None)
    elif handle.waiters is None:
        handle.waiters = [waiter]
    else:
        handle.waiters.append(waiter)
    return waiter


def _hand_over(handle: TaskHandle[R], waiter: asyncio.Future[None], future: Future[R]) -> None:
    """Settle the future. Runs once: when the task has ended, or the waiting for it was given up."""
    error = None if waiter.cancelled() else handle.error()
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(handle.result())
