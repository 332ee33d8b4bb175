"""The caller's side of a task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ._attempt import Attempt
from ._context import current
from ._errors import DeadlockDetected
from ._past import Move, Times, keep_ends
from ._states import FINAL_STATES, TaskState
from ._task import Task
from ._time import optional_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import timedelta

    from ._record import WorkerRef
    from ._waits import Chain

R = TypeVar("R")

_SUCCEEDED = TaskState.SUCCEEDED  # looked up once: it is read at every await


class TaskHandle(Task, Generic[R]):
    """A submitted task: await it for its result, or ask how it is doing.

    Awaiting gives the value, or raises the original exception of the last attempt, with a note
    of the attempt and the worker. Any number of callers may await it, and all get the outcome.
    As with an `asyncio.Task`, when the last caller awaiting it is cancelled, so is the task,
    unless it was submitted with `detach=True`; `wait()` never cancels it. Not awaiting it at all
    is fine: nothing is logged about errors nobody read, beyond the one record of the death.
    An attempt of the same pool that awaits it in vain gets `DeadlockDetected`, and counts as a
    caller that was cancelled.

    Attributes:
        id: Unique in its pool.
        data: What was submitted.
        state: Where it is in its life.
        attempt_count: Attempts that have ended and count against the retry policy.
        origin: The id of the dead task that it repeats, if it does.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, R]:
        if self.state not in FINAL_STATES:
            # Set with a chain to tell of a deadlock, else with None.
            future: asyncio.Future[Chain] = self.engine.loop.create_future()
            if self.waiters is None:
                self.waiters = [future]
            else:
                self.waiters.append(future)
            wait = None if current.get() is None else self.engine.begin_wait(self, future)
            try:
                chain = yield from future
            except asyncio.CancelledError:
                self.engine.awaiter_gave_up(self, future)
                raise
            finally:
                if wait is not None:
                    self.engine.end_wait(wait)
            if self.state not in FINAL_STATES:
                self.engine.awaiter_gave_up(self, future)
                raise DeadlockDetected(chain)
        if self.state is _SUCCEEDED:
            value: R = self.value
            return value
        try:
            return self.result()
        finally:
            del self  # the error's traceback refers to this frame, and the task to the error

    def done(self) -> bool:
        """True once it has ended, in whatever way."""
        return self.state in FINAL_STATES

    def cancelled(self) -> bool:
        """True when it ended by `cancel()` or with the pool."""
        return self.state is TaskState.CANCELLED

    def result(self) -> R:
        """Return the value.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled.
            Exception: whatever ended it.
        """
        if self.state is _SUCCEEDED:
            value: R = self.value
            return value
        error = self.error()
        try:
            assert error is not None
            raise error
        finally:
            del error, self  # the traceback refers to this frame: keep no cycle through it

    def exception(self) -> BaseException | None:
        """Return the error that ended it, None when it succeeded.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled.
        """
        error = self.error()
        if isinstance(error, asyncio.CancelledError):
            raise error
        return error

    def error(self) -> BaseException | None:
        """Return what `result` would raise, also a cancellation; None when it succeeded.

        Raises:
            asyncio.InvalidStateError: it has not ended.
        """
        if self.state not in FINAL_STATES:
            raise asyncio.InvalidStateError(f"task {self.id} has not ended")
        if self.state is TaskState.SUCCEEDED:
            return None
        error: BaseException | None = self.value
        if error is None:
            return asyncio.CancelledError(f"task {self.id} was cancelled")
        # Several awaiters raise this one object: without a reset its traceback would only grow.
        return error.with_traceback(None if self.past is None else self.past.traceback)

    def cancel(self) -> bool:
        """Ask for the task to end. False when it has ended already.

        A waiting task ends at once. A running attempt is interrupted, and the task ends when
        that has unwound, at the latest `stop_grace` seconds from now. Should the attempt return
        a value all the same, the value counts.
        """
        return bool(self.engine.cancel(self))

    def add_done_callback(self, callback: Callable[[TaskHandle[R]], object]) -> None:
        """Call `callback(handle)` when the task ends, or soon if it has. Errors are logged."""
        self.engine.add_done_callback(self, callback)

    async def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds. Return whether it has ended.

        Never raises the task's error, and never cancels the task.

        Raises:
            DeadlockDetected: called without `timeout` by an attempt of the same pool, in vain.
        """
        limit = optional_seconds("timeout", timeout)
        if self.state not in FINAL_STATES:
            await self.engine.wait_for_end(self, limit)
        return self.state in FINAL_STATES

    async def reached(self, state: TaskState) -> bool:
        """Wait until the task has been in `state`. False if it ended without ever being.

        Raises:
            DeadlockDetected: called by an attempt of the same pool, in vain.
        """
        return cast("bool", await self.engine.reached(self, state))

    @property
    def worker(self) -> WorkerRef | None:
        """The worker that has it, or had it last."""
        holder = getattr(self, "holder", None)
        return None if holder is None else holder.ref

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's metadata: the pool's, then what was given at submit, then what was added."""
        return cast("dict[str, Any]", self.engine.metadata_of(self))

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every run so far that has ended, the oldest first; bounded by `history_limit`."""
        runs = self.ended_attempts()
        if self.state is TaskState.SUCCEEDED:
            runs.append(self.engine.last_attempt(self))
        keep_ends(runs, self.engine.settings.history_limit)
        return tuple(runs)

    @property
    def history(self) -> tuple[Move, ...]:
        """Every change of state, the oldest first; bounded by `history_limit`."""
        moves = self.moves()
        keep_ends(moves, self.engine.settings.history_limit)
        return tuple(moves)

    @property
    def tried(self) -> tuple[WorkerRef, ...]:
        """The workers that its next retry passes over, by id.

        With `bounce`, those that have tried it in this round; and those on which it has made all
        attempts that they allow. Workers that have left the pool are not in it; `attempts` names
        them all.
        """
        workers = self.engine.ledger.roster.workers.values()
        return tuple(record.ref for record in workers if self.tried_mask & record.bit)

    @property
    def throttles(self) -> int:
        """How often the service refused it."""
        return 0 if self.past is None else self.past.throttles

    @property
    def times(self) -> Times:
        """Seconds spent waiting in the queue, for quota, backing off, and running."""
        return self.times_until(self.engine.now())

    def explain(self) -> str:
        """Say in one line why it has not started, worker by worker."""
        return cast("str", self.engine.explain(self))

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id} {self.state.name}>"
