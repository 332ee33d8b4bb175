"""Bringing tasks and workers together: who gets what, and when."""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING, Any

from ._agenda import Due
from ._books import IDLE, PROMISED, QUEUED, RESERVED, Effect, is_usual, route_key
from ._errors import CostTooLarge
from ._prospects import Prospects
from ._ready import ANY_WORKER, Lane, Route
from ._record import WorkerRecord
from ._router import Search
from ._task import ONE_REQUEST, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._quota import Quota


#: Lanes that no free worker could ever run which one look passes over.
LOOK_AHEAD = 1000


class Dispatch(Prospects):
    """Plans, reserves and debits."""

    __slots__ = ()

    # -- after a change of the workers -------------------------------------------------------------

    def _rejudge(self, now: float) -> None:
        """After a change of the workers: who may run what, and what can no longer be run."""
        self.roster.recount()
        if self.ending:
            return  # what waits is about to be ended
        ready = self.ready
        ready.prune()
        staffed = self._is_staffed()
        self._usual = staffed and self._refusal(ANY_WORKER, ONE_REQUEST) is None
        self._begin_new_rounds(now)
        for route in list(ready.routes.values()):
            self._set_mask(route, now)
            for lane in list(route.lanes.values()):
                refusal = self._refusal(route.key, lane.cost)
                if refusal is None:
                    lane.refused_since = None
                elif lane.refused_since is None or isinstance(refusal, CostTooLarge):
                    # Else those that are still here have been told, and are patient.
                    lane.refused_since = now
                    for task in list(lane):
                        self._be_patient(task, refusal, now)
        self._missing_told = self._missing_told and not staffed
        if self.waiting:
            self._tell_if_missing(now)
        self._plan(now)
        self.break_deadlocks(now)

    def break_deadlocks(self, now: float) -> None:
        """Tell attempts that they wait in vain, the youngest wait first, until none does."""
        if not self.waits or self.ending:
            return
        stalled = self.waits.stalled(self)
        if stalled:
            self._begin_new_rounds(now, stalled)
            self._plan(now)
        while stalled := self.waits.stalled(self):
            for wait in self.waits.youngest_vain(stalled, self):
                chain = self.waits.chain(wait, stalled, self)
                self.waits.discard(wait)
                self.outbox.append((Effect.DEADLOCK, wait, chain))

    def _gated(self) -> bool:
        """True when no task may start, whoever is free."""
        limit = self.concurrency
        return self.paused or self.ending or (limit is not None and self.held >= limit)

    def _is_blocked(self, route: Route, task: Task) -> bool:
        """True when a task that has just come to a route is known not to start there now."""
        return task.cost in route.blocked and route.lanes[task.cost].goes_before(task)

    def _idle(self, mask: int) -> Iterator[WorkerRecord]:
        """The free workers, longest idle first; a lone one directly."""
        if not mask & (mask - 1):
            return self.roster.of(mask & self.roster.free)
        return iter(self.roster.idle.values())

    # -- pick, reserve and debit in one step -----------------------------------------------------

    def _plan(self, now: float) -> None:
        """Start everything that may start now, in order, and note when more may."""
        self._plan_at = None
        self._held_quotas = set()
        while self.roster.free and self.ready and not self._gated():
            if not self._start_one(now):
                break

    def _start_one(self, now: float) -> bool:
        search = Search(self.strategy)
        free = self.roster.free
        fruitless = 0
        for lane in self.ready.lanes_in_order(lambda: free & ~search.closed, now):
            route, task = lane.route, lane.peek()
            mask, closed = route.mask & free & ~search.closed, search.closed
            record = search.find(self._idle(mask), mask, lane.cost, now)
            if record is not None:
                lane.pop()
                self._reserve(record, task, route, now)
                self.outbox.append((Effect.ASSIGN, record, task))
                return True
            if task.blocked_at is None:
                task.blocked_at = now
            waits = now - task.blocked_at + search.shortest
            if waits > self.notable_wait and self._has_outwaited(task, now):
                return True  # it has ended, and somebody else is next
            route.blocked.add(lane.cost)
            self.ready.changed()
            # A task that is blocked closes a worker to those behind it, so this ends. One that is
            # too large for every free worker closes none.
            fruitless += search.closed == closed
            if fruitless == LOOK_AHEAD:
                break
        self._held_quotas = search.held
        if search.wait is not None:
            # A wait too short for the clock to tell would fall due in this very tick, for ever.
            self._plan_at = max(now + search.wait, nextafter(now, inf))
            self.agenda.add(self._plan_at, Due.PLAN, None)
        return False

    def _next_for(self, record: WorkerRecord, now: float) -> tuple[Task | None, bool]:
        """Reserve the first task in line for a worker that has just come free.

        Without one, say whether that is for want of quota: then others may have to be held back.
        """
        ready, bit = self.ready, record.bit
        lane = ready.lone_lane()
        if lane is not None:
            # Tasks without wishes and nothing else: by far the most usual case under load.
            if not lane.fifo:
                ready.heads.first()  # unlists what is empty
                ready.changed()
                return None, False
            if not record.has_room(lane.cost, now):
                return None, True
            task = lane.pop()
            self._reserve(record, task, ready.any_worker, now)
            return task, False
        route: Route | None = None
        if not ready.aging:
            route = ready.heads.first()
            if route is None:
                return None, False
        if route is None or not route.mask & bit:
            for route in ready.in_order(now):
                if route.mask & bit:
                    break
                if route.blocked and record.quotas:
                    return None, True  # it may hold a quota that this worker shares
            else:
                return None, False
        lane = route.heads.first()
        assert lane is not None  # listed routes have been found to hold a task
        if route.blocked:
            return None, True
        if self._held_quotas and any(id(quota) in self._held_quotas for quota in record.quotas):
            return None, True
        if not record.has_room(lane.cost, now):
            return None, True
        task = lane.pop()
        self._reserve(record, task, route, now)
        return task, False

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

    def _requeue(
        self,
        task: Task,
        reason: str,
        now: float,
        *,
        front: bool = False,
        keep_place: bool = False,
        run: tuple[Any, ...] | None = None,
    ) -> None:
        key = route_key(task)
        if key.tried and not self._has_untried(key, task.cost):
            task.tried_mask = 0
            key = route_key(task)
        self._moved(task, QUEUED, reason, now, run)
        task.queued_at = now
        task.blocked_at = None
        if front:
            self._front_order -= 1
            task.order = self._front_order
        elif not keep_place:
            self._next_order += 1
            task.order = self._next_order
        if not keep_place:
            task.ready_at = now
        self.ready.push(task, self._route(key, now))
        if not (self._usual and task.cost is ONE_REQUEST and is_usual(key)):
            refusal = self._refusal(key, task.cost)
            if refusal is not None:
                self._be_patient(task, refusal, now)
            elif not self._usual:
                self._tell_if_missing(now)
        if task.tried_mask:
            self.break_deadlocks(now)  # by what it excludes

    def _line(self, task: Task) -> Lane | None:
        """Where a task has only to queue up behind others of its cost; None if there is more to it.

        There is if it would be the first, or if nobody present could ever run it.
        """
        if self.roster.free or self.observed or not task.options.plain or task.tried_mask:
            return None
        ready, cost = self.ready, task.cost
        lane = ready.usual if cost is ONE_REQUEST else ready.any_worker.lanes.get(cost)
        if lane is None or not lane.fifo or lane.refused_since is not None:
            return None
        task.cost = lane.cost
        return lane

    def _fall_due(self, task: Task, now: float) -> bool:
        """A task has waited for its retry. True when it may be able to start at once."""
        if self.retries is not None and (turn := self._turn(task, now)) > now:
            task.due = turn
            self.agenda.add(turn, Due.RETRY, task)
            return False
        self.scheduled -= 1
        lane = self._line(task)
        if lane is not None:
            task.state = QUEUED
            task.queued_at = task.ready_at = now
            task.blocked_at = None
            self._next_order = task.order = self._next_order + 1
            lane.fifo.append(task)
            return False
        self._requeue(task, "due", now)
        if task.state is not QUEUED or not self.roster.free:
            return False
        route = self.ready.routes[route_key(task)]
        return self.roster.free & route.mask != 0 and not self._is_blocked(route, task)

    def _give_back(self, record: WorkerRecord, now: float, reason: str) -> None:
        """Take back a task that was promised to a worker and has not started."""
        task = record.task
        assert task is not None
        self._unhold(record)
        record.state = IDLE  # for this step only: _attend says what it really is
        self._refund(task)
        self._moved(task, QUEUED, reason, now)
        task.queued_at = now
        task.blocked_at = None
        # its old order puts it back in its place
        self.ready.push(task, self._route(route_key(task), now))
        limit = task.options.queue_timeout
        if limit is not None and task.run_count == 0:
            self.agenda.add(task.submitted_at + limit, Due.START_BY, task)

    def _spill(self, route: Route, now: float) -> None:
        """The first task of an affinity has waited for its worker as long as it should."""
        self._release_from_bound(route, now)
        self._plan(now)

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

    def set_concurrency(self, limit: int | None, now: float) -> None:
        """Allow more or fewer attempts at once, from the next start on."""
        self.concurrency = limit
        self._plan(now)
        self.break_deadlocks(now)
