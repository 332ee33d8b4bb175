"""What becomes of tasks that nobody present could take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._agenda import Due
from ._books import Books, Effect, NobodyLeft, route_key
from ._errors import CostTooLarge, RetryPoolError
from ._moves import WorkersMissing
from ._states import EndReason, TaskState

if TYPE_CHECKING:
    from ._lane import Lane
    from ._settings import NoWorkersPolicy
    from ._task import Task


class Patience(Books):
    """Ends tasks that nobody could take, or lets them wait for somebody who can."""

    __slots__ = ()

    def _patience(self, task: Task) -> NoWorkersPolicy:
        return "wait" if task.options.wait_for_worker else self.settings.no_workers

    def _be_patient(self, task: Task, refusal: RetryPoolError, now: float) -> None:
        """Apply the no-workers policy to a task that nobody present could take."""
        if self.ending:
            return  # what waits is about to be ended
        lane = self.ready.routes[route_key(task)].lanes[task.cost]
        if lane.refused_since is None:
            self._refuse(lane, refusal, now)
        else:
            self._refuse_one(task, refusal, now)

    def _refuse(self, lane: Lane, refusal: RetryPoolError, now: float) -> None:
        """Nobody present could take the tasks of a lane any more: each is told, once."""
        lane.refused_since = now
        for task in list(lane):
            self._refuse_one(task, refusal, now)

    def _refuse_one(self, task: Task, refusal: RetryPoolError, now: float) -> None:
        patience = self._patience(task)
        if isinstance(refusal, CostTooLarge) or patience == "raise" or patience == "dead":
            self._end_unserved(task, refusal, now)
        else:
            if patience != "wait":
                self.agenda.add(now + patience, Due.START_BY, task)
            self._tell_if_missing(now)

    def _is_staffed(self) -> bool:
        """True when a worker is there, if only on its way up, or may be made."""
        return self.elastic is not None or self.roster.headcount().staying > 0

    def _tell_if_missing(self, now: float) -> None:
        """Tasks wait. Tell if no worker is there, once until one has been."""
        if not self._missing_told and not self._is_staffed():
            self._missing_told = True
            self.outbox.append((Effect.MISSING, WorkersMissing(now), None))

    def _end_unserved(self, task: Task, refusal: RetryPoolError, now: float) -> None:
        """End a task that waits and that nobody may take."""
        reason = EndReason.NO_WORKERS
        error: BaseException | None = refusal
        if isinstance(refusal, CostTooLarge):
            reason = EndReason.COST
        elif isinstance(refusal, NobodyLeft):
            reason, error = EndReason.NO_WORKER_LEFT, _last_error(task)
        self._settle(task, TaskState.DEAD, reason, error, now)


def _last_error(task: Task) -> BaseException | None:
    """What the last attempt raised that counted, as far as that is kept."""
    assert task.past is not None
    assert task.past.spending is not None
    errors = [attempt.error for attempt in task.ended_attempts() if attempt.counted]
    return errors[-1] if errors else task.past.spending.error
