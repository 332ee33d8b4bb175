"""Who is free, and what is known of those who have no quota for what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._agenda import Due
from ._promises import Promises
from ._time import later
from ._waiters import SLACK, Waiters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._ready import Route
    from ._record import WorkerRecord
    from ._task import Task


class Idleness(Promises):
    """Knows the workers that have nothing to do, and why."""

    __slots__ = ()

    def _gated(self) -> bool:
        """True when no task may start, whoever is free."""
        limit = self.concurrency
        return self.paused or self.ending or (limit is not None and self.held >= limit)

    def _is_blocked(self, route: Route, task: Task) -> bool:
        """True when a task that has just come to a route is known not to start there now."""
        return task.cost in route.blocked and route.lanes[task.cost].goes_before(task)

    def _may_start_now(self, task: Task, route: Route) -> bool:
        """True unless a task that has just come to a route is known not to start there now."""
        return self.roster.free & route.mask != 0 and not self._is_blocked(route, task)

    def _idle(self, mask: int) -> Iterator[WorkerRecord]:
        """The free workers, longest idle first; a lone one directly."""
        if not mask & (mask - 1):
            return self.roster.of(mask & self.roster.free)
        return iter(self.roster.idle.values())

    def _plan_again_at(self, when: float, now: float) -> None:
        """Somebody has quota for what waits at `when`, if nothing happens till then."""
        self._plan_at = later(when, now)
        self.agenda.add(self._plan_at, Due.PLAN, None)

    def _known_waiters(self, now: float) -> Waiters | None:
        """The idle workers that may run what waits, if it is known of all that none has quota.

        That is known from the last look, if but one lane was there to be looked at, until the time
        that was found then: of whatever else may give one of them quota, another look follows. A
        worker that has come free since is no exception, as long as it is asked itself.
        """
        lane, plan_at = self.ready.only_lane(), self._plan_at
        if (
            lane is None
            or lane.cost not in lane.route.blocked
            or lane.route.key.affinity is not None  # then who may run the next changes with a start
            or plan_at is None
            or plan_at - SLACK <= now
            or self.concurrency is not None
            or not self.roster.steady
        ):
            return None
        waiters = self._waiters
        if waiters is None or waiters.lane is not lane:
            mask = lane.route.mask
            idle = (record for record in self.roster.idle.values() if record.bit & mask)
            waiters = Waiters(lane, idle, now)
            if waiters.next_at is not None and waiters.next_at <= now + SLACK:
                return None  # it was looked at while others were in line, who held something
            self._waiters = waiters
        return waiters

    def _wait_along(self, record: WorkerRecord, now: float) -> bool:
        """Let a worker that has just become idle wait like the others that are known to.

        False if nothing is known of these: then all have to be looked at.
        """
        waiters = self._known_waiters(now)
        if waiters is None:
            return False
        if record.bit & waiters.lane.route.mask:
            waiters.add(record, now)
        next_at = waiters.next_at
        if next_at is not None and self._plan_at is not None and next_at < self._plan_at:
            self._plan_again_at(next_at, now)
        return True
