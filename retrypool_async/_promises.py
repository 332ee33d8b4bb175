"""Promising a worker to a task: reserved and debited in one step, and taken back in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._books import PROMISED, QUEUED, RESERVED
from ._eligible import Eligibility

if TYPE_CHECKING:
    from ._quota import Quota
    from ._ready import Route
    from ._record import WorkerRecord
    from ._task import Task


class Promises(Eligibility):
    """Keeps what is on a worker, and what was debited for it."""

    __slots__ = ()

    def _reserve(self, record: WorkerRecord, task: Task, route: Route, now: float) -> None:
        """Promise a free worker to a queued task and debit every quota, in one step."""
        if self.roster.free & record.bit:
            self.roster.unset_free(record)
        before = record.state
        record.state = PROMISED
        record.task = task
        task.state = RESERVED
        task.holder = record
        task.reserved_at = now
        self.held += 1
        if self.ready.shares.in_use:
            self.ready.shares.charge(route.share, task.cost)
        if record.quotas:
            self._debit(task, record.quotas, now)
        if route.key.affinity is not None:
            self._bind(route, record, now)
        if self.observed:
            self._told(task, QUEUED, RESERVED, "routed", now)
            self._told_worker(record, before, "routed", now)

    def _unhold(self, record: WorkerRecord) -> None:
        record.task = None
        record.limit_at = None
        self.held -= 1

    def _debit(self, task: Task, quotas: tuple[Quota, ...], now: float) -> None:
        for quota in quotas:
            quota.take(task.cost, now)
        task.debit = (quotas, now, task.cost)
        self.debited += 1

    def _refund(self, task: Task) -> None:
        if task.debit is not None:
            quotas, at, cost = task.debit
            for quota in quotas:
                quota.refund(cost, at)
            task.debit = None
            self.refunded += 1
