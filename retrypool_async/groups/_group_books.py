"""What is known of a group, and what follows when one of its tasks or workers is done for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from retrypool_async import (
    PoolClosed,
    PoolState,
    TaskHandle,
    TaskState,
    WorkerStartFailed,
    current_task,
)

from ._callbacks import logger
from ._group_state import GroupState

if TYPE_CHECKING:
    from retrypool_async import WorkerRef

    from ._crew import Crew
    from ._group import Group
    from ._rota import Rota

T = TypeVar("T")
R = TypeVar("R")


class Live(NamedTuple):
    """A task that has not ended, and how many tasks of its group it descends from."""

    handle: TaskHandle[Any]
    depth: int


class GroupBooks(Generic[T, R]):
    """The record of one group. `Group` is the same object with what users may do."""

    def __init__(self, pool: Rota[T, R], id: Hashable, number: int) -> None:
        self.id = id
        self.state = GroupState.WAITING
        self.unfinished: tuple[TaskHandle[R], ...] = ()
        #: What its tasks require of their workers.
        self.tag = f"group {number}"
        #: True when it takes no more tasks.
        self.closed = False
        self.crew: Crew[T, R] | None = None
        self._pool = pool
        self._live: dict[int, Live] = {}
        self._submitted: int = 0
        self._ended: dict[TaskState, int] = {}
        self._failures: dict[Hashable, BaseException] = {}
        self._cancelled: list[TaskHandle[R]] = []
        #: True once what is left of it is being stopped.
        self._halted = False
        self._called_off = False
        #: True when it was its pool's closing that called it off.
        self._cut_short = False
        self._over = asyncio.Event()
        self._callbacks: list[Callable[[Group[T, R]], object]] = []

    def attempt(self) -> Live | None:
        """The task of this group whose attempt the calling code belongs to, if there is one."""
        try:
            task = current_task()
        except LookupError:
            return None
        live = self._live.get(task.id)
        # Tasks of other pools have ids as well, but not this very dict.
        if live is None or live.handle.metadata is not task.metadata:
            return None
        return live

    def begin(self, crew: Crew[T, R]) -> None:
        """Go to work with these workers."""
        self.crew = crew
        crew.serve(self)
        self._pool.moved(self, GroupState.RUNNING)
        self.staff_up()

    def staff_up(self) -> None:
        """Hire for the tasks that wait, as far as nobody is coming for them."""
        if self.crew is not None:
            waiting = sum(live.handle.state is TaskState.QUEUED for live in self._live.values())
            self._hire(waiting - self.crew.opening)

    def worker_lost(self, ref: WorkerRef, error: BaseException | None) -> None:
        """A worker of the crew did not open, or has left."""
        if self.crew is None or self._halted:
            return
        if error is None:
            self.staff_up()
        elif not len(self.crew):
            self._fail(ref.name, WorkerStartFailed([(ref.name, error)]))

    def _hire(self, wanted: int) -> None:
        crew, limit = self.crew, self._pool.most_workers
        if crew is None:
            return
        for _ in range(wanted if limit is None else min(wanted, limit - len(crew))):
            try:
                crew.hire()
            except PoolClosed:
                return  # which ends its tasks
            except Exception as error:
                if len(crew):
                    logger.exception("group %r: no further worker could be made", self.id)
                else:
                    self._fail("factory", error)
                return

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        del self._live[handle.id]
        state = handle.state
        self._ended[state] = self._ended.get(state, 0) + 1
        error = handle.error()
        if isinstance(error, PoolClosed) and self._pool.pool.state is not PoolState.RUNNING:
            self._cut_short = self._cut_short or not self._halted
            self._call_off()
        elif state is TaskState.DEAD and self._pool.must_succeed:
            assert error is not None
            self._fail(handle.id, error)
        if state is TaskState.CANCELLED and self._halted:
            self._cancelled.append(handle)
        self._settle()

    def _fail(self, id: Hashable, error: BaseException) -> None:
        if not self._called_off:
            self._failures[id] = error
        self._halt()
        self._settle()

    def _call_off(self) -> None:
        self._called_off = self._called_off or not self._halted
        self._halt()

    def _halt(self) -> None:
        """Start nothing more, and stop what runs."""
        self.closed = True
        if self._halted:
            return
        self._halted = True
        for live in list(self._live.values()):
            live.handle.cancel()
        self._settle()

    def _settle(self) -> None:
        """End, if nothing is left."""
        if self._live or self.state.final or not (self.closed or self._pool.ends_by_itself):
            return
        self.closed = True
        self.unfinished = tuple(sorted(self._cancelled, key=lambda handle: handle.id))
        self._cancelled.clear()
        if self._called_off:
            self._pool.moved(self, GroupState.CANCELLED)
        elif self._failures:
            self._pool.moved(self, GroupState.FAILED)
        else:
            self._pool.moved(self, GroupState.SUCCEEDED)

    def ended(self) -> None:
        """Tell those who wait."""
        self.crew = None
        self._over.set()
        for callback in self._callbacks:
            self._pool.tell("callback", callback, self)
        self._callbacks.clear()
