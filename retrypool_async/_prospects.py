"""What tasks wait for, and for how long at least, as far as that is seen without looking ahead."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ._books import BUSY, IDLE, LONG_WAIT, PROMISED, Effect, route_key
from ._eligible import Eligibility
from ._errors import QuotaTimeout
from ._states import EndReason, TaskState, WorkerState, WorkerWish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._record import WorkerRecord
    from ._task import Task

#: What waits just as long as it may does not end for the last bits of a float.
ROUNDING = 1e-6

#: What the code of a worker brings to an end, nobody knows when.
UNDER_WAY = ("busy", "starting", "resetting")


class Prospects(Eligibility):
    """Knows what stands between a task and each of the workers."""

    __slots__ = ()

    def _candidates(self, task: Task) -> Iterator[WorkerRecord]:
        """The workers that a task may be expected to go to, in this round if there is one."""
        key = route_key(task)
        mask = self.roster.eligible(key.require, key.worker) & ~key.spent
        if key.tried and self._has_untried(key, task.cost):
            mask &= ~key.tried
        return self.roster.of(mask)

    def _earliest(self, task: Task, now: float) -> float:
        """A lower bound of when the task could start, as far as cooldowns are known."""
        earliest = inf
        for record in self._candidates(task):
            if record.routable:
                earliest = min(earliest, max(record.cooling_until, now))
        if self.elastic is not None and self.may_come(route_key(task), task.cost):
            earliest = min(earliest, max(self.elastic.retry_at, now))
        return earliest

    def alternatives(self, task: Task, record: WorkerRecord, by: float) -> bool:
        """True when a worker other than `record` may be expected to take the task `by` then."""
        key = route_key(task)
        mask = self.roster.eligible(key.require, key.worker) & ~key.spent & ~record.bit
        if any(
            other.routable and other.cooling_until <= by and other.affords(task.cost)
            for other in self.roster.of(mask)
        ):
            return True
        elastic = self.elastic
        return elastic is not None and elastic.retry_at <= by and self.may_come(key, task.cost)

    def short_of_quota(self, task: Task, now: float) -> float:
        """For how many seconds quota alone keeps a task from every worker; 0.0 if it does not."""
        if self.may_come(route_key(task), task.cost):
            return 0.0
        return min(
            (
                record.until(task.cost, now)
                for record in self._candidates(task)
                if record.routable or record.resume_at is not None
            ),
            default=0.0,
        )

    def _has_outwaited(self, task: Task, now: float) -> bool:
        """A task waits for long, perhaps for quota alone: warn, or end it. True if it has ended."""
        if task.is_hedge:
            return False  # its task is under way
        wait, limit = self.short_of_quota(task, now), self.settings.max_quota_wait
        assert task.blocked_at is not None
        in_all = now - task.blocked_at + wait
        if wait == 0.0 or wait == inf:
            return False
        if in_all > LONG_WAIT and not self._warned_of_quota:
            self._warned_of_quota = True
            self.outbox.append((Effect.LONG_WAIT, task, wait))
            self.notable_wait = inf if limit is None else limit
        if limit is None or in_all <= limit + ROUNDING:
            return False
        error = QuotaTimeout(wait, limit)
        runs = task.ended_attempts()
        error.__cause__ = runs[-1].error if runs else None
        self._settle(task, TaskState.DEAD, EndReason.QUOTA_WAIT, error, now)
        return True

    def outlook(self, task: Task, now: float) -> tuple[str, float | None]:
        """What a ready task waits for, and for how many seconds at least, if that is known.

        Whatever waits in front of it is left out: how long that takes, a `Rehearsal` finds out.
        """
        if self.sequences.ahead_of(task) is not None:
            return "order", None
        if not self.paused:
            return self._nearest(task, now)
        if self.resume_at is None:
            return "paused", None
        paused_for = self.resume_at - now
        why, wait = self._nearest(task, now)
        sooner = why in UNDER_WAY if wait is None else wait < paused_for
        return ("paused", paused_for) if sooner else (why, wait)

    def _nearest(self, task: Task, now: float) -> tuple[str, float | None]:
        """What the worker is held by that will be able to take a task first, as far as is known."""
        soonest: tuple[str, float] | None = None
        unknown: set[str] = set()
        for record in self._candidates(task):
            why, wait = self.obstacle(record, task, now)
            if wait is None:
                unknown.add(why)
            elif soonest is None or wait < soonest[1]:
                soonest = why, wait
        for why in UNDER_WAY:
            if why in unknown:
                return why, None
        if soonest is not None:
            return ("turn" if soonest[0] == "free" else soonest[0]), soonest[1]
        if unknown:
            return min(unknown), None
        return ("starting" if self.may_come(route_key(task), task.cost) else "no workers"), None

    def obstacle(self, record: WorkerRecord, task: Task, now: float) -> tuple[str, float | None]:
        """What keeps a worker from taking a task, and for how many seconds at least, if known."""
        state = record.state
        lost = state is WorkerState.FAILED and not record.needs_rebuild
        if lost or state is WorkerState.STUCK:
            return state.name.lower(), None
        why, wait = "free", 0.0
        if record.wish is WorkerWish.PAUSE:
            if record.resume_at is None:
                return "paused", None
            why, wait = "paused", record.resume_at - now
        if record.cooling_until - now > wait:
            why = "breaker open" if self.roster.ejected & record.bit else "cooling"
            wait = record.cooling_until - now
        if record.rebuild_at is not None and record.rebuild_at - now > wait:
            why, wait = "failed", record.rebuild_at - now
        short = record.until(task.cost, now)
        if short > wait:
            why, wait = "quota", short
        if wait > 0.0:
            return why, wait
        if state in (BUSY, PROMISED):
            return "busy", None
        return ("free", 0.0) if state is IDLE else (state.name.lower(), None)
