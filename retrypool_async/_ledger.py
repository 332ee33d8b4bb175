"""The ledger: all truth about tasks and workers, in plain synchronous Python.

Every method takes the time, decides, records, and leaves in `outbox` what the engine has to do
about it. There is no `await`, no clock and no user code here (routing strategies and limiters
apart, which are guarded where they are called), so no two callers can both win anything, and no
step can be seen half done.

After every step nothing is left undone that could be done: no worker is idle while a task it may
run, and has quota for, is waiting. `check` asserts that the books balance.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from ._agenda import Due
from ._audit import audit
from ._books import (
    BUSY,
    CREATED,
    PENDING,
    QUEUED,
    RESERVED,
    RUNNING,
    SCHEDULED,
    SUCCEEDED,
    Effect,
    route_key,
)
from ._errors import CostTooLarge, PoolClosed, QueueFull, QueueTimeout, RetryPoolError, TaskTimeout
from ._ready import ANY_WORKER, Route, RouteKey
from ._roster import WorkerRecord
from ._router import Search
from ._ruling import Again, Ending, Ruling
from ._staff import Staff
from ._states import AttemptOutcome, EndReason, Stop, TaskState, WorkerState
from ._task import ONE_REQUEST, Attempt, Task, frames_of, keep_ends

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ledger(Staff):
    """The books of one pool, and the lives of its tasks. See the module's docstring."""

    # -- submitting ------------------------------------------------------------------------------

    def submit(self, task: Task, key: RouteKey, now: float) -> None:
        """Accept a task, and reserve a worker for it if one may run it now.

        Raises:
            QueueFull, NoWorkers, Unroutable, WorkerRemoved, CostTooLarge: nothing is recorded.
        """
        refusal: RetryPoolError | None = None
        ready = self.ready
        route = ready.any_worker
        if not (self._usual and key is ANY_WORKER and task.cost is ONE_REQUEST):
            refusal = self._refusal(key, task.cost)
            if refusal is not None and (
                isinstance(refusal, CostTooLarge) or self._patience(task) == "raise"
            ):
                raise refusal
            if key is not ANY_WORKER:
                route = self._route(key)
        may_start = (
            self.roster.free & route.mask
            and not self._gated()
            and (not route.blocked or task.cost not in route.blocked)
        )
        limit = self.settings.max_queue
        if not may_start and limit is not None:
            waiting = self.live - self.held - self.scheduled
            if waiting >= limit:
                raise QueueFull(waiting, self._retry_after(now))

        self.submitted = task.id = self.submitted + 1
        self._next_order = task.order = self._next_order + 1
        self.live += 1
        task.state = QUEUED
        if self.observed:
            self._told(task, CREATED, PENDING, "submitted", now)
            self._told(task, PENDING, QUEUED, "accepted", now)
        options = task.options
        if not may_start:
            usual = ready.usual
            if task.cost is ONE_REQUEST and route is usual.route and usual.listed is not None:
                usual.push(task)  # behind others: no head changes
            else:
                ready.push(task, route)
        elif not ready:
            self._start_or_push(task, route, now)
        else:
            ready.push(task, route)
            self._plan(now)
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
        if record is not None:
            self._reserve(record, task, route, now)
            self.outbox.append((Effect.ASSIGN, record, task))
        else:
            self.ready.push(task, route)
            self._plan(now)

    def _unsubmit(self, task: Task) -> None:
        task.state = CREATED
        self.ready.routes[route_key(task)].lanes[task.cost].forget(task)
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

    # -- running ---------------------------------------------------------------------------------

    def succeed(
        self, record: WorkerRecord, task: Task, value: Any, now: float, go_on: bool = False
    ) -> Task | None:
        """Record that the attempt returned. Return the next task reserved for this worker.

        With `go_on` that one has been started already.
        """
        task.state = SUCCEEDED
        task.value = value
        task.ended_at = now
        self.succeeded += 1
        self.live -= 1
        record.served += 1
        record.hints_missing = 0
        record.runs += 1
        record.run_seconds += now - task.started_at
        if go_on and not (
            record.attention
            or self.observed
            or self.stopping
            or self.paused
            or self.concurrency is not None
        ):
            # What `_release`, `_reserve` and `begin` do, in one go, for the most usual case under
            # load: the next task without wishes, on the worker that has just come free.
            fifo = self.ready.lone_fifo()
            if fifo:
                quotas = record.quotas
                for quota in quotas:
                    if quota.until(ONE_REQUEST, now) > 0.0:
                        break
                else:
                    following = fifo.popleft()
                    record.task = following
                    following.state = RUNNING
                    following.holder = record
                    following.reserved_at = following.started_at = now
                    following.run_count += 1
                    record.limit_at = None
                    if quotas:
                        for quota in quotas:
                            quota.take(ONE_REQUEST, now)
                        following.debit = (quotas, now)
                        self.debited += 1
                        self.started += 1
                    if following.options.attempt_timeout is not None:
                        self._limit(record, following, now)
                    return following
        record.task = None
        record.limit_at = None
        self.held -= 1
        if self.observed:
            self._told(task, RUNNING, SUCCEEDED, "succeeded", now)
        return self._release(record, now, go_on)

    def fail(
        self, record: WorkerRecord, task: Task, ruling: Ruling, now: float, *, cut_off: bool = False
    ) -> Task | None:
        """Record that the attempt did not return, and carry out the ruling.

        `cut_off` means that its code still runs: the worker is out of use until that has unwound.
        Returns the next task reserved for this worker.
        """
        limit = self.settings.history_limit
        error = ruling.error
        past = task.leave_straight_path(limit, now)
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
        if not ruling.counted:
            past.uncounted += 1
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
        record.runs += 1
        record.run_seconds += now - task.started_at
        record.task = None
        record.limit_at = None
        self.held -= 1

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
            self._reserve(record, task, self._route(route_key(task)), now)
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

    def take_off(self, record: WorkerRecord, now: float) -> None:
        """Give up waiting for a worker's attempt: its task is queued again, nobody is blamed."""
        task = record.task
        if task is not None and task.state is RUNNING:
            self.fail(record, task, self.stopped_ruling(task, Stop.REMOVE), now, cut_off=True)
        if record.state is WorkerState.RESETTING and record.stop is not None:
            record.state = WorkerState.STUCK
            self._told_worker(record, WorkerState.RESETTING, "ignores being stopped", now)

    # -- other ends ------------------------------------------------------------------------------

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
            self._stop(task.holder, stop, now)
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

    # -- closing ---------------------------------------------------------------------------------

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

    def abandon_running(self, now: float) -> None:
        """End the tasks whose attempts go on although they were told to stop."""
        for record in list(self.roster.workers.values()):
            task = record.task
            if task is not None and task.state is RUNNING:
                self.fail(record, task, self.stopped_ruling(task, Stop.CLOSE), now, cut_off=True)

    def unfinished(self) -> Iterator[Task]:
        """Every task that has not ended."""
        yield from self.ready
        yield from self.agenda.tasks(Due.RETRY)
        for record in self.roster.workers.values():
            if record.task is not None:
                yield record.task

    # -- time ------------------------------------------------------------------------------------

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

    def _fall_due(self, task: Task, now: float) -> None:
        task.leave_straight_path(self.settings.history_limit, now)
        self.scheduled -= 1
        self._requeue(task, "due", now)
        if task.state is QUEUED and self.roster.free:
            route = self.ready.routes[route_key(task)]
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
        refusal = self._refusal(route_key(task), task.cost)
        limit = task.options.queue_timeout
        if limit is not None and now >= task.submitted_at + limit:
            self._end_waiting(task, now)
        elif refusal is not None:
            self._settle(task, TaskState.DEAD, EndReason.NO_WORKERS, refusal, now)

    def check(self) -> None:
        """Assert that the books balance.

        Raises:
            InvariantBroken: they do not, which is a bug in this library.
        """
        audit(self)
