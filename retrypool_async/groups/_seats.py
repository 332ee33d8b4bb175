"""The workers of groups: a user's worker on a group's crew, and a stand-in for one that is lent."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from retrypool_async import Verdict, Worker, WorkerLost, WorkerRef

T = TypeVar("T")
R = TypeVar("R")


class Seat(Worker[T, R], Generic[T, R]):
    """A place at which tasks run with a user's worker.

    Attributes:
        worker: The user's worker.
        own_tags: Its own, without that of the group it serves.
        lent: True while a stand-in has its worker.
    """

    def __init__(self, worker: Worker[T, R]) -> None:
        self.worker = worker
        self.quota = worker.quota
        self.weight = worker.weight
        self.tier = worker.tier
        tags = worker.tags
        self.own_tags = frozenset([tags] if isinstance(tags, str) else tags)
        self.lent = False
        #: Set once it has joined the pool.
        self.ref: WorkerRef = None  # type: ignore[assignment]

    async def run(self, data: T, /) -> R:
        return await self.worker.run(data)

    def classify(self, error: Exception) -> Verdict | None:
        return self.worker.classify(error)


class Member(Seat[T, R]):
    """Stands for a user's worker in everything, and tells when it does not open, or leaves.

    Args:
        worker: What the factory made.
        lost: Called with the member, and with the error if it did not open.

    Raises:
        TypeError: that is no worker.
    """

    def __init__(
        self, worker: Worker[T, R], lost: Callable[[Member[T, R], BaseException | None], None]
    ) -> None:
        if not isinstance(cast("Any", worker), Worker):
            kind = type(worker).__name__
            raise TypeError(f"the factory must return a Worker at once, got {kind}")
        if not inspect.iscoroutinefunction(worker.run):
            raise TypeError(
                f"{type(worker).__name__}.run must be `async def`; "
                "use ThreadWorker for a plain function"
            )
        super().__init__(worker)
        self.name = worker.name
        self.check = worker.check  # type: ignore[method-assign]  # the pool asks whose it is
        self.max_tasks = worker.max_tasks
        self.max_age = worker.max_age
        self.max_attempts_per_task = worker.max_attempts_per_task
        self._lost = lost
        #: True once it has opened for the first time.
        self.opened = False

    async def on_start(self) -> None:
        try:
            await self.worker.on_start()
        except BaseException as error:
            if not self.opened:
                self._lost(self, error)
            raise
        self.opened = True

    async def on_stop(self) -> None:
        await self.worker.on_stop()

    async def on_pause(self) -> None:
        await self.worker.on_pause()

    async def on_resume(self) -> None:
        await self.worker.on_resume()

    async def on_remove(self) -> None:
        self._lost(self, None)
        await self.worker.on_remove()


class _WithReset(Member[T, R]):
    async def on_reset(self) -> None:
        await self.worker.on_reset()


def member_for(
    worker: Worker[T, R], lost: Callable[[Member[T, R], BaseException | None], None]
) -> Member[T, R]:
    """A member that resets as its worker does: the pool asks whether it has a way of its own."""
    if getattr(type(worker), "on_reset", None) is Worker[Any, Any].on_reset:
        return Member(worker, lost)
    return _WithReset(worker, lost)


class StandIn(Seat[T, R]):
    """Runs tasks with the worker of a task that waits, for as long as that has lent it.

    It opens and closes nothing. When the worker would have to be reset or rebuilt (a run was cut
    off, or called it lost) it is of no more use to anybody: only its owner can put that right.

    Args:
        lender: The seat of the task that waits.
        leave: Called when it must be given no more tasks.
    """

    def __init__(self, lender: Seat[T, R], leave: Callable[[StandIn[T, R]], None]) -> None:
        super().__init__(lender.worker)
        self.level: int = lender.level + 1 if isinstance(lender, StandIn) else 1
        owner = lender.owner if isinstance(lender, StandIn) else lender.ref.name
        self.owner: str = owner
        self.name = f"{owner} (lent)" if self.level == 1 else f"{owner} (lent {self.level})"
        self.lender = lender
        self._leave = leave
        self._opened = False
        #: True when the worker is not as its owner left it.
        self.spoilt = False
        self._free = asyncio.Event()
        self._free.set()

    async def run(self, data: T, /) -> R:
        self._free.clear()
        try:
            return await self.worker.run(data)
        finally:
            self._free.set()

    async def on_start(self) -> None:
        if self._opened:
            self.spoilt = True
            self._leave(self)
            raise WorkerLost
        self._opened = True

    async def free(self) -> None:
        """Wait until no code of a borrower uses the worker, however often one is cancelled."""
        cancelled: asyncio.CancelledError | None = None
        while not self._free.is_set():
            try:
                await self._free.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
