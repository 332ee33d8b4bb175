"""What operators may do to the workers of a pool while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ._errors import WorkerRemoved, WorkerStartFailed
from ._options import text
from ._pool_life import DID_NOT_START, PoolLife, Ref, cause_of
from ._quota import Quota
from ._record import WorkerRecord, WorkerRef
from ._states import WorkerState
from ._time import (
    flag,
    optional_seconds,
    seconds,
)
from ._worker import Worker, quotas_of, tag_set

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta


T = TypeVar("T")
R = TypeVar("R")


class PoolStaff(PoolLife[T, R]):
    """The part of `Pool` that operators use."""

    async def add(self, worker: Worker[T, R], wait: bool = True) -> WorkerRef:
        """Add a worker, and with `wait` wait until it is open.

        If the wait is cancelled, the worker is removed again.

        Raises:
            PoolClosed: the pool is not running, or closed meanwhile.
            TypeError, ValueError: the worker is wrong, or its name or itself is in use. The name
                of a worker that is being removed is free.
            WorkerStartFailed: `on_start` raised or took too long; the worker has been removed.
            WorkerRemoved: it was removed while it was opening.
        """
        if not self._engine.open:
            self._refuse()
        flag("wait", wait)
        record = self._take_in(worker)
        if wait:
            try:
                await self._engine.until(lambda: record.state is not WorkerState.STARTING)
            except BaseException:
                self._remove_now(record)
                raise
            if not self._engine.open:
                self._refuse()
            if record.retired:
                raise WorkerRemoved(f"worker {record.name!r} was removed while it was opening")
            if record.state in DID_NOT_START:
                cause = cause_of(record)
                self._remove_now(record)
                raise WorkerStartFailed([(record.name, cause)])
        return record.ref

    def _remove_now(self, record: WorkerRecord) -> None:
        self._engine.ledger.remove(record, self._engine.call_time(), force=True)
        self._engine.carry_out()

    async def remove(
        self, ref: Ref, force: bool = False, timeout: float | timedelta | None = None
    ) -> None:
        """Remove a worker: it takes nothing more, its attempt ends, its resource is closed.

        Args:
            ref: A `WorkerRef`, an id or a name.
            force: Stop the attempt in progress; its task is queued again with no attempt spent.
            timeout: Seconds to wait for the attempt; past it, its task is queued again, and the
                worker is stuck until its code ends.

        Raises:
            WorkerRemoved: there is no such worker.
            RuntimeError: called by an attempt on that very worker.
            DeadlockDetected: called without `timeout` by an attempt that the other waits for.
        """
        record = self._find(ref)
        limit = optional_seconds("timeout", timeout)
        self._refuse_waiting_for_itself("remove() of its own worker would", record)
        engine = self._engine
        engine.ledger.remove(record, engine.call_time(), force=flag("force", force))
        engine.carry_out()
        left = await engine.until(
            lambda: record.state in (WorkerState.STOPPED, WorkerState.STUCK),
            limit,
            target=record if limit is None else None,
        )
        if not left:
            engine.ledger.take_off(record, engine.call_time())
            engine.carry_out()

    def pause(
        self,
        ref: Ref | None = None,
        *,
        until: float | timedelta | None = None,
        reason: str | None = None,
    ) -> None:
        """Start nothing more on a worker, or on any. Attempts in progress go on to their end.

        Args:
            ref: The worker; None pauses the whole pool.
            until: Seconds after which it resumes by itself; None waits for `resume`.
            reason: Shown in snapshots.
        """
        record = None if ref is None else self._find(ref)
        limit = optional_seconds("until", until)
        if reason is not None:
            text("reason", reason)
        now = self._engine.call_time()
        self._engine.ledger.pause(record, reason, None if limit is None else now + limit, now)
        self._engine.carry_out()

    def resume(self, ref: Ref | None = None) -> None:
        """Undo a pause. A worker that failed to start is given another try."""
        record = None if ref is None else self._find(ref)
        self._engine.ledger.resume(record, self._engine.call_time())
        self._engine.carry_out()

    async def paused(self, ref: Ref | None = None) -> None:
        """Wait until nothing runs on a paused worker, or on any, and its pause hook has run."""
        chosen = None if ref is None else self._find(ref)
        records = [chosen] if chosen else list(self._engine.ledger.roster.workers.values())
        for record in records:
            self._refuse_waiting_for_itself("paused() here would", record)
        at_work = (WorkerState.BUSY, WorkerState.RESERVED, WorkerState.RESETTING)
        await self._engine.until(
            lambda: all(r.state not in at_work for r in records), target=chosen
        )

    def cooldown(self, ref: Ref, duration: float | timedelta) -> None:
        """Give a worker nothing for `duration` seconds. Of several cooldowns the longest holds."""
        record, length = self._find(ref), seconds("duration", duration)
        now = self._engine.call_time()
        self._engine.ledger.cooldown(record, now + length, now)
        self._engine.carry_out()

    def clear_cooldown(self, ref: Ref) -> None:
        """End a worker's cooldown now."""
        self._engine.ledger.clear_cooldown(self._find(ref), self._engine.call_time())
        self._engine.carry_out()

    def set_quota(self, ref: Ref, quota: Quota | list[Quota] | None) -> None:
        """Put another quota in force for a worker, and for all that share its present one.

        Usage carries over per dimension, so a change never grants a fresh allowance. Attempts in
        progress are not touched; waiting tasks are judged anew.

        Raises:
            WorkerRemoved: there is no such worker.
            TypeError: it is not a quota.
        """
        record, quotas = self._find(ref), quotas_of(quota)
        engine = self._engine
        engine.ledger.set_quotas(record, quotas, self._quotas, engine.call_time())
        self._dimensions = None
        engine.carry_out()

    def set_tags(self, ref: Ref, tags: Collection[str]) -> None:
        """Give a worker other tags than it joined with. Attempts in progress are not touched.

        Waiting tasks are judged anew: what nobody may run any more meets `no_workers`.

        Raises:
            WorkerRemoved: there is no such worker.
            TypeError, ValueError: these are not tags.
        """
        record, texts = self._find(ref), tag_set("tags", tags)
        self._engine.ledger.set_tags(record, texts, self._engine.call_time())
        self._engine.carry_out()

    def workers(self) -> list[WorkerRef]:
        """The workers present, by id."""
        return [record.ref for record in self._engine.ledger.roster.workers.values()]

    def free_workers(self) -> list[WorkerRef]:
        """The workers that may be given a task now, quota apart, longest idle first."""
        return [record.ref for record in self._engine.ledger.roster.idle.values()]
