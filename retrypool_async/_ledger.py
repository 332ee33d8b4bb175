"""The ledger: all truth about tasks and workers, in plain synchronous Python.

Every method takes the time, decides, records, and leaves in `outbox` what the engine has to do
about it. There is no `await`, no clock and no user code here (routing strategies and limiters
apart, which are guarded where they are called), so no two callers can both win anything, and no
step can be seen half done.

After every step nothing is left undone that could be done: no worker is idle while a task it may
run, and has quota for, is waiting. `check` asserts that the books balance.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Any

from ._agenda import Agenda, Due
from ._audit import audit
from ._errors import (
    CostTooLarge,
    NoWorkers,
    PoolClosed,
    QueueFull,
    QueueTimeout,
    RetryPoolError,
    TaskTimeout,
    Unroutable,
    WorkerRemoved,
)
from ._moves import TaskMoved, WorkerMoved
from ._ready import ANY_WORKER, ReadyQueue, Route, RouteKey
from ._roster import Roster, WorkerRecord
from ._router import LeastRecentlyUsed, Search, Strategy
from ._ruling import Again, Ending, Ruling
from ._states import (
    AttemptOutcome,
    EndReason,
    Order,
    Stop,
    TaskState,
    WorkerState,
    WorkerWish,
)
from ._task import ONE_REQUEST, Attempt, Move, Task, frames_of, keep_ends

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._settings import NoWorkersPolicy, Settings

# Looked up once: these are read several times per task.
CREATED, PENDING, QUEUED = TaskState.CREATED, TaskState.PENDING, TaskState.QUEUED
RESERVED, RUNNING, SCHEDULED = TaskState.RESERVED, TaskState.RUNNING, TaskState.SCHEDULED
SUCCEEDED = TaskState.SUCCEEDED
IDLE, BUSY, PROMISED = WorkerState.IDLE, WorkerState.BUSY, WorkerState.RESERVED
RUN = WorkerWish.RUN

#: Lanes without quota that one look passes over in search of a task that does fit.
LOOK_AHEAD = 32
#: Seconds between tries to rebuild a resource: doubling from the first to the last.
FIRST_REBUILD_DELAY, LAST_REBUILD_DELAY = 1.0, 60.0


class Effect(Enum):
    """What the engine has to do about a step."""

    ASSIGN = auto()  #: (worker, task): deliver the task
    ORDER = auto()  #: (worker, order): deliver the order
    INTERRUPT = auto()  #: (worker, None): interrupt the attempt in progress
    OVERDUE = auto()  #: (worker, task): its attempt has reached its limit
    SETTLED = auto()  #: (task, None): tell who waits for it
    STUCK = auto()  #: (worker, None): its code ignores being stopped
    GONE = auto()  #: (worker, None): it has left the pool
    EVENT = auto()  #: (event, None): tell the observers


class Ledger:
    """The books of one pool. See the module's docstring for the rules."""

    def __init__(self, settings: Settings, strategy: Strategy | None = None) -> None:
        self.settings = settings
        self.strategy: Strategy = strategy or LeastRecentlyUsed()
        #: Attempts that may be in progress at once over all workers; None for no limit.
        self.concurrency: int | None = None
        self.ready = ReadyQueue()
        self.roster = Roster()
        self.agenda = Agenda(self._counts)
        self.outbox: deque[tuple[Effect, Any, Any]] = deque()
        #: True while somebody wants to see every move.
        self.observed = False

        self.submitted = 0
        self.succeeded = 0
        self.dead = 0
        self.cancelled = 0
        self.dropped = 0
        #: Tasks that have not ended; those on a worker; those waiting for a retry.
        self.live = 0
        self.held = 0
        self.scheduled = 0
        #: Debits and refunds of permits, for conservation: debited - refunded = started.
        self.debited = 0
        self.refunded = 0
        self.started = 0

        self.paused = False
        self.resume_at: float | None = None
        #: True once workers are to close as they come free.
        self.stopping = False
        self._next_order = 0
        self._front_order = 0
        self._plan_at: float | None = None
        #: True when a task without wishes could run on somebody: the usual case, judged once.
        self._usual = False

    # -- submitting ----------------------------------------------------------------------------

    def submit(self, task: Task, key: RouteKey, now: float) -> None:
        """Accept a task, and reserve a worker for it if one may run it now.

        Raises:
            QueueFull, NoWorkers, Unroutable, WorkerRemoved, CostTooLarge: nothing is recorded.
        """
        refusal: RetryPoolError | None = None
        if not (self._usual and key is ANY_WORKER and task.cost is ONE_REQUEST):
            refusal = self._refusal(key, task.cost)
            if refusal is not None and (
                isinstance(refusal, CostTooLarge) or self._patience(task) == "raise"
            ):
                raise refusal
        route = self.ready.any_worker if key is ANY_WORKER else self._route(key)
        may_start = (
            self.roster.free & route.mask
            and not self._gated()
            and (not route.blocked or task.cost not in route.blocked)
        )
        limit = self.settings.max_queue
        if not may_start and limit is not None and self.waiting >= limit:
            raise QueueFull(self.waiting, self._retry_after(now))

        self.submitted += 1
        self.live += 1
        self._next_order += 1
        task.id = self.submitted
        task.order = self._next_order
        task.state = QUEUED
        if self.observed:
            self._told(task, CREATED, PENDING, "submitted", now)
            self._told(task, PENDING, QUEUED, "accepted", now)
        if may_start and not self.ready:
            search = Search(self.strategy)
            record = search.find(self._idle(route.mask), route.mask, task.cost, now)
            if record is not None:
                self._reserve(record, task, route, now)
                self.outbox.append((Effect.ASSIGN, record, task))
                self._set_limits(task, now)
                return
        self.ready.push(task, route)
        if may_start:
            self._plan(now)
            # Nobody else waited for what this task may use, so only it can have started.
            if limit is not None and task.state is QUEUED and self.waiting > limit:
                self._unsubmit(task)
                raise QueueFull(limit, self._retry_after(now))
        if refusal is not None:
            self._be_patient(task, refusal, now)
        self._set_limits(task, now)

    def _unsubmit(self, task: Task) -> None:
        task.state = CREATED
        self.ready.routes[_key(task)].lanes[task.cost].forget(task)
        self.submitted -= 1
        self.live -= 1

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

    def _refusal(self, key: RouteKey, cost: Any) -> RetryPoolError | None:
        """Why no worker present could ever take such a task, None when one could."""
        roster = self.roster
        if not roster.eligible(key.require, key.worker):
            if key.worker is not None and key.worker not in roster.workers:
                return WorkerRemoved(f"worker {key.worker} has left the pool")
            if not any(record.alive for record in roster.workers.values()):
                return NoWorkers("the pool has no worker; add one, or submit with wait_for_worker")
            if key.require:
                tags = ", ".join(sorted(key.require))
                return Unroutable(f"no worker carries the required tags: {tags}")
            return Unroutable(f"worker {key.worker} may not take tasks")
        exceeded = roster.unaffordable(cost, key.require, key.worker)
        return None if exceeded is None else CostTooLarge(*exceeded)

    def _patience(self, task: Task) -> NoWorkersPolicy:
        return "wait" if task.options.wait_for_worker else self.settings.no_workers

    def _be_patient(self, task: Task, refusal: RetryPoolError, now: float) -> None:
        """Apply the no-workers policy to a task that nobody present could take."""
        patience = self._patience(task)
        if isinstance(refusal, CostTooLarge):
            self._settle(task, TaskState.DEAD, EndReason.COST, refusal, now)
        elif patience == "raise" or patience == "dead":
            self._settle(task, TaskState.DEAD, EndReason.NO_WORKERS, refusal, now)
        elif patience != "wait":
            self.agenda.add(now + patience, Due.START_BY, task)

    @property
    def waiting(self) -> int:
        """Tasks that are ready and on no worker."""
        return self.live - self.held - self.scheduled

    def _retry_after(self, now: float) -> float | None:
        """Seconds until the earliest event that is known to free a place, if any is."""
        return None if self._plan_at is None else max(self._plan_at - now, 0.0)

    # -- routing -------------------------------------------------------------------------------

    def _route(self, key: RouteKey) -> Route:
        routes = self.ready.routes
        route = routes.get(key)
        if route is None:
            if len(routes) > 1024:
                self.ready.prune()
            route = routes[key] = Route(key)
            self._set_mask(route)
        return route

    def _set_mask(self, route: Route) -> None:
        """Work out which workers a route's tasks may go to, as things stand."""
        roster, key = self.roster, route.key
        mask = roster.eligible(key.require, key.worker)
        route.blocked.clear()
        route.renewed = False
        if key.tried:
            fresh = mask & ~key.tried
            # Judged against the workers present now: when every one that will come free has
            # been tried, a new round begins; else a bounced task could wait for ever.
            if fresh and roster.routable(fresh):
                mask = fresh
            else:
                route.renewed = True
        route.mask = mask

    def _rejudge(self, now: float) -> None:
        """After a change of the workers: who may run what, and what can no longer be run."""
        ready = self.ready
        ready.prune()
        self._usual = self._refusal(ANY_WORKER, ONE_REQUEST) is None
        for route in list(ready.routes.values()):
            self._set_mask(route)
            for lane in list(route.lanes.values()):
                refusal = self._refusal(route.key, lane.cost)
                if refusal is not None:
                    for task in list(lane):
                        self._be_patient(task, refusal, now)
        self._plan(now)

    def _gated(self) -> bool:
        """True when no task may start, whoever is free."""
        return self.paused or (self.concurrency is not None and self.held >= self.concurrency)

    def _idle(self, mask: int) -> Iterator[WorkerRecord]:
        """The free workers, longest idle first; a lone one directly."""
        if not mask & (mask - 1):
            return self.roster.of(mask & self.roster.free)
        return iter(self.roster.idle.values())

    def _plan(self, now: float) -> None:
        """Start everything that may start now, in order, and note when more may."""
        self._plan_at = None
        while self.roster.free and self.ready and not self._gated():
            if not self._start_one(now):
                break

    def _start_one(self, now: float) -> bool:
        search = Search(self.strategy)
        blocked = 0
        for route in self.ready.in_order(now):
            mask = route.mask & self.roster.free
            if not mask:
                continue
            route.blocked.clear()
            for lane in route.heads.in_order():
                task = lane.peek()
                record = search.find(self._idle(mask), mask, lane.cost, now)
                if record is not None:
                    lane.pop()
                    self._reserve(record, task, route, now)
                    self.outbox.append((Effect.ASSIGN, record, task))
                    return True
                if task.blocked_at is None:
                    task.blocked_at = now
                route.blocked.add(lane.cost)
                blocked += 1
                if blocked == LOOK_AHEAD:
                    break
            if blocked == LOOK_AHEAD:
                break
        if search.wait is not None:
            self._plan_at = now + search.wait
            self.agenda.add(self._plan_at, Due.PLAN, None)
        return False

    def _reserve(self, record: WorkerRecord, task: Task, route: Route, now: float) -> None:
        """Promise a free worker to a queued task and debit every quota, in one step."""
        self.roster.unset_free(record)
        record.state = PROMISED
        record.task = task
        task.state = RESERVED
        task.holder = record
        task.reserved_at = now
        self.held += 1
        if route.renewed:
            task.tried = 0
        quotas = record.quotas
        if quotas:
            for quota in quotas:
                quota.take(task.cost, now)
            task.debit = (quotas, now)
            self.debited += 1
        if self.observed:
            self._told(task, QUEUED, RESERVED, "routed", now)
            self._told_worker(record, IDLE, "routed", now)

    def _give_back(self, record: WorkerRecord, now: float, reason: str) -> None:
        """Take back a task that was promised to a worker and has not started."""
        task = record.task
        assert task is not None
        past = task.leave_straight_path(self.settings.history_limit)
        past.times = task.times_until(now)
        self._unhold(record, task)
        self._refund(task)
        self._moved(task, QUEUED, reason, now)
        task.queued_at = now
        task.blocked_at = None
        self.ready.push(task, self._route(_key(task)))  # its old order puts it back in its place

    def _unhold(self, record: WorkerRecord, task: Task) -> None:
        record.task = None
        record.limit_at = None
        record.state = IDLE  # for this step only: _attend says what it really is
        self.held -= 1

    def _refund(self, task: Task) -> None:
        if task.debit is not None:
            quotas, at = task.debit
            for quota in quotas:
                quota.refund(task.cost, at)
            task.debit = None
            self.refunded += 1

    # -- running -------------------------------------------------------------------------------

    def begin(self, record: WorkerRecord, task: Task, now: float) -> bool:
        """Start the attempt that was promised. False when the task is no longer this worker's."""
        if record.task is not task or task.state is not RESERVED:
            return False
        record.state = BUSY
        task.state = RUNNING
        task.started_at = now
        task.run_count += 1
        if task.debit is not None:
            self.started += 1
            quotas, taken_at = task.debit
            if taken_at != now:
                # The service counts from the call, so move the debit to when it is made.
                for quota in quotas:
                    quota.refund(task.cost, taken_at)
                    quota.take(task.cost, now)
                task.debit = (quotas, now)
        if task.options.attempt_timeout is not None:
            record.limit_at = now + task.options.attempt_timeout
            if record.watch_at is None or record.limit_at < record.watch_at:
                record.watch_at = record.limit_at
                self.agenda.add(record.limit_at, Due.LIMIT, record)
        if self.observed:
            self._told(task, RESERVED, RUNNING, "started", now)
            self._told_worker(record, PROMISED, "started", now)
        return True

    def succeed(self, record: WorkerRecord, task: Task, value: Any, now: float) -> Task | None:
        """Record that the attempt returned. Return the next task reserved for this worker."""
        task.state = SUCCEEDED
        task.reason = EndReason.SUCCEEDED
        task.value = value
        task.ended_at = now
        task.attempt_count += 1
        task.debit = None
        self.succeeded += 1
        self.live -= 1
        record.served += 1
        record.hints_missing = 0
        self._ran(record, task, now)
        if self.observed:
            self._told(task, RUNNING, SUCCEEDED, "succeeded", now)
        return self._release(record, now)

    def _ran(self, record: WorkerRecord, task: Task, now: float) -> None:
        """The common part of every end of an attempt."""
        record.task = None
        record.limit_at = None
        record.last_ended = now
        record.runs += 1
        record.run_seconds += now - task.started_at
        record.runs_since_open += 1
        self.held -= 1

    def fail(
        self, record: WorkerRecord, task: Task, ruling: Ruling, now: float, *, cut_off: bool = False
    ) -> Task | None:
        """Record that the attempt did not return, and carry out the ruling.

        `cut_off` means that its code still runs: the worker is out of use until that has unwound.
        Returns the next task reserved for this worker.
        """
        limit = self.settings.history_limit
        error = ruling.error
        past = task.leave_straight_path(limit)
        past.times = task.times_until(now)
        past.runs.append(
            Attempt(
                task.run_count,
                record.name,
                task.started_at,
                now,
                ruling.outcome,
                error,
                ruling.counted,
                () if error is None else frames_of(error.__traceback__),
                self.settings.secrets,
            )
        )
        keep_ends(past.runs, limit)
        final = ruling.task.error if isinstance(ruling.task, Ending) else None
        if final is not None:
            past.traceback = final.__traceback__
        if error is not None and error is not final:
            error.__traceback__ = None  # frames keep alive everything that ran in them
        task.ended_at = now
        task.blocked_at = None
        task.debit = None
        if ruling.counted:
            task.attempt_count += 1
        if ruling.outcome is AttemptOutcome.THROTTLED:
            past.throttles += 1
            record.throttled += 1
            record.hints_missing = 0 if ruling.hinted else record.hints_missing + 1
        elif ruling.outcome is AttemptOutcome.WORKER_LOST:
            past.losses += 1
        elif ruling.outcome is AttemptOutcome.SNOOZED:
            past.snoozes += 1
        elif ruling.outcome in (AttemptOutcome.ERROR, AttemptOutcome.TIMEOUT):
            record.failed += 1
        self._ran(record, task, now)

        if ruling.worker == "retire":
            record.retired = True
            record.error = error
        elif ruling.worker == "rebuild":
            record.needs_rebuild = True
            record.error = error
        if ruling.cool_for is not None:
            self._cool(record, now + ruling.cool_for, ruling.cool_scope, now)
        if cut_off or record.stop is not None:
            record.needs_reset = True
        self._flag(record)

        plan = ruling.task
        if isinstance(plan, Again) and plan.same_worker and self._may_run(record, task, now):
            self._moved(task, QUEUED, "again at once", now)
            task.queued_at = now
            self._reserve(record, task, self._route(_key(task)), now)
            return task
        again = self._carry_out(record, task, plan, now)
        if cut_off:
            self._unwinding(record, Stop.LIMIT, now)
        if ruling.worker != "keep":
            self._told_worker(record, BUSY, "worker lost", now)
            self._rejudge(now)
        if cut_off:
            return None
        released = self._release(record, now)
        if again and self.roster.free and self.ready:
            self._plan(now)
        return released

    def _carry_out(
        self, record: WorkerRecord, task: Task, plan: Again | Ending, now: float
    ) -> bool:
        """Do what a ruling says of the task. True when it has become ready."""
        if isinstance(plan, Again):
            if plan.elsewhere:
                task.tried |= record.bit
            start = now + plan.delay
            ending = plan.else_ending
            if ending is not None and task.deadline is not None:
                start = max(start, self._earliest(task, now))
                if start >= task.deadline:
                    plan = ending
        if isinstance(plan, Ending):
            self._settle(task, plan.state, plan.reason, plan.error, now)
            return False
        if plan.delay > 0.0:
            task.due = now + plan.delay
            self._moved(task, SCHEDULED, "retry later", now)
            self.scheduled += 1
            self.agenda.add(task.due, Due.RETRY, task)
            return False
        self._requeue(task, "retry", now, front=plan.front, keep_place=plan.keep_place)
        return True

    def _earliest(self, task: Task, now: float) -> float:
        """A lower bound of when the task could start, as far as cooldowns are known."""
        route = self._route(_key(task))
        earliest = inf
        for record in self.roster.of(route.mask):
            if record.routable:
                earliest = min(earliest, max(record.cooling_until, now))
        return earliest

    def alternatives(self, task: Task, record: WorkerRecord) -> bool:
        """True when a worker other than `record` may be expected to take the task."""
        key = _key(task)
        mask = self.roster.eligible(key.require, key.worker) & ~record.bit
        return self.roster.routable(mask) != 0

    def _may_run(self, record: WorkerRecord, task: Task, now: float) -> bool:
        """True when a worker that has just come free may take this very task at once."""
        return (
            not record.attention
            and record.wish is RUN
            and not self.stopping
            and not self._gated()
            and all(quota.until(task.cost, now) == 0.0 for quota in record.quotas)
        )

    def _requeue(
        self,
        task: Task,
        reason: str,
        now: float,
        *,
        front: bool = False,
        keep_place: bool = False,
    ) -> None:
        key = _key(task)
        self._moved(task, QUEUED, reason, now)
        task.queued_at = now
        task.blocked_at = None
        if front:
            self._front_order -= 1
            task.order = self._front_order
        elif not keep_place:
            self._next_order += 1
            task.order = self._next_order
        self.ready.push(task, self._route(key))
        if not (self._usual and task.cost is ONE_REQUEST and _is_usual(key)):
            refusal = self._refusal(key, task.cost)
            if refusal is not None:
                self._be_patient(task, refusal, now)

    def unwound(self, record: WorkerRecord, now: float) -> Task | None:
        """The code of an attempt that was cut off has ended at last."""
        record.last_ended = now
        return self._release(record, now)

    def _release(self, record: WorkerRecord, now: float) -> Task | None:
        """A worker has nothing more to do. Return its next task, if one may start at once."""
        if record.attention or self.stopping:
            self._attend(record, now)
            return None
        # One route and one cost is the usual case: no search, no detour over the outbox.
        heads = self.ready.heads.heap
        if len(heads) == 1 and not self.ready.aging and not self._gated():
            route = heads[0][2]
            lanes = route.heads.heap
            if len(lanes) == 1 and route.mask & record.bit:
                lane = lanes[0][2]
                if lane.head_key() is not None:
                    cost = lane.cost
                    for quota in record.quotas:
                        if quota.until(cost, now) > 0.0:
                            break
                    else:
                        task = lane.pop()
                        self._reserve(record, task, route, now)
                        return task
        before = record.state
        record.state = IDLE
        self.roster.set_free(record)
        if self.observed:
            self._told_worker(record, before, "free", now)
        if self.ready:
            self._plan(now)
        return None

    # -- ends ----------------------------------------------------------------------------------

    def _settle(
        self,
        task: Task,
        state: TaskState,
        reason: EndReason,
        error: BaseException | None,
        now: float,
    ) -> None:
        """End a task that is on no worker, in any way but success."""
        before = task.state
        past = task.past
        if before is QUEUED:
            past = task.leave_straight_path(self.settings.history_limit)
            past.times = task.times_until(now)
            self.ready.routes[_key(task)].lanes[task.cost].forget(task)
        elif before is SCHEDULED:
            assert past is not None
            past.times = task.times_until(now)
            self.scheduled -= 1
        self._moved(task, state, reason.value, now)
        task.reason = reason
        task.value = error
        task.ended_at = now
        self.live -= 1
        if state is TaskState.DEAD:
            self.dead += 1
        elif state is TaskState.CANCELLED:
            self.cancelled += 1
        else:
            self.dropped += 1
        self.outbox.append((Effect.SETTLED, task, None))

    def cancel(self, task: Task, now: float, error: BaseException | None = None) -> bool:
        """End a task at its caller's wish. False when it has ended already.

        A running attempt is told to stop; the task ends when that has unwound, or at the latest
        `stop_grace` seconds from now. If it returns a value all the same, the value counts.
        """
        return self._withdraw(task, EndReason.CANCELLED, error, Stop.CANCEL, now)

    def _withdraw(
        self,
        task: Task,
        reason: EndReason,
        error: BaseException | None,
        stop: Stop,
        now: float,
        state: TaskState = TaskState.CANCELLED,
    ) -> bool:
        if task.has_ended():
            return False
        if task.state is RUNNING:
            record = task.holder
            assert record is not None
            self._stop(record, stop, now)
            return True
        record = task.holder if task.state is RESERVED else None
        if record is not None:
            self._give_back(record, now, "withdrawn")
        self._settle(task, state, reason, error, now)
        if record is not None:
            self._attend(record, now)
        return True

    def _end_waiting(self, task: Task, now: float) -> None:
        """A task that has not started within its `queue_timeout` dies."""
        why, when = self.outlook(task, now)
        self._settle(task, TaskState.DEAD, EndReason.QUEUE_TIMEOUT, QueueTimeout(why, when), now)

    def _time_out(self, task: Task, now: float) -> None:
        """A task's `timeout` is over."""
        if task.state is RUNNING:
            self.outbox.append((Effect.OVERDUE, task.holder, task))
            return
        waiting_for = "backoff" if task.state is SCHEDULED else self.outlook(task, now)[0]
        self._withdraw(
            task,
            EndReason.TIMEOUT,
            self.timeout_error(task, waiting_for, now),
            Stop.LIMIT,
            now,
            TaskState.DEAD,
        )

    def timeout_error(self, task: Task, waiting_for: str, now: float) -> TaskTimeout:
        """What a task raises that has run out of time."""
        runs = task.past.runs if task.past is not None else []
        return TaskTimeout(
            f"timeout of {now - task.submitted_at:.3g} s reached, "
            f"{task.attempt_count} attempts, last waiting for {waiting_for}",
            attempts=task.attempt_count,
            last_error=runs[-1].error if runs else None,
            waiting_for=waiting_for,
        )

    # -- stopping attempts ---------------------------------------------------------------------

    def _stop(self, record: WorkerRecord, stop: Stop, now: float) -> None:
        """Tell the attempt in progress to stop; the task stays on the worker until it has."""
        if record.stop is None:
            self._unwinding(record, stop, now)
        elif record.stop is not Stop.LIMIT:
            record.stop = stop

    def _unwinding(self, record: WorkerRecord, stop: Stop, now: float) -> None:
        if record.task is None:
            before = record.state
            record.state = WorkerState.RESETTING
            self._told_worker(record, before, "unwinding", now)
        record.attention = True
        if record.stop is not None:
            record.stop = stop
            return
        record.stop = stop
        record.grace = self.settings.stop_grace
        record.grace_at = now + record.grace
        self.agenda.add(record.grace_at, Due.GRACE, record)
        self.outbox.append((Effect.INTERRUPT, record, None))

    def _out_of_grace(self, record: WorkerRecord, now: float) -> None:
        """A stopped attempt goes on. Its task ends or moves on; its worker is stuck."""
        task, stop = record.task, record.stop
        if task is not None:
            self.fail(record, task, self.stopped_ruling(task, stop), now, cut_off=True)
        if record.state is not WorkerState.STUCK:
            before = record.state
            record.state = WorkerState.STUCK
            self._told_worker(record, before, "ignores being stopped", now)
            self.outbox.append((Effect.STUCK, record, None))
        # Interrupt it again, but ever more rarely: it may be cleaning up, slowly.
        record.grace = max(record.grace * 2, 0.1)
        record.grace_at = now + record.grace
        self.agenda.add(record.grace_at, Due.GRACE, record)
        self.outbox.append((Effect.INTERRUPT, record, None))

    def stopped_ruling(self, task: Task, stop: Stop | None) -> Ruling:
        """What follows when an attempt ended because it was told to."""
        if stop is Stop.CANCEL:
            return Ruling(
                outcome=AttemptOutcome.CANCELLED,
                error=None,
                counted=False,
                task=Ending(reason=EndReason.CANCELLED, error=None, state=TaskState.CANCELLED),
            )
        if stop is Stop.REMOVE and not self.stopping:
            return Ruling(
                outcome=AttemptOutcome.SHUTDOWN,
                error=None,
                counted=False,
                task=Again(keep_place=True),
            )
        return Ruling(
            outcome=AttemptOutcome.SHUTDOWN,
            error=None,
            counted=False,
            task=Ending(
                reason=EndReason.SHUTDOWN,
                error=PoolClosed("the pool closed before the task was done"),
                state=TaskState.CANCELLED,
            ),
        )

    # -- workers -------------------------------------------------------------------------------

    def add(self, record: WorkerRecord, now: float) -> None:
        """Take in a worker that is about to open its resource."""
        self._flag(record)
        self.roster.add(record)
        self._rejudge(now)

    def opened(self, record: WorkerRecord, error: BaseException | None, now: float) -> None:
        """A worker has opened its resource for the first time, or failed to."""
        before = record.state
        record.error = error
        if error is None:
            record.opened_at = now
            record.runs_since_open = 0
            record.state = IDLE
            self._attend(record, now)
            return
        record.state = WorkerState.FAILED
        self._told_worker(record, before, "start failed", now)
        if record.retired or self.stopping:
            self._attend(record, now)
        self._rejudge(now)

    def attended(
        self, record: WorkerRecord, order: Order, error: BaseException | None, now: float
    ) -> None:
        """A worker has carried out an order, or failed to."""
        if order is Order.PAUSE:
            record.pause_told = True
        elif order is Order.RESUME:
            record.pause_told = False
        elif error is not None:
            # A resource that cannot be reset or opened is rebuilt until that works.
            record.error = error
            record.needs_reset = False
            record.needs_rebuild = True
            delay = min(FIRST_REBUILD_DELAY * 2**record.losses, LAST_REBUILD_DELAY)
            record.losses += 1
            record.rebuild_at = now + delay
            before = record.state
            record.state = WorkerState.FAILED
            self._told_worker(record, before, "rebuild failed", now)
            self._flag(record)
            if record.retired or self.stopping:
                self._attend(record, now)
            else:
                self.agenda.add(record.rebuild_at, Due.REBUILD, record)
            return
        else:
            record.needs_reset = False
            if order is Order.REBUILD:
                record.needs_rebuild = False
                record.rebuild_at = None
                record.losses = 0
            record.error = None
            record.opened_at = now
            record.runs_since_open = 0
        self._attend(record, now)

    def stuck(self, record: WorkerRecord, now: float) -> None:
        """A worker's hook goes on although it was told to stop."""
        before = record.state
        if before is not WorkerState.STUCK:
            record.state = WorkerState.STUCK
            self._told_worker(record, before, "ignores being stopped", now)
            self.outbox.append((Effect.STUCK, record, None))

    def broken(self, record: WorkerRecord, error: BaseException, now: float) -> None:
        """A worker's resource was cut off while nothing ran on it: build it anew."""
        record.needs_rebuild = True
        record.error = error
        self._interfere(record, "resource broken", now)

    def gone(self, record: WorkerRecord, now: float) -> None:
        """A worker has closed its resource, or died with it; it leaves the pool."""
        if record.state is WorkerState.STOPPED:
            return
        task = record.task
        if task is not None:
            if task.state is RESERVED:
                self._give_back(record, now, "worker gone")
            else:
                self.fail(record, task, self.stopped_ruling(task, Stop.REMOVE), now, cut_off=True)
        before = record.state
        self.roster.unset_free(record)
        record.state = WorkerState.STOPPED
        record.stop = record.grace_at = record.watch_at = record.rebuild_at = None
        self._told_worker(record, before, "closed", now)
        self.roster.drop(record)
        self.outbox.append((Effect.GONE, record, None))
        self._rejudge(now)

    def _flag(self, record: WorkerRecord) -> None:
        """Note whether a worker must be looked at before its next task."""
        record.attention = (
            record.wish is not RUN
            or record.retired
            or record.needs_reset
            or record.needs_rebuild
            or record.pause_told
            or record.stop is not None
            or record.cooling_until > 0.0
            or record.max_tasks is not None
            or record.max_age is not None
        )

    def _attend(self, record: WorkerRecord, now: float) -> None:
        """Say what a worker without a task does next."""
        assert record.task is None
        before = record.state
        self.roster.unset_free(record)
        record.stop = record.grace_at = None
        if self._worn_out(record, now):
            record.needs_rebuild = True
        self._flag(record)
        order: Order | None = None
        if record.retired or self.stopping:
            order = Order.CLOSE
        elif record.needs_rebuild:
            if record.rebuild_at is not None and record.rebuild_at > now:
                record.state = WorkerState.FAILED
                return
            order = Order.REBUILD
        elif record.needs_reset:
            order = Order.RESET
        elif record.wish is WorkerWish.PAUSE and not record.pause_told:
            order = Order.PAUSE
        elif record.wish is RUN and record.pause_told:
            order = Order.RESUME
        if order is not None:
            record.state = WorkerState.RESETTING
            self._told_worker(record, before, order.name.lower(), now)
            self.outbox.append((Effect.ORDER, record, order))
            if self.ready:
                self._plan(now)
            return
        if record.cooling_until > now:
            record.state = WorkerState.COOLING
            self.agenda.add(record.cooling_until, Due.COOL, record)
        else:
            record.cooling_until = 0.0
            record.state = IDLE
            self._flag(record)
            if record.wish is RUN:
                self.roster.set_free(record)
        if record.state is not before:
            self._told_worker(record, before, "attended", now)
        if self.ready:
            self._plan(now)

    def _worn_out(self, record: WorkerRecord, now: float) -> bool:
        return record.runs_since_open > 0 and (
            (record.max_tasks is not None and record.runs_since_open >= record.max_tasks)
            or (record.max_age is not None and now - record.opened_at >= record.max_age)
        )

    def _is_quiet(self, record: WorkerRecord) -> bool:
        """True when the worker's runner waits to be told something."""
        return record.state in (IDLE, WorkerState.COOLING, WorkerState.FAILED)

    def _interfere(self, record: WorkerRecord, reason: str, now: float) -> None:
        """After a change of what is wanted of a worker: act on it now if it can be."""
        self._flag(record)
        if record.state is PROMISED:
            self._give_back(record, now, reason)
            self._attend(record, now)
        elif self._is_quiet(record):
            self._attend(record, now)

    def pause(
        self, record: WorkerRecord | None, reason: str | None, until: float | None, now: float
    ) -> None:
        """Start nothing more on a worker, or on any. What runs goes on to its end."""
        if record is None:
            self.paused = True
            self.resume_at = until
            for worker in list(self.roster.workers.values()):
                if worker.state is PROMISED:
                    self._give_back(worker, now, "paused")
                    self._attend(worker, now)
        elif not record.retired:
            record.wish = WorkerWish.PAUSE
            record.pause_reason = reason
            record.resume_at = until
            self._interfere(record, "paused", now)
            self._rejudge(now)
        if until is not None:
            self.agenda.add(until, Due.RESUME, record)

    def resume(self, record: WorkerRecord | None, now: float) -> None:
        """Undo a pause. A worker whose resource failed to open is given another try."""
        if record is None:
            self.paused = False
            self.resume_at = None
            self._plan(now)
        elif not record.retired:
            record.wish = RUN
            record.pause_reason = None
            record.resume_at = None
            if record.state is WorkerState.FAILED:
                record.needs_rebuild = True
                record.rebuild_at = None
            self._interfere(record, "resumed", now)
            self._rejudge(now)

    def set_concurrency(self, limit: int | None, now: float) -> None:
        """Allow more or fewer attempts at once, from the next start on."""
        self.concurrency = limit
        self._plan(now)

    def cooldown(self, record: WorkerRecord, until: float, now: float) -> None:
        """Give a worker nothing before `until`. Of several cooldowns the longest holds."""
        self._cool(record, until, "worker", now)
        self._plan(now)

    def _cool(self, record: WorkerRecord, until: float, scope: str, now: float) -> None:
        shares = [record]
        if scope == "quota":
            mine = {id(quota) for quota in record.quotas}
            shares = [
                other
                for other in self.roster.workers.values()
                if other is record or any(id(quota) in mine for quota in other.quotas)
            ]
        for other in shares:
            if until > other.cooling_until:
                other.cooling_until = until
                self._interfere(other, "cooling", now)

    def clear_cooldown(self, record: WorkerRecord, now: float) -> None:
        """End a worker's cooldown now."""
        record.cooling_until = 0.0
        record.hints_missing = 0
        self._interfere(record, "cooldown cleared", now)

    def set_quotas(self, record: WorkerRecord, quotas: tuple[Any, ...], now: float) -> None:
        """Put other quotas in force for a worker, from its next run on."""
        record.quotas = quotas
        self.roster.changed()
        self._rejudge(now)

    def remove(self, record: WorkerRecord, now: float, *, force: bool = False) -> None:
        """Close a worker once its attempt has ended; with `force`, stop that attempt now."""
        record.wish = WorkerWish.REMOVE
        record.retired = True
        self.roster.changed()
        self._interfere(record, "worker removed", now)
        if force and record.state is BUSY:
            self._stop(record, Stop.REMOVE, now)
        self._rejudge(now)

    def take_off(self, record: WorkerRecord, now: float) -> None:
        """Give up waiting for a worker's attempt: its task is queued again, nobody is blamed."""
        task = record.task
        if task is not None and task.state is RUNNING:
            self.fail(record, task, self.stopped_ruling(task, Stop.REMOVE), now, cut_off=True)
        if record.state is WorkerState.RESETTING and record.stop is not None:
            record.state = WorkerState.STUCK
            self._told_worker(record, WorkerState.RESETTING, "ignores being stopped", now)

    # -- closing -------------------------------------------------------------------------------

    def end_hopeless(self, deadline: float, error: BaseException, now: float) -> None:
        """End the tasks that are known not to start before `deadline`."""
        for task in list(self.unfinished()):
            if task.state is SCHEDULED:
                start = max(task.due, self._earliest(task, now))
            elif task.state is QUEUED:
                start = inf if self.paused else self._earliest(task, now)
            else:
                continue
            if start >= deadline:
                self._withdraw(task, EndReason.SHUTDOWN, error, Stop.CLOSE, now)

    def end_waiting(self, error: BaseException, now: float) -> None:
        """End every task that is not running."""
        for task in list(self.unfinished()):
            if task.state is not RUNNING:
                self._withdraw(task, EndReason.SHUTDOWN, error, Stop.CLOSE, now)

    def stop_running(self, now: float) -> None:
        """Tell every attempt in progress to stop."""
        for record in list(self.roster.workers.values()):
            if record.state is BUSY:
                self._stop(record, Stop.CLOSE, now)

    def abandon_running(self, now: float) -> None:
        """End the tasks whose attempts go on although they were told to stop."""
        for record in list(self.roster.workers.values()):
            task = record.task
            if task is not None and task.state is RUNNING:
                self.fail(record, task, self.stopped_ruling(task, Stop.CLOSE), now, cut_off=True)

    def stop_workers(self, now: float) -> None:
        """Close every worker, each as soon as it has nothing in progress."""
        self.stopping = True
        for record in list(self.roster.workers.values()):
            if self._is_quiet(record):
                self._attend(record, now)

    def unfinished(self) -> Iterator[Task]:
        """Every task that has not ended."""
        yield from self.ready
        yield from self.agenda.tasks(Due.RETRY)
        for record in self.roster.workers.values():
            if record.task is not None:
                yield record.task

    # -- time ----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Carry out what has fallen due."""
        for what, whom, _ in self.agenda.due(now):
            if what is Due.PLAN:
                self._plan(now)
            elif what is Due.RETRY:
                self._fall_due(whom, now)
            elif what is Due.LIMIT:
                self._watch(whom, now)
            elif what is Due.COOL:
                self._attend(whom, now)
            elif what is Due.DEADLINE:
                self._time_out(whom, now)
            elif what is Due.START_BY:
                self._lose_patience(whom, now)
            elif what is Due.GRACE:
                self._out_of_grace(whom, now)
            elif what is Due.REBUILD:
                self._attend(whom, now)
            else:
                self.resume(whom, now)

    def _counts(self, what: Due, whom: Any, when: float) -> bool:
        """True while an entry of the agenda means something."""
        if what is Due.PLAN:
            return when == self._plan_at
        if what is Due.RETRY:
            return bool(whom.state is SCHEDULED and whom.due == when)
        if what is Due.DEADLINE:
            return not whom.has_ended() and whom.deadline == when
        if what is Due.START_BY:
            return bool(whom.run_count == 0 and whom.state is QUEUED)
        if what is Due.LIMIT:
            return whom.watch_at == when
        if what is Due.COOL:
            return whom.state is WorkerState.COOLING and whom.cooling_until == when
        if what is Due.GRACE:
            return whom.grace_at == when
        if what is Due.REBUILD:
            return whom.state is WorkerState.FAILED and whom.rebuild_at == when
        return (self if whom is None else whom).resume_at == when

    def _fall_due(self, task: Task, now: float) -> None:
        past = task.past
        assert past is not None
        past.times = task.times_until(now)
        self.scheduled -= 1
        self._requeue(task, "due", now)
        if task.state is QUEUED and self.roster.free:
            route = self.ready.routes[_key(task)]
            if self.roster.free & route.mask and task.cost not in route.blocked:
                self._plan(now)

    def _watch(self, record: WorkerRecord, now: float) -> None:
        """A worker's attempt limit may have been reached, unless a later attempt moved it."""
        record.watch_at = None
        if record.limit_at is None:
            return
        if record.limit_at > now:
            record.watch_at = record.limit_at
            self.agenda.add(record.limit_at, Due.LIMIT, record)
        else:
            self.outbox.append((Effect.OVERDUE, record, record.task))

    def _lose_patience(self, task: Task, now: float) -> None:
        refusal = self._refusal(_key(task), task.cost)
        limit = task.options.queue_timeout
        if limit is not None and now >= task.submitted_at + limit:
            self._end_waiting(task, now)
        elif refusal is not None:
            self._settle(task, TaskState.DEAD, EndReason.NO_WORKERS, refusal, now)

    # -- looking -------------------------------------------------------------------------------

    def outlook(self, task: Task, now: float) -> tuple[str, float | None]:
        """What a waiting task waits for, and seconds until a worker could take it, if known."""
        best: tuple[float, str] | None = None
        unknown: str | None = None
        key = _key(task)
        if self.paused:
            return "paused", None
        for record in self.roster.of(self.roster.eligible(key.require, key.worker)):
            why, wait = self.obstacle(record, task, now)
            if wait is None:
                unknown = why
            elif best is None or wait < best[0]:
                best = (wait, why)
        if best is not None and unknown != "busy":
            return best[1], best[0]
        return (unknown, None) if unknown is not None else ("no workers", None)

    def obstacle(self, record: WorkerRecord, task: Task, now: float) -> tuple[str, float | None]:
        """What keeps a worker from taking a task, and for how many seconds, if that is known."""
        if record.wish is WorkerWish.PAUSE:
            return "paused", None
        if record.state in (BUSY, PROMISED):
            return "busy", None
        if record.state is WorkerState.STARTING:
            return "starting", None
        if record.cooling_until > now:
            return "cooling", record.cooling_until - now
        if record.state is not IDLE:
            return record.state.name.lower(), None
        wait = max((quota.until(task.cost, now) for quota in record.quotas), default=0.0)
        if wait > 0.0:
            return "quota", wait
        return "free", 0.0

    def check(self) -> None:
        """Assert that the books balance.

        Raises:
            InvariantBroken: they do not, which is a bug in this library.
        """
        audit(self)

    # -- telling -------------------------------------------------------------------------------

    def _moved(self, task: Task, new: TaskState, reason: str, now: float) -> None:
        """Move a task off the straight path, and write that down."""
        past = task.past
        assert past is not None
        holder = task.holder if task.run_count or task.state is RESERVED else None
        name = None if holder is None else holder.name
        past.moves.append(Move(task.state, new, now, reason, name))
        keep_ends(past.moves, self.settings.history_limit)
        if self.observed:
            self._told(task, task.state, new, reason, now)
        task.state = new

    def _told(self, task: Task, old: TaskState, new: TaskState, reason: str, now: float) -> None:
        on_worker = old in (RESERVED, RUNNING) or new in (RESERVED, RUNNING)
        holder = task.holder if on_worker else None
        name = None if holder is None else holder.name
        self.outbox.append((Effect.EVENT, TaskMoved(task, old, new, reason, name, now), None))

    def _told_worker(self, record: WorkerRecord, old: WorkerState, reason: str, now: float) -> None:
        if self.observed:
            event = WorkerMoved(record.ref, old, record.state, reason, now)
            self.outbox.append((Effect.EVENT, event, None))


def _key(task: Task) -> RouteKey:
    """The route of a task as it stands: its wishes, and the workers it has tried."""
    options = task.options
    if options.worker is None and not task.tried and not options.require and options.aging is None:
        return ANY_WORKER
    return RouteKey(options.require, options.worker, task.tried, options.aging)


def _is_usual(key: RouteKey) -> bool:
    """True for a task that any worker may run, but for those it has tried."""
    return not key.require and key.worker is None
