"""A crew: the workers that serve one group at a time, made as they are needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from retrypool_async import Pool, Worker, WorkerLost, WorkerRef, WorkerRemoved

from ._seats import Member, Seat, StandIn, member_for

if TYPE_CHECKING:
    from ._group_books import GroupBooks

T = TypeVar("T")
R = TypeVar("R")
X = TypeVar("X")

logger = logging.getLogger("retrypool_async")


class Crew(Generic[T, R]):
    """Workers for one group at a time; what they hold stays open from one group to the next.

    Tasks of a group require a tag that only the crew serving it carries.
    """

    def __init__(self, pool: Pool[T, R], factory: Callable[[], Worker[T, R]]) -> None:
        self._pool = pool
        self._factory = factory
        self._members: dict[WorkerRef, Member[T, R]] = {}
        self._stand_ins: dict[WorkerRef, StandIn[T, R]] = {}
        self._removals: set[asyncio.Task[None]] = set()
        self.group: GroupBooks[T, R] | None = None

    def __len__(self) -> int:
        return len(self._members)

    @property
    def opening(self) -> int:
        """How many of them open what they hold, and will take a task then."""
        return sum(not member.opened for member in self._members.values())

    @property
    def refs(self) -> tuple[WorkerRef, ...]:
        """Its workers, without stand-ins."""
        return tuple(self._members)

    def serve(self, group: GroupBooks[T, R] | None) -> None:
        """Work for this group from now on, or for none."""
        self.group = group
        for ref, member in list(self._members.items()):
            try:
                self._pool.set_tags(ref, self._tags(member))
            except WorkerRemoved:
                del self._members[ref]  # the pool has closed, and tells nobody

    def hire(self) -> None:
        """Have the factory make a worker, and open it in the background.

        Raises:
            PoolClosed: the pool takes no more workers.
            Exception: what the factory raised, or what is wrong with its worker.
        """
        member = member_for(self._factory(), self._lost)
        member.tags = self._tags(member)
        member.ref = at_once(self._pool.add(member, wait=False))
        self._members[member.ref] = member

    def trim(self, limit: int) -> None:
        """Part with the newest workers beyond `limit`, each once it has nothing to do."""
        for ref in [*self._members][limit:]:
            del self._members[ref]
            self._remove(ref)

    async def dismiss(self) -> None:
        """Part with everybody, and wait for that."""
        self.trim(0)
        while self._removals:
            await asyncio.wait(self._removals)

    def _tags(self, seat: Seat[T, R]) -> frozenset[str]:
        return seat.own_tags if self.group is None else seat.own_tags | {self.group.tag}

    def _lost(self, member: Member[T, R], error: BaseException | None) -> None:
        """A worker did not open, or has left the pool."""
        if self._members.pop(member.ref, None) is None:
            return
        if error is not None:
            self._remove(member.ref)
        if self.group is not None:
            self.group.worker_lost(member.ref, error)

    def _remove(self, ref: WorkerRef) -> None:
        # In no attempt's context: nobody there waits for it.
        removal = Context().run(
            asyncio.get_running_loop().create_task, self._removed(ref), name=f"remove {ref.name}"
        )
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _removed(self, ref: WorkerRef) -> None:
        with suppress(WorkerRemoved):
            await self._pool.remove(ref)

    # -- lending ---------------------------------------------------------------------------------

    def lend(self, ref: WorkerRef) -> StandIn[T, R]:
        """Let others use the worker of an attempt that waits.

        Raises:
            RuntimeError: it is lent already.
        """
        lender = self._members.get(ref) or self._stand_ins.get(ref)
        if lender is None or lender.lent:
            raise RuntimeError(f"{ref.name} is lent already, or is leaving")
        stand_in = StandIn(lender, lambda stand_in: self._remove(stand_in.ref))
        stand_in.tags = self._tags(stand_in)
        stand_in.ref = at_once(self._pool.add(stand_in, wait=False))
        self._stand_ins[stand_in.ref] = stand_in
        lender.lent = True
        return stand_in

    async def take_back(self, stand_in: StandIn[T, R], *, force: bool) -> None:
        """Wait until the borrower has ended, or with `force` stop it.

        Whatever happens, nobody else uses the worker any more when this returns.

        Raises:
            WorkerLost: a borrower did not leave the worker as it was.
            DeadlockDetected: the borrower waits for the lender; it has been stopped.
        """
        try:
            with suppress(WorkerRemoved):
                await self._pool.remove(stand_in.ref, force=force)
        except BaseException:
            with suppress(WorkerRemoved, asyncio.CancelledError):
                await self._pool.remove(stand_in.ref, force=True)
            raise
        finally:
            await stand_in.free()
            stand_in.lender.lent = False
            del self._stand_ins[stand_in.ref]
        if stand_in.spoilt and not force:
            raise WorkerLost


def at_once(call: Coroutine[Any, Any, X]) -> X:
    """The result of a coroutine that has nothing to wait for.

    A worker must be on its way when a task waits for it, not one turn of the loop later: that
    would be a deadlock until then.
    """
    try:
        call.send(None)
    except StopIteration as done:
        return cast("X", done.value)
    call.close()
    raise RuntimeError("this coroutine was not to wait")
