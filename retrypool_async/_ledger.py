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
from typing import TYPE_CHECKING

from ._agenda import Due
from ._audit import audit
from ._books import (
    QUEUED,
    RESERVED,
    RETRY,
    RUNNING,
    SCHEDULED,
    Effect,
    route_key,
)
from ._intake import own_copy
from ._outcomes import Outcomes
from ._record import WorkerRecord
from ._states import EndReason, Stop, WorkerState
from ._task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._waits import Wait


class Ledger(Outcomes):
    """The books of one pool, and the lives of its tasks. See the module's docstring."""

    __slots__ = ()

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
        self._forget_departed(now)
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

    # -- other ends ------------------------------------------------------------------------------

    def _out_of_grace(self, record: WorkerRecord, now: float) -> None:
        """A stopped attempt goes on. Its task ends or moves on; its worker is stuck."""
        task, stop = record.task, record.stop
        if task is not None and stop is not None:
            self._cut_off(record, task, stop, now)
        self.stuck(record, now)
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
            self.break_deadlocks(now)

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
        yield from self.sequences.parked()
        yield from self.agenda.tasks(Due.RETRY)
        for record in self.roster.workers.values():
            if record.task is not None:
                yield record.task

    # -- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Carry out what has fallen due."""
        may_start = False
        for what, whom, _ in self.agenda.due(now):
            if what is RETRY:
                may_start = self._fall_due(whom, now) or may_start
            elif what is Due.PLAN:
                self._wake(now)
            elif what is Due.SPILL:
                self._spill(whom, now)
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
            elif what is Due.REVIEW:
                self._review_at = inf  # `review` follows every step
            else:
                self.resume(whom, now)
        if may_start:
            self._plan(now)  # once all are there: they go by their urgency, not by their times

    def _lose_patience(self, task: Task, now: float) -> None:
        """A task has waited for its first start, or without workers, as long as it may."""
        limit = task.options.queue_timeout
        if limit is not None and task.run_count == 0 and now >= task.submitted_at + limit:
            self._end_waiting(task, now)
            self._plan(now)
            return
        patience = self._patience(task)
        refused_since = self.ready.routes[route_key(task)].lanes[task.cost].refused_since
        if isinstance(patience, str) or refused_since is None or self.ending:
            return
        end = max(refused_since, task.queued_at) + patience
        if now < end:  # somebody came since, and left
            self.agenda.add(end, Due.START_BY, task)
            return
        refusal = self._refusal(route_key(task), task.cost)
        assert refusal is not None
        self._end_unserved(task, refusal, now)

    def check(self) -> None:
        """Assert that the books balance.

        Raises:
            InvariantBroken: they do not, which is a bug in this library.
        """
        audit(self)
