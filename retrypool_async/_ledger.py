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
from ._attempt import trace_of
from ._audit import audit
from ._books import (
    BUSY,
    QUEUED,
    RESERVED,
    RUNNING,
    SCHEDULED,
    SUCCEEDED,
    Effect,
    route_key,
)
from ._intake import Intake, own_copy
from ._roster import WorkerRecord
from ._ruling import Again, Ending, Ruling
from ._states import AttemptOutcome, EndReason, Stop, TaskState, WorkerState
from ._task import ONE_REQUEST, Task, keep_ends

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._waits import Wait


class Ledger(Intake):
    """The books of one pool, and the lives of its tasks. See the module's docstring."""

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
            or self.ending
            or self.paused
            or self.concurrency is not None
        ):
            # What `_release`, `_reserve` and `begin` do, in one go, for the most usual case under
            # load: the next task without wishes, on the worker that has just come free.
            fifo = self.ready.lone_fifo()
            if fifo and fifo[0].deadline is None:
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
        if past.first_start is None:
            past.first_start = task.started_at
        past.runs.append(
            (
                task.run_count,
                record.name,
                task.started_at,
                now,
                ruling.outcome,
                error,
                ruling.counted,
                () if error is None else trace_of(error.__traceback__),
                self.settings.secrets,
            )
        )
        keep_ends(past.runs, max(limit, 2))  # the newest is told of, however few are kept
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
            self.roster.changed()
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
            # With a limit on attempts at once, a place has come free.
            if (again or self.concurrency is not None) and self.roster.free:
                self._plan(now)
            return None
        if again:
            self._plan(now)  # those that have been idle longer go before this worker
        return self._release(record, now)

    def _carry_out(
        self, record: WorkerRecord, task: Task, plan: Again | Ending, now: float
    ) -> bool:
        """Do what a ruling says of the task. True when it has become ready."""
        if isinstance(plan, Again):
            if plan.elsewhere:
                task.tried |= record.bit
            start = now + plan.delay
            ending = plan.else_ending
            if ending is None and task.deadline is not None and task.deadline <= now:
                # It fell due while the attempt was ending by itself, so nobody will look again.
                late = self.timeout_error(task, "its attempt", now)
                ending = Ending(reason=EndReason.TIMEOUT, error=late)
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

    def gone(self, record: WorkerRecord, now: float) -> None:
        """A worker has closed its resource, or died with it; it leaves the pool."""
        if record.state is WorkerState.STOPPED:
            return
        task = record.task
        if task is not None:
            if task.state is RESERVED:
                self._give_back(record, now, "worker gone")
            else:
                self._cut_off(record, task, Stop.REMOVE, now)
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
            self._cut_off(record, task, Stop.REMOVE, now)
        if record.state is WorkerState.RESETTING and record.stop is not None:
            record.state = WorkerState.STUCK
            self._told_worker(record, WorkerState.RESETTING, "ignores being stopped", now)

    def _cut_off(self, record: WorkerRecord, task: Task, stop: Stop, now: float) -> None:
        """Take a task off a worker whose code goes on, for the weightiest reason there is."""
        stop = max(stop, record.stop or stop)
        self.fail(record, task, self.stopped_ruling(task, stop), now, cut_off=True)

    # -- other ends ------------------------------------------------------------------------------

    def _out_of_grace(self, record: WorkerRecord, now: float) -> None:
        """A stopped attempt goes on. Its task ends or moves on; its worker is stuck."""
        task, stop = record.task, record.stop
        if task is not None and stop is not None:
            self._cut_off(record, task, stop, now)
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

    # -- waiting for others of the pool -----------------------------------------------------------

    def begin_wait(self, wait: Wait, now: float) -> None:
        """An attempt waits for a task of this pool. It is told if that is in vain."""
        self.waits.add(wait)
        if self.waits.may_be_vain(wait, self):
            self._break_deadlocks(now)

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
                self._withdraw(task, EndReason.SHUTDOWN, own_copy(error), Stop.CLOSE, now)

    def end_waiting(self, error: BaseException, now: float) -> None:
        """End every task that is not running."""
        for task in list(self.unfinished()):
            if task.state is not RUNNING:
                self._withdraw(task, EndReason.SHUTDOWN, own_copy(error), Stop.CLOSE, now)

    def end_all(self, error: BaseException, now: float) -> None:
        """Start nothing more, end every task that waits, and tell the attempts to stop."""
        self.ending = True
        self.end_waiting(error, now)
        self.stop_running(now)

    def abandon_running(self, error: BaseException, now: float) -> None:
        """End the tasks whose attempts go on although they were told to stop."""
        for record in list(self.roster.workers.values()):
            task = record.task
            if task is not None and task.state is RUNNING:
                self._cut_off(record, task, Stop.CLOSE, now)
        self.end_waiting(error, now)

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

    def _lose_patience(self, task: Task, now: float) -> None:
        refusal = self._refusal(route_key(task), task.cost)
        limit = task.options.queue_timeout
        if limit is not None and task.run_count == 0 and now >= task.submitted_at + limit:
            self._end_waiting(task, now)
            self._plan(now)
        elif refusal is not None and not self.ending:
            self._settle(task, TaskState.DEAD, EndReason.NO_WORKERS, refusal, now)

    def check(self) -> None:
        """Assert that the books balance.

        Raises:
            InvariantBroken: they do not, which is a bug in this library.
        """
        audit(self)
