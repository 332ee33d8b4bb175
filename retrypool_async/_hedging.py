"""Hedges: when a second attempt is made of a task, and which of the two counts.

A hedge goes through the books as a task of its own, a `Twin`. It lives no longer than the attempt
that it is for, and only while that attempt is in progress on another worker. `_decide` is the one
place that says whose end is the task's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._attempt import Attempt
from ._books import CANCELLED, QUEUED, RUNNING, Effect, route_key
from ._past import Run, keep_ends
from ._ruling import Again, Ending
from ._runs import Runs
from ._states import AttemptOutcome, EndReason, Stop, TaskState
from ._twin import Twin, twin_of

if TYPE_CHECKING:
    from ._record import WorkerRecord
    from ._ruling import Ruling
    from ._task import Task

#: Endings that are about the task itself: no other attempt of it could change them.
DECISIVE = frozenset(
    {
        EndReason.DISCARDED,
        EndReason.DROPPED,
        EndReason.KILLED,
        EndReason.FATAL,
        EndReason.TIMEOUT,
    }
)


class Hedging(Runs):
    """Starts hedges, and brings two attempts of a task to one end."""

    __slots__ = ()

    # -- how a hedge begins ----------------------------------------------------------------------

    def _hedge(self, task: Task, now: float) -> bool:
        """An attempt has taken long: let another worker try as well, when one has time for it.

        True when it may be able to start at once.
        """
        assert task.past is not None
        hedges = task.past.hedges
        assert hedges is not None
        hedges.due_at = None
        if self.ending or task.holder.stop is not None or not self._may_hedge(now):
            return False
        twin = hedges.twin = Twin(task, hedges, now)
        self.twins[twin] = None
        self.live += 1
        if self.retries is not None:
            self.retries.begin(twin.begin_past())
            self.retries.next_slot(now)
        self._next_order = twin.order = self._next_order + 1
        twin.state = QUEUED
        route = self._route(self._key_of_round(twin), now)
        self.ready.push(twin, route)
        return self._may_start_now(twin, route)

    def _may_hedge(self, now: float) -> bool:
        """True when the retry budget has room for one more, now."""
        retries = self.retries
        if retries is None:
            return True
        tasks = self.live - len(self.twins)
        return retries.under_way + 1 <= retries.limit(tasks) and retries.has_slot(now)

    # -- whose end counts ------------------------------------------------------------------------

    def is_hedged(self, task: Task) -> bool:
        """True while two attempts of a task are in progress, of which this is one."""
        twin = twin_of(task)
        return twin is not None and twin.state is RUNNING

    def _decide(self, task: Task, decisive: bool, now: float) -> Task | None:
        """An attempt of a task that may be hedged has ended: tell whether the task has with it.

        So it has when that is decisive, or no other attempt is in progress. Then any hedge is
        called off, the ended attempt is the task's own, and the task is returned.
        """
        twin = twin_of(task)
        if twin is None:
            return task
        if not decisive and twin.state is RUNNING:
            return None
        original = twin.original
        if task is twin:
            self._observe(original, now)
            outrun = self._outrun(original, now)
            self._take_over(twin, outrun, now)
            assert original.past is not None
            original.past.uncounted += 1
        else:
            self._call_off(twin, now)
        return original

    def _win(self, task: Task, now: float) -> Task:
        """An attempt of a task that may be hedged has returned. Return the task that it ends."""
        if not task.is_hedge:
            self._observe(task, now)
        winner = self._decide(task, True, now)
        assert winner is not None
        return winner

    def _observe(self, task: Task, now: float) -> None:
        """Note how long a first attempt has taken, at the least.

        One that is outrun would have taken longer still. To leave it out, or to count its hedge,
        would make attempts look ever shorter, and hedges be ever more.
        """
        hedge = task.options.hedge
        if hedge is not None and hedge.quantile is not None and task.queued_at is not None:
            self.latencies.add(now - task.started_at)

    def _go_on(
        self, record: WorkerRecord, task: Task, ruling: Ruling, run: tuple[Any, ...], now: float
    ) -> None:
        """One of two attempts has ended, off its worker by now, and the other goes on."""
        twin = twin_of(task)
        assert twin is not None
        original = twin.original
        if isinstance(ruling.task, Again) and ruling.task.elsewhere:
            original.tried_mask |= record.bit
        if task is twin:
            assert original.past is not None
            assert twin.past is not None
            original.past.throttles += twin.past.throttles
            original.past.losses += twin.past.losses
            original.past.snoozes += twin.past.snoozes
            self._leave_behind(twin, run, now)
        else:
            self._take_over(twin, run, now)
            if task.deadline is not None and task.deadline <= now:
                # Its time is up, and whoever is to see to that looks at the other worker.
                self.outbox.append((Effect.OVERDUE, task.holder, task))
        self.break_deadlocks(now)  # by what depended on the attempt that has ended

    # -- what becomes of the other ---------------------------------------------------------------

    def _call_off(self, twin: Twin, now: float) -> None:
        """A hedge is not needed any more, wherever it is."""
        if twin.state is RUNNING:
            self._leave_behind(twin, self._outrun(twin, now), now)
        else:
            self._withdraw(twin, EndReason.CANCELLED, None, Stop.CANCEL, now)

    def _outrun(self, task: Task, now: float) -> tuple[Any, ...]:
        """Stop an attempt in progress, and take it off its worker. Returns the fields of a run."""
        record = task.holder
        record.runs += 1
        record.run_seconds += now - task.started_at
        task.debit = None
        self._unhold(record)
        record.needs_reset = True
        self._unwinding(record, Stop.LIMIT, now)
        outcome = AttemptOutcome.OUTRUN
        return (task.run_count, outcome, None, False, (), self.settings.secrets)

    def _leave_behind(self, twin: Twin, run: tuple[Any, ...], now: float) -> None:
        """A hedge has been made, and has not decided."""
        assert twin.past is not None
        hedges = twin.past.hedges
        assert hedges is not None
        attempt = self._attempt_of(twin, run, now)
        hedges.ended.append(attempt)
        hedges.number = attempt.number
        keep_ends(hedges.ended, self.settings.history_limit)
        self._dissolve(twin)

    def _take_over(self, twin: Twin, run: tuple[Any, ...], now: float) -> None:
        """A task's own attempt has ended, and its hedge is its attempt from now on."""
        task, record = twin.original, twin.holder
        past = task.begin_past()
        if past.first_start is None:
            past.first_start = task.started_at
        self._attempt_of(task, run, now)
        task.leave_straight_path(RUNNING, "hedge goes on", now, self.settings.history_limit, run)
        task.queued_at = task.blocked_at = None
        task.reserved_at = now
        task.started_at = twin.started_at
        task.run_count = twin.run_count
        task.debit, twin.debit = twin.debit, None
        task.holder = record
        record.task = task
        retrying = past.retrying
        self._dissolve(twin)
        if self.retries is not None and not retrying:
            self.retries.begin(past)
        twin.state = RUNNING
        twin.merged = True
        self.waits.hand_over(twin, task)

    def _attempt_of(self, task: Task, run: tuple[Any, ...], now: float) -> Attempt:
        """The attempt that has just ended beside another one. Observers are told of it."""
        made = Run(*run)
        original = task.original if isinstance(task, Twin) else task
        attempt = Attempt(
            made.number,
            task.holder.name,
            task.started_at,
            now,
            made.outcome,
            made.error,
            made.counted,
            made.trace,
            made.secrets,
            hedge=task.is_hedge,
        )
        if self.observed:
            self.outbox.append((Effect.ATTEMPT, original, attempt))
        return attempt

    def _dissolve(self, twin: Twin) -> None:
        """A hedge is a record of its own no longer."""
        assert twin.past is not None
        assert twin.past.hedges is not None
        twin.past.hedges.twin = None
        twin.state = CANCELLED
        del self.twins[twin]
        self.live -= 1
        if self.retries is not None:
            self.retries.end(twin.past)

    # -- what concerns both ----------------------------------------------------------------------

    def _withdraw(
        self,
        task: Task,
        reason: EndReason,
        error: BaseException | None,
        stop: Stop,
        now: float,
        state: TaskState = CANCELLED,
    ) -> bool:
        twin = twin_of(task)
        if twin is not None and twin is not task:
            if twin.state is RUNNING:
                self._stop(twin.holder, stop, now)
            else:
                self._call_off(twin, now)
        return super()._withdraw(task, reason, error, stop, now, state)

    def _settle(
        self,
        task: Task,
        state: TaskState,
        reason: EndReason,
        error: BaseException | None,
        now: float,
        run: tuple[Any, ...] | None = None,
    ) -> None:
        if isinstance(task, Twin):  # one that was waiting: nobody else need know
            self._dissolve(task)
            self.ready.routes[route_key(task)].lanes[task.cost].forget(task)
        else:
            super()._settle(task, state, reason, error, now, run)


def is_decisive(ruling: Ruling) -> bool:
    """True when the end of an attempt ends its task, whatever other attempts come to."""
    return isinstance(ruling.task, Ending) and ruling.task.reason in DECISIVE
