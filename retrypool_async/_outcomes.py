"""How attempts end: what becomes of the task, of its worker, and who is next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ._attempt import trace_of
from ._books import (
    BUSY,
    QUEUED,
    RETRY,
    RUNNING,
    SCHEDULED,
    SUCCEEDED,
    NobodyLeft,
    route_key,
)
from ._hedging import is_decisive
from ._intake import Intake
from ._past import Spending
from ._ruling import Again, Ending, Ruling
from ._states import AttemptOutcome, BreakerState, EndReason, Stop
from ._time import TOLERANCE

if TYPE_CHECKING:
    from ._breaker import Breaker
    from ._record import WorkerRecord
    from ._task import Task


NO_TAGS: frozenset[str] = frozenset()
ERROR = AttemptOutcome.ERROR
#: What says that a worker may be at fault.
FAILURES = (ERROR, AttemptOutcome.TIMEOUT)


class Outcomes(Intake):
    """Records the ends of attempts, and carries out what follows."""

    __slots__ = ()

    def succeed(
        self, record: WorkerRecord, task: Task, value: Any, now: float, go_on: bool = False
    ) -> Task | None:
        """Record that the attempt returned. Return the next task reserved for this worker.

        With `go_on` that one has been started already.
        """
        past = task.past
        if past is not None:
            if past.hedges is not None:
                task = self._win(task, now)
            if self.retries is not None and task.past is not None:
                self.retries.end(task.past)
        task.state = SUCCEEDED
        task.value = value
        task.ended_at = now
        task.debit = None
        self.succeeded += 1
        self.live -= 1
        record.served += 1
        if record.suspect:
            self._exonerate(record, task, now)
        record.runs += 1
        record.run_seconds += now - task.started_at
        if task.options.order_key is not None:
            successor = self.sequences.leave(task)
            if successor is not None:
                self._come_up(successor, now)
                if self.roster.free:
                    self._plan(now)
        if go_on:
            following = self._follow_on(record, now)
            if following is not None:
                return following
        self._unhold(record)
        if self.observed:
            self._told(task, RUNNING, SUCCEEDED, "succeeded", now)
        return self._release(record, now, go_on)

    def _follow_on(self, record: WorkerRecord, now: float) -> Task | None:
        """Start the next task on the worker that has just come free, if it is one of many.

        What `_release`, `_reserve` and `begin` do, in one go, for the most usual case under load.
        """
        if (
            record.attention
            or self.observed
            or self.ending
            or self.paused
            or self.concurrency is not None
        ):
            return None
        lane = self.ready.lone_lane()
        if lane is None or not lane.fifo or lane.fifo[0].deadline is not None:
            return None
        quotas = record.quotas
        if quotas and not record.try_take(lane.cost, now):
            return None
        task = lane.fifo.popleft()
        record.task = task
        task.state = RUNNING
        task.holder = record
        task.reserved_at = task.started_at = now
        task.run_count += 1
        record.limit_at = None
        if quotas:
            task.debit = (quotas, now, lane.cost)
            self.debited += 1
            self.started += 1
        if task.options.timed:
            self._time(record, task, now)
        return task

    def retry_later(
        self,
        record: WorkerRecord,
        task: Task,
        error: BaseException,
        delay: float,
        now: float,
        go_on: bool = False,
    ) -> Task | None:
        """Record that the attempt raised, and that the task runs again in `delay` seconds.

        What `fail` does for the most usual of failures, which concerns nobody but the task, and
        that has no deadline. Returns the next task, as `succeed` does.
        """
        run = self._run_of(task, ERROR, error, counted=True)
        error.__traceback__ = None  # frames keep alive everything that ran in them
        task.debit = None
        self._schedule(task, delay, run, now)
        if self.retries is not None:
            self.retries.begin(task.begin_past())
        record.failed += 1
        record.runs += 1
        record.run_seconds += now - task.started_at
        if record.health is not None:
            self._blame(record, task, now)
        if go_on:
            following = self._follow_on(record, now)
            if following is not None:
                return following
        self._unhold(record)
        return self._release(record, now, go_on)

    def _run_of(
        self, task: Task, outcome: AttemptOutcome, error: BaseException | None, *, counted: bool
    ) -> tuple[Any, ...]:
        """The fields of a `Run` for the attempt that is just ending."""
        past = task.begin_past()
        if past.first_start is None:
            past.first_start = task.started_at
        trace = () if error is None else trace_of(error.__traceback__)
        return (task.run_count, outcome, error, counted, trace, self.settings.secrets)

    def _schedule(self, task: Task, delay: float, run: tuple[Any, ...], now: float) -> None:
        """Let a task wait for its next attempt."""
        self._moved(task, SCHEDULED, "retry later", now, run)
        task.due = now + delay
        self.scheduled += 1
        self.agenda.add(task.due, RETRY, task)

    def fail(
        self, record: WorkerRecord, task: Task, ruling: Ruling, now: float, *, cut_off: bool = False
    ) -> Task | None:
        """Record that the attempt did not return, and carry out the ruling.

        `cut_off` means that its code still runs: the worker is out of use until that has unwound.
        Returns the next task reserved for this worker.
        """
        past, goes_on = task.begin_past(), False
        if past.hedges is not None:
            decided = self._decide(task, is_decisive(ruling), now)
            goes_on = decided is None
            task = decided or task
            past = task.begin_past()
        error, plan, counted = ruling.error, ruling.task, ruling.counted and not goes_on
        run = self._run_of(task, ruling.outcome, error, counted=counted)
        limit = record.max_attempts_per_task
        if limit is not None and counted and isinstance(plan, Again):
            plan = self._spend(record, task, limit, plan, error)
        final = plan.error if isinstance(plan, Ending) and not goes_on else None
        if final is not None:
            past.traceback = final.__traceback__
        if error is not None and error is not final:
            error.__traceback__ = None  # frames keep alive everything that ran in them
        task.ended_at = now
        task.debit = None
        if not counted:
            past.uncounted += 1
        if ruling.outcome is AttemptOutcome.THROTTLED:
            past.throttles += 1
            record.throttled += 1
            record.hints_missing = 0 if ruling.hinted else record.hints_missing + 1
            record.suspect = True
        elif ruling.outcome is AttemptOutcome.WORKER_LOST:
            past.losses += 1
        elif ruling.outcome is AttemptOutcome.SNOOZED:
            past.snoozes += 1
        elif ruling.outcome in FAILURES:
            record.failed += 1
        record.runs += 1
        record.run_seconds += now - task.started_at
        self._unhold(record)

        if ruling.worker == "retire":
            record.retired = True
            self.roster.changed(record)
            record.error = error
        elif ruling.worker == "rebuild":
            record.needs_rebuild = True
            record.error = error
        if ruling.cool_for is not None:
            self._cool(record, now + ruling.cool_for, ruling.cool_scope, now)
        ejected = False
        if record.health is not None and ruling.outcome in FAILURES:
            ejected = self._blame(record, task, now)
        if cut_off or record.stop is not None:
            record.needs_reset = True
        self._flag(record)

        if self.retries is not None and counted and isinstance(plan, Again):
            self.retries.begin(past)
            if plan.delay == 0.0 and (turn := self.retries.turn(past, now)) > now:
                plan = replace(plan, delay=turn - now, front=False, same_worker=False)
        if goes_on:
            self._go_on(record, task, ruling, run, now)
            again = ejected
        elif isinstance(plan, Again) and plan.same_worker and self._may_run(record, task, now):
            self._moved(task, QUEUED, "again at once", now, run)
            task.queued_at = now
            task.blocked_at = None
            self._reserve(record, task, self._route(route_key(task), now), now)
            return task
        else:
            # What waited for this worker may go elsewhere once it is out of use.
            again = self._carry_out(record, task, plan, run, now) or ejected
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
        self,
        record: WorkerRecord,
        task: Task,
        plan: Again | Ending,
        run: tuple[Any, ...],
        now: float,
    ) -> bool:
        """Do what a ruling says of the task. True when it has become ready."""
        if isinstance(plan, Again):
            if plan.elsewhere:
                task.tried_mask |= record.bit
            start = now + plan.delay
            ending = plan.else_ending
            if ending is None and task.deadline is not None and task.deadline <= now:
                # It fell due while the attempt was ending by itself, so nobody will look again.
                late = self.timeout_error(task, "its attempt", spent=1, last_error=run[2])
                ending = Ending(reason=EndReason.TIMEOUT, error=late)
            if ending is not None and task.deadline is not None:
                start = max(start, self._earliest(task, now))
                if start >= task.deadline:
                    plan = ending
        if isinstance(plan, Ending):
            self._settle(task, plan.state, plan.reason, plan.error, now, run)
            return False
        if plan.delay > 0.0:
            self._schedule(task, plan.delay, run, now)
            return False
        self._requeue(task, "retry", now, front=plan.front, keep_place=plan.keep_place, run=run)
        return True

    def _spend(
        self,
        record: WorkerRecord,
        task: Task,
        limit: int,
        plan: Again,
        error: BaseException | None,
    ) -> Again | Ending:
        """An attempt on a worker that allows a task only so many. What then becomes of the task.

        It ends now and not when its retry falls due, unless it would wait for other workers then.
        """
        past = task.begin_past()
        if past.spending is None:
            past.spending = Spending()
        if not past.spending.spend(record, limit, error):
            return plan
        task.tried_mask |= record.bit
        refusal = self._refusal(route_key(task), task.cost)
        if isinstance(refusal, NobodyLeft) and self._patience(task) in ("raise", "dead"):
            return Ending(reason=EndReason.NO_WORKER_LEFT, error=error)
        return replace(plan, same_worker=False)

    def may_retry(self, task: Task) -> bool:
        """True when the retry budget allows for a retry of a task whose attempt has just failed."""
        retries = self.retries
        if retries is None:
            return True
        others = retries.under_way - (task.past is not None and task.past.retrying)
        return others + 1 <= retries.limit(self.live - len(self.twins))

    def _blame(self, record: WorkerRecord, task: Task, now: float) -> bool:
        """A run has failed: tell the worker's breaker. True if that takes the worker out of use."""
        health, breaker = record.health, self.settings.breaker
        assert health is not None
        assert breaker is not None
        record.suspect = True
        reason = health.failed(task.id)
        if reason is None or not self._may_eject(record, breaker):
            return False
        before = health.state
        self._cool(record, now + health.open(now), "worker", now)
        self.roster.ejected |= record.bit
        self._told_breaker(record, before, BreakerState.OPEN, reason, now)
        self._begin_new_rounds(now)  # nobody waits for it while others may be tried again
        return True

    def _may_eject(self, record: WorkerRecord, breaker: Breaker) -> bool:
        """True when a worker may go as far as the others are concerned, which may be out as well.

        The only one of its lane always may: kept in, it would eat all that comes there.
        """
        eligible = self.roster.eligible
        everybody, peers = eligible(NO_TAGS, None), eligible(record.tags, None)
        out = self.roster.ejected & everybody & ~record.bit
        most = breaker.max_ejected * everybody.bit_count() + TOLERANCE
        return not out & peers or out.bit_count() + 1 <= most

    def _exonerate(self, record: WorkerRecord, task: Task, now: float) -> None:
        """A run has succeeded on a worker that was refused, or has failed, of late."""
        record.hints_missing = 0
        record.suspect = False
        health = record.health
        if health is not None:
            before = health.state
            if health.succeeded(task.id, now):
                self._told_breaker(record, before, health.state, "succeeded as a probe", now)
            record.suspect = health.heeds_success

    def _cut_off(self, record: WorkerRecord, task: Task, stop: Stop, now: float) -> None:
        """Take a task off a worker whose code goes on, for the weightiest reason there is."""
        stop = max(stop, record.stop or stop)
        self.fail(record, task, self.stopped_ruling(task, stop), now, cut_off=True)
