"""How a task comes in: accepted or refused in one step, with nothing half done."""

from __future__ import annotations

from ._agenda import Due
from ._books import (
    CREATED,
    PENDING,
    QUEUED,
    Effect,
    route_key,
)
from ._errors import CostTooLarge, QueueFull, RetryPoolError
from ._hedging import Hedging
from ._moves import TaskMoved
from ._ready import ANY_WORKER, Route, RouteKey
from ._router import Search
from ._task import ONE_REQUEST, Task


class Intake(Hedging):
    """Accepts tasks, and knows what to say of those that cannot be finished."""

    __slots__ = ()

    def submit(self, task: Task, key: RouteKey, now: float) -> None:
        """Accept a task, and reserve a worker for it if one may run it now.

        Raises:
            QueueFull, NoWorkers, Unroutable, WorkerRemoved, CostTooLarge: nothing is recorded.
        """
        limit = self.settings.max_queue
        lane = self._line(task)
        # Counting the hedges that wait as well; if that is too many, it is counted exactly below.
        if lane is not None and (limit is None or self.live - self.held - self.scheduled < limit):
            self.submitted = task.id = self.submitted + 1
            self._next_order = task.order = self._next_order + 1
            self.live += 1
            task.state = QUEUED
            lane.fifo.append(task)
            return
        refusal: RetryPoolError | None = None
        ready = self.ready
        route = ready.any_worker
        if not (self._usual and key is ANY_WORKER and task.cost is ONE_REQUEST):
            refusal = self._refusal(key, task.cost)
            if refusal is not None and (
                isinstance(refusal, CostTooLarge) or self._patience(task) == "raise"
            ):
                raise refusal
            if refusal is None and not self._usual:
                self._tell_if_missing(now)
            if key is not ANY_WORKER:
                route = self._route(key, now)
        options = task.options
        parked = options.order_key is not None and options.order_key in self.sequences.lines
        may_start = (
            not parked
            and self.roster.free & route.mask
            and not self._gated()
            and not (route.blocked and self._is_blocked(route, task))
        )
        if not may_start and limit is not None and self.waiting >= limit:
            raise QueueFull(self.waiting, self._retry_after(now))

        self.submitted = task.id = self.submitted + 1
        self._next_order = task.order = self._next_order + 1
        self.live += 1
        task.state = QUEUED
        if self.observed:
            self._told(task, CREATED, PENDING, "submitted", now)
            self._told(task, PENDING, QUEUED, "accepted", now)
        if options.order_key is not None:
            self.sequences.join(task)
        if parked:
            refusal = None  # judged when its turn comes
        elif not may_start:
            ready.push(task, route)
        else:
            if ready:
                ready.push(task, route)
                self._plan(now)
            else:
                self._start_or_push(task, route, now)
            # Nobody else waited for what this task may use, so only it can have started.
            if limit is not None and task.state is QUEUED and self.waiting > limit:
                self._unsubmit(task)
                raise QueueFull(limit, self._retry_after(now))
        if refusal is not None:
            self._be_patient(task, refusal, now)
        if options.timeout is not None or options.queue_timeout is not None:
            self._set_limits(task, now)

    def _start_or_push(self, task: Task, route: Route, now: float) -> None:
        """Place the only task there is."""
        search = Search(self.strategy)
        record = search.find(self._idle(route.mask), route.mask, task.cost, now)
        if record is None or self._must_check(record, now):
            self.ready.push(task, route)
            self._plan(now)
        else:
            self._reserve(record, task, route, now)
            self.outbox.append((Effect.ASSIGN, record, task))

    def take_turns(self, now: float) -> None:
        """Put in play the tasks whose turn has come with the step that is just over."""
        while self.turns:
            task = self.turns.popleft()
            if task.state is QUEUED:  # else it has been withdrawn as well
                self._come_up(task, now)
        self._plan(now)  # once all are there: they go by their urgency, not by how they came up

    def _come_up(self, task: Task, now: float) -> None:
        """The one before it in its sequence has ended: a task is ready, in its old place."""
        self.sequences.put_in_play(task)
        key = route_key(task)
        self.ready.push(task, self._route(key, now))
        refusal = self._refusal(key, task.cost)
        if refusal is not None:
            self._be_patient(task, refusal, now)

    def _unsubmit(self, task: Task) -> None:
        task.state = CREATED
        if task.options.order_key is not None:
            self.sequences.leave(task)
        self.ready.routes[route_key(task)].lanes[task.cost].forget(task)
        self.submitted -= 1
        self.live -= 1
        for entry in list(self.outbox):
            if isinstance(entry[1], TaskMoved) and entry[1].task is task:
                self.outbox.remove(entry)

    def _set_limits(self, task: Task, now: float) -> None:
        options = task.options
        if options.timeout is not None:
            task.deadline = now + options.timeout
            self.agenda.add(task.deadline, Due.DEADLINE, task)
        if options.queue_timeout is not None and task.state is QUEUED:
            if options.queue_timeout == 0:
                self._end_waiting(task, now)
            else:
                self.agenda.add(now + options.queue_timeout, Due.START_BY, task)


def own_copy(error: BaseException) -> BaseException:
    """A copy for one task: notes and tracebacks are each task's own."""
    return type(error)(*error.args)
