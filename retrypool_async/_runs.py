"""Attempts: how one starts, what a worker does after it, and how a task is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._agenda import Due
from ._books import BUSY, IDLE, PROMISED, RESERVED, RUNNING, SCHEDULED, Effect
from ._errors import PoolClosed, QueueTimeout, TaskTimeout
from ._hiring import Hiring
from ._ruling import Again, Ending, Ruling
from ._states import AttemptOutcome, EndReason, Stop, TaskState
from ._twin import Hedges

if TYPE_CHECKING:
    from ._quota import Quota
    from ._record import WorkerRecord
    from ._reports import Allowance, Settlement
    from ._task import Task


class Runs(Hiring):
    """Starts attempts, and takes tasks back."""

    __slots__ = ()

    def begin(self, record: WorkerRecord, task: Task, now: float) -> bool:
        """Start the attempt that was promised. False when the task is no longer this worker's."""
        if record.task is not task or task.state is not RESERVED:
            return False
        if task.deadline is not None and task.deadline <= now:
            self._time_out(task, now)
            return False
        if task.debit is not None and (task.debit[1] != now or self.tightened_at == now):
            # The service counts from the call, so the debit moves to when it is made. By then
            # others may have used what had become free of it, or said that they have used more.
            self._refund(task)
            if not record.has_room(task.cost, now):
                self._give_back(record, now, "too late")
                self._attend(record, now)
                return False
            self._debit(task, record.quotas, now)
        record.state = BUSY
        task.state = RUNNING
        task.started_at = now
        task.run_count += 1
        if task.debit is not None:
            self.started += 1
        if task.options.timed:
            self._time(record, task, now)
        if self.observed:
            self._told(task, RESERVED, RUNNING, "started", now)
            self._told_worker(record, PROMISED, "started", now)
        return True

    def _time(self, record: WorkerRecord, task: Task, now: float) -> None:
        """Note when an attempt that has just started is to be cut off, and when to be hedged."""
        options = task.options
        if options.attempt_timeout is not None:
            record.limit_at = now + options.attempt_timeout
            # One entry of the agenda serves many attempts.
            if record.watch_at is None or record.limit_at < record.watch_at:
                record.watch_at = record.limit_at
                self.agenda.add(record.limit_at, Due.LIMIT, record)
        if options.hedge is None:
            return
        past = task.begin_past()
        if past.hedges is None:
            past.hedges = Hedges()
        elif past.hedges.number == task.run_count:
            # A hedge of the attempt before has that number, and was not one to be counted.
            task.run_count += 1
            past.uncounted += 1
        delay = self.latencies.delay(options.hedge)
        past.hedges.due_at = None if delay is None else now + delay
        if past.hedges.due_at is not None:
            self.agenda.add(past.hedges.due_at, Due.HEDGE, task)

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

    def _release(self, record: WorkerRecord, now: float, go_on: bool = False) -> Task | None:
        """A worker has nothing more to do. Return its next task, if one may start at once.

        With `go_on` that task is started here and now, since the runner will run it at once.
        """
        if record.attention or self.ending:
            self._attend(record, now)
            return None
        blocked = False
        if self.concurrency is not None:
            blocked = True  # the place that came free is for whoever is first in line
        elif self.ready and not self._gated():
            task, blocked = self._next_for(record, now)
            if task is not None:
                if go_on and not self.begin(record, task, now):
                    return None
                return task
        before = record.state
        record.state = IDLE
        record.idle_since = now
        self.roster.set_free(record)
        if self.observed:
            self._told_worker(record, before, "free", now)
        if (blocked or self.concurrency is not None) and not self._wait_along(record, now):
            self._plan(now)
        return None

    def settle(self, task: Task, run: int, report: Settlement, now: float) -> None:
        """An attempt says what it has really used. It has nothing to say once it has ended."""
        if task.state is not RUNNING or task.run_count != run or task.debit is None:
            return
        quotas, at, cost = task.debit
        amounts = dict(cost)
        for dimension, used in report.used.items():
            before = amounts.get(dimension, 0.0)
            amounts[dimension] = used
            if used == before:
                continue
            for quota in quotas:
                quota.settle(dimension, before, used, at, now)
            if used > before:
                self.tightened_at = now
        task.debit = (quotas, at, tuple(amounts.items()))
        self._plan(now)

    def sync(
        self, task: Task, run: int, report: Allowance, common: tuple[Quota, ...], now: float
    ) -> None:
        """An attempt says what its service said is left. `common` are the pool's quotas."""
        if task.state is not RUNNING or task.run_count != run:
            return
        dimension, remaining, reset_after, scope = report
        for quota in task.holder.quotas:
            if scope == "quota" or not (quota in common or self.roster.is_shared(quota)):
                quota.sync(dimension, remaining, reset_after, now)
        self.tightened_at = now
        self._plan(now)

    def unwound(self, record: WorkerRecord, now: float) -> Task | None:
        """The code of an attempt that was cut off has ended at last."""
        return self._release(record, now)

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
        was_blocked = task.blocked_at is not None
        self._settle(task, state, reason, error, now)
        if record is not None:
            self._attend(record, now)
        elif was_blocked:
            self._plan(now)  # what it held is free for others
        return True

    def _time_out(self, task: Task, now: float) -> None:
        """A task's `timeout` is over."""
        if task.state is RUNNING:
            self.outbox.append((Effect.OVERDUE, task.holder, task))
            return
        waiting_for = "backoff" if task.state is SCHEDULED else self.outlook(task, now)[0]
        self._withdraw(
            task,
            EndReason.TIMEOUT,
            self.timeout_error(task, waiting_for),
            Stop.LIMIT,
            now,
            TaskState.DEAD,
        )

    def _end_waiting(self, task: Task, now: float) -> None:
        """A task that has not started within its `queue_timeout` dies."""
        why, when = self.outlook(task, now)
        self._settle(task, TaskState.DEAD, EndReason.QUEUE_TIMEOUT, QueueTimeout(why, when), now)

    def timeout_error(
        self,
        task: Task,
        waiting_for: str,
        *,
        spent: int = 0,
        last_error: BaseException | None = None,
    ) -> TaskTimeout:
        """What a task raises that has run out of time.

        `spent` is 1, and `last_error` its error, when an attempt is just ending with it.
        """
        runs = task.ended_attempts()
        if last_error is None and runs:
            last_error = runs[-1].error
        attempts = task.attempt_count + spent
        return TaskTimeout(
            f"timeout of {task.options.timeout:g} s reached, "
            f"{attempts} attempts, last waiting for {waiting_for}",
            attempts=attempts,
            last_error=last_error,
            waiting_for=waiting_for,
        )

    def stopped_ruling(self, task: Task, stop: Stop | None) -> Ruling:
        """What follows when an attempt ended because it was told to."""
        if stop is Stop.CANCEL:
            return Ruling(
                outcome=AttemptOutcome.CANCELLED,
                error=None,
                counted=False,
                task=Ending(reason=EndReason.CANCELLED, error=None, state=TaskState.CANCELLED),
            )
        if stop is Stop.REMOVE and not self.ending:
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
