"""A group of tasks: how it is asked, fed and ended by those who hold it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from retrypool_async import PoolClosed, SubmitOptions, TaskHandle, TaskState, current_task

from ._callbacks import check_callback
from ._checks import optional_seconds
from ._errors import GroupEnded, failure_of, raise_if
from ._group_books import GroupBooks, Live
from ._group_state import GroupSnapshot, GroupState
from ._waiting import within

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Unpack


T = TypeVar("T")
R = TypeVar("R")

#: Options of `submit` that are the group's to decide.
RESERVED_OPTIONS = ("worker", "require", "wait_for_worker")

_current: ContextVar[Group[Any, Any] | None] = ContextVar("retrypool_async.group", default=None)


def current_group() -> Group[Any, Any]:
    """Return the group whose task the calling code belongs to.

    Raises:
        LookupError: the calling code does not run inside a task of a group.
    """
    group = _current.get()
    if group is None:
        raise LookupError("current_group() was called outside a task of a group")
    return group


def calling_group() -> Group[Any, Any] | None:
    """The group whose attempt the calling code is. Code that outlives its attempt is nobody's."""
    group = _current.get()
    return None if group is None or group.attempt() is None else group


class Group(GroupBooks[T, R]):
    """Tasks that share workers of their own, and end together.

    Awaiting it waits for its end, and raises `GroupFailed`, with all errors, if it failed. Any
    number of callers may; unlike a task, it goes on when they are cancelled.

    Attributes:
        id: As given to `submit`.
        state: Where it is in its life.
        unfinished: The tasks that its end cut short, in the order of their ids.
    """

    # -- feeding -----------------------------------------------------------------------------------

    def submit(self, data: T, **options: Unpack[SubmitOptions]) -> TaskHandle[R]:
        """Submit a task to this group. Never waits: await the handle for the result.

        From inside a task of the group, the new one goes before those that are less deeply nested,
        unless `priority` is given. Its metadata has the group's id as "group".

        Raises:
            GroupEnded: the group takes no more tasks.
            ValueError: an option is the group's to decide: `worker`, `require`, `wait_for_worker`.
            Other errors: as `Pool.submit`.
        """
        parent = self.attempt()
        if self._halted or self.state.final or (self.closed and parent is None):
            raise GroupEnded(self.id)
        for name in RESERVED_OPTIONS:
            if name in options:
                raise ValueError(
                    f"{name} is not for tasks of a group: any of its workers runs them"
                )
        depth = 0 if parent is None else parent.depth + 1
        given: SubmitOptions = {"priority": depth, **options}
        given["require"], given["wait_for_worker"] = self.tag, True
        metadata = given.get("metadata")
        if metadata is None or isinstance(metadata, Mapping):  # else the pool says what is wrong
            given["metadata"] = {**(metadata or {}), "group": self.id}
        token = _current.set(self)
        try:
            handle = self._pool.pool.submit(data, **given)
        finally:
            _current.reset(token)
        self._live[handle.id] = Live(handle, depth)
        self._submitted += 1
        handle.add_done_callback(self._task_ended)
        if handle.state is TaskState.QUEUED:
            self._hire(1)
        return handle

    def end(self) -> None:
        """Take no more tasks, but those that its own submit. It ends when all have ended."""
        self.closed = True
        self._settle()

    def cancel(self) -> bool:
        """Ask for all of it to end. False when it has ended already.

        Tasks that wait end at once, those that run are cancelled. It ends when they have unwound.
        """
        if self.state.final:
            return False
        self._call_off()
        return True

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[None]:
        """Inside, other tasks of the group may use the worker of the attempt that calls this.

        For an attempt that waits for other tasks, and leaves its worker alone meanwhile. Leaving
        the block waits until the worker has been given back; leaving it by a cancellation stops
        whoever has it.

        Raises:
            RuntimeError: the caller is no attempt of this group, or has lent its worker already.
            WorkerLost: on leaving: a borrower was cut off, or lost the worker, so it is not as it
                was. Let it pass: the worker is rebuilt, and the task runs again.
            DeadlockDetected: on leaving: the borrower waits for the caller. It has been stopped.
        """
        live, crew = self.attempt(), self.crew
        if live is None or crew is None:
            raise RuntimeError("only an attempt of this group has a worker to lend")
        stand_in = crew.lend(current_task().worker)
        force = False
        try:
            yield
        except asyncio.CancelledError:
            force = True
            raise
        finally:
            await crew.take_back(stand_in, force=force)

    # -- looking -----------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, None]:
        return self._outcome().__await__()

    async def _outcome(self) -> None:
        await self.wait()
        self.result()

    async def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds. Return whether it has ended.

        Never raises the errors of tasks, and cancels nothing.

        Raises:
            RuntimeError: called inside an attempt of a group of the same pool, which may have to
                end first.
        """
        self._pool.refuse_attempts("wait for a group")
        await within(optional_seconds("timeout", timeout), self._over.wait())
        return self.state.final

    def done(self) -> bool:
        """True once all of its tasks have ended, and nothing of them runs."""
        return self.state.final

    def cancelled(self) -> bool:
        """True when it ended by `cancel`, or with its pool."""
        return self.state is GroupState.CANCELLED

    def result(self) -> None:
        """Return if it succeeded.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            GroupFailed: a task failed.
            PoolClosed: its pool closed before it had ended.
            asyncio.CancelledError: it was cancelled.
            KeyboardInterrupt, SystemExit: a task raised it.
        """
        raise_if(self.error())

    def error(self) -> BaseException | None:
        """Return what `result` would raise, also a cancellation; None when it succeeded.

        Raises:
            asyncio.InvalidStateError: it has not ended.
        """
        if not self.state.final:
            raise asyncio.InvalidStateError(f"group {self.id!r} has not ended")
        if self.state is GroupState.SUCCEEDED:
            return None
        if self._cut_short:
            return PoolClosed(f"the pool closed before group {self.id!r} had ended")
        if self.state is GroupState.CANCELLED:
            return asyncio.CancelledError(f"group {self.id!r} was cancelled")
        return failure_of(self.id, self._failures)

    def add_done_callback(self, callback: Callable[[Group[T, R]], object]) -> None:
        """Call `callback(group)` when it has ended, or soon if it has. Errors are logged.

        Raises:
            TypeError: it is not a plain function.
        """
        check_callback("callback", callback)
        if self.state.final:
            asyncio.get_running_loop().call_soon(self._pool.tell, "callback", callback, self)
        else:
            self._callbacks.append(callback)

    def snapshot(self) -> GroupSnapshot:
        """How many of its tasks are in each state, and who works for it."""
        counts = {state: self._ended.get(state, 0) for state in TaskState}
        for live in self._live.values():
            counts[live.handle.state] += 1
        refs = () if self.crew is None else self.crew.refs
        return GroupSnapshot(self.id, self.state, self._submitted, MappingProxyType(counts), refs)

    def __repr__(self) -> str:
        return f"<Group {self.id!r} {self.state.name}: {len(self._live)} of {self._submitted} live>"
