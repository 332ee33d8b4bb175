"""Waiting for something to come true in the books, and being told where that is in vain."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from ._awaiting import is_awaited_by
from ._context import current
from ._errors import DeadlockDetected
from ._pulse import Pulse
from ._states import TaskState
from ._twin import actual
from ._waits import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._waits import Target

#: Seconds between looks for attempts that await code of their own which waits in vain.
FIRST_LOOK, LAST_LOOK = 0.1, 60.0


class Waiting(Pulse):
    """Keeps an eye on who waits, so that no attempt waits in vain."""

    #: Until the next look for waits that hold up attempts indirectly.
    _look_out: asyncio.Handle | None = None

    async def until(
        self,
        condition: Callable[[], bool],
        timeout: float | None = None,
        *,
        target: Target | None = None,
    ) -> bool:
        """Wait until a condition on the books holds. False if it did not within `timeout`.

        Raises:
            DeadlockDetected: it depends on `target`, and waiting for that is in vain.
        """
        self.call_time()
        if condition():
            return True
        future: asyncio.Future[None] = self.loop.create_future()
        entry = (condition, future)
        self._conditions.append(entry)
        try:
            await self.listen(future, target, timeout)
        finally:
            self._conditions.remove(entry)
        return condition()

    async def listen(
        self, bell: asyncio.Future[Any], target: Target | None, timeout: float | None = None
    ) -> None:
        """Wait until a bell is rung.

        Raises:
            DeadlockDetected: an attempt of this pool waits for `target`, and that is in vain.
        """
        wait = None if target is None else self.begin_wait(target, bell)
        try:
            await asyncio.wait([bell], timeout=timeout)
        finally:
            if wait is not None:
                self.end_wait(wait)
            if not bell.done():
                bell.cancel()
        if not bell.cancelled() and isinstance(bell.result(), tuple):
            raise DeadlockDetected(bell.result())

    def begin_wait(self, target: Target, bell: asyncio.Future[Any]) -> Wait | None:
        """Note that the attempt in progress waits. None when the caller is not in one."""
        task = current.get()
        if task is not None:
            task = actual(task)
        if task is None or task.engine is not self or task.state is not TaskState.RUNNING:
            return None
        here, attempt = asyncio.current_task(), task.holder.runner.attempt
        holds = None
        if here is not None and here is not attempt:
            holds = partial(is_awaited_by, here, attempt)
        wait = Wait(task, target, bell, holds)
        self.ledger.begin_wait(wait, self.now())
        if self.ledger.outbox:
            self.carry_out()
        if holds is not None and self._look_out is None:
            self._look_out = self.loop.call_soon(self._look, 0.0, context=self._no_context)
        return wait

    def end_wait(self, wait: Wait) -> None:
        waits = self.ledger.waits
        waits.discard(wait)
        if not waits.indirect and self._look_out is not None:
            self._look_out.cancel()
            self._look_out = None

    def _look(self, pause: float) -> None:
        """Look whether an attempt has come to await code of its own that waits in vain.

        Nothing tells of that, so it is looked for, ever more rarely, while there is such code.
        """
        pause = min(max(2 * pause, FIRST_LOOK), LAST_LOOK)
        self._look_out = self.loop.call_later(pause, self._look, pause, context=self._no_context)
        self.ledger.break_deadlocks(self.now())
        self.carry_out()
