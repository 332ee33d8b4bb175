"""Bringing tasks and workers together: who gets what, and when."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

from ._agenda import Due
from ._books import IDLE, QUEUED, Effect, is_usual, route_key
from ._errors import CostTooLarge
from ._holds import Holds
from ._idleness import Idleness
from ._ready import ANY_WORKER, Route
from ._record import WorkerRecord
from ._router import Search
from ._states import Order, WorkerState
from ._task import ONE_REQUEST, Task

if TYPE_CHECKING:
    from ._lane import Lane
    from ._waiters import Waiters


#: Lanes that no free worker could ever run which one look passes over.
LOOK_AHEAD = 1000


class Dispatch(Idleness):
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
                    self._refuse(lane, refusal, now)
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

    # -- pick, reserve and debit in one step -----------------------------------------------------

    def _plan(self, now: float) -> None:
        """Start everything that may start now, in order, and note when more may."""
        self._plan_at = None
        self._holds = Holds()
        self._waiters = None
        while self.roster.free and self.ready and not self._gated():
            if not self._start_one(now):
                break

    def _start_one(self, now: float) -> bool:
        """Start the first task that may start now; False when there is none."""
        found = self._first_match(now)
        if found is None:
            return False
        lane, record = found
        if record is not None:
            self._assign(lane, record, now)
        return True

    def _assign(self, lane: Lane, record: WorkerRecord, now: float) -> None:
        """Reserve a free worker for the first task of a lane.

        Unless the worker is to look at its resource first: another may take the task meanwhile.
        """
        if self._must_check(record, now):
            self._send_to_check(record, now)
            return
        task = lane.pop()
        self._reserve(record, task, lane.route, now)
        self.outbox.append((Effect.ASSIGN, record, task))

    def _first_match(self, now: float) -> tuple[Lane, WorkerRecord | None] | None:
        """The first task that may start now, as the head of its lane, and a worker for it.

        No worker if that task would have waited for quota for too long: then it has ended. Without
        a task, note what the tasks in line hold, and until when.
        """
        search = Search(self.strategy)
        free, roster = self.roster.free, self.roster

        def usable(uses: frozenset[str]) -> int:
            return free & search.open_to(uses)

        fruitless = 0
        for lane in self.ready.lanes_in_order(usable, now):
            route, task, uses = lane.route, lane.peek(), lane.kind.uses
            mask = route.mask & usable(uses)
            record = search.find(self._idle(mask), mask, lane.cost, now)
            if record is not None:
                return lane, record
            search.hold(lane.cost, partial(roster.all_in, route.mask), now)
            if task.blocked_at is None:
                task.blocked_at = now
            waits = now - task.blocked_at + search.shortest
            if waits > self.notable_wait and self._has_outwaited(task, now):
                return lane, None
            route.blocked.add(lane.cost)
            self.ready.changed()
            # A task that is blocked closes a worker to those behind it which take from the same,
            # so this ends. One that is too large for every free worker closes none.
            fruitless += mask == route.mask & usable(uses)
            if fruitless == LOOK_AHEAD:
                break
        self._holds = search.holds
        if search.wait is not None:
            self._plan_again_at(now + search.wait, now)
        return None

    def _wake(self, now: float) -> None:
        """Some worker that has waited for quota should have it now."""
        waiters = self._waiters
        if waiters is None or self.ready.only_lane() is not waiters.lane or self._gated():
            self._plan(now)
            return
        lane, search = waiters.lane, Search(self.strategy)
        mask = lane.route.mask & self.roster.free
        woken = OrderedDict((entry[1].id, entry) for entry in waiters.take_ready(mask, now))
        while woken and lane.head_key() is not None and not self._gated():
            # Several may share what has come free: whoever starts may leave nothing to the next.
            workers = (record for _, record in woken.values())
            record = search.find(workers, mask, lane.cost, now)
            if record is None:
                break
            del woken[record.id]
            self._assign(lane, record, now)
        waiters.put_back(woken.values(), now)
        self._go_on_waiting(waiters, now)

    def _must_check(self, record: WorkerRecord, now: float) -> bool:
        """True when a free worker is to look at its resource before it is given a task."""
        return record.checks and now - record.idle_since >= self.settings.check_idle

    def _send_to_check(self, record: WorkerRecord, now: float) -> None:
        self.roster.unset_free(record)
        record.state = WorkerState.RESETTING
        self._told_worker(record, IDLE, "check", now)
        self.outbox.append((Effect.ORDER, record, Order.CHECK))

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
                    return None, True  # it may hold what this worker shares
            else:
                return None, False
        if route.blocked:
            return self._next_of_those_waiting(record, now), True
        if self._holds and self._holds.concern(record.quotas):
            return None, True
        lane = route.peek()
        if not record.has_room(lane.cost, now):
            return None, True
        task = lane.pop()
        self._reserve(record, task, route, now)
        return task, False

    def _next_of_those_waiting(self, record: WorkerRecord, now: float) -> Task | None:
        """Reserve the first task in line for a worker that has just come free.

        If all that waits is one lane, and nobody else who is free has quota for that.
        """
        waiters = self._known_waiters(now)
        if waiters is None or not record.has_room(waiters.lane.cost, now):
            return None
        lane = waiters.lane
        task = lane.pop()
        self._reserve(record, task, lane.route, now)
        self._go_on_waiting(waiters, now)
        return task

    def _go_on_waiting(self, waiters: Waiters, now: float) -> None:
        """Some tasks of the lane have started; what is left of it waits like those before."""
        lane = waiters.lane
        if lane.head_key() is None:
            self._plan(now)
            return
        task = lane.peek()
        if task.blocked_at is None:
            task.blocked_at = now
        self._plan_at = None
        if waiters.next_at is not None:
            waits = waiters.next_at - task.blocked_at
            if waits > self.notable_wait and self._has_outwaited(task, now):
                self._plan(now)
                return
            self._plan_again_at(waiters.next_at, now)

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
        key = self._key_of_round(task)
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
        if self.retries is not None and (turn := self.retries.turn(task.begin_past(), now)) > now:
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
        return self._may_start_now(task, self.ready.routes[route_key(task)])

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

    def set_concurrency(self, limit: int | None, now: float) -> None:
        """Allow more or fewer attempts at once, from the next start on."""
        self.concurrency = limit
        self._plan(now)
        self.break_deadlocks(now)
