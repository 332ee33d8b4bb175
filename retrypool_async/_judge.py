"""Whose fault is it, and what follows: turns the error of an attempt into a ruling.

Asks `classify` of the worker and of the pool, the failure hook and the retry policy, and acts on
nothing.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Protocol

from ._errors import (
    AttemptTimeout,
    PolicyError,
    RetryBudgetExceeded,
    SnoozeLimit,
    TaskTimeout,
    ThrottleLimit,
    WorkerLossLimit,
)
from ._hooks import AttemptFailed, Hooks
from ._past import Past
from ._ruling import Again, Ending, Ruling
from ._states import AttemptOutcome, EndReason, FailureAction, TaskState
from ._verdict import Discard, Snooze, Throttled, Verdict, WorkerLost, usable
from ._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._record import WorkerRecord
    from ._retry import RetryPolicy
    from ._settings import Settings
    from ._task import Task

logger = logging.getLogger("retrypool_async")

#: Without a hint, a worker that is refused again and again cools for at most this long.
LONGEST_UNHINTED_COOLDOWN = 60.0
NO_PAST = Past()
#: What workers have whose users say nothing of errors.
NO_OPINION = Worker[Any, Any].classify


class Books(Protocol):
    """What judging needs to know of the ledger."""

    def alternatives(self, task: Task, record: WorkerRecord, by: float) -> bool: ...
    def may_retry(self, task: Task) -> bool: ...
    def timeout_error(self, task: Task, waiting_for: str, *, spent: int = 0) -> TaskTimeout: ...


class Judge:
    """Rules on failed attempts."""

    def __init__(self, settings: Settings, books: Books, hooks: Hooks, pool: object) -> None:
        self._settings = settings
        self._books = books
        self._hooks = hooks
        self._pool = pool

    def usual_wait(
        self, task: Task, record: WorkerRecord, error: BaseException, policy: RetryPolicy
    ) -> float | None:
        """Seconds until the next attempt after the most usual of failures; else None: see `rule`.

        It is an ordinary exception, on which nobody has a say but a policy of our own making.
        """
        options = task.options
        if (
            getattr(record.worker.classify, "__func__", None) is not NO_OPINION
            or self._settings.classify is not None
            or self._hooks.on_failure is not None
            or options.immediate
            or options.bounce
            or task.deadline is not None
            or record.max_attempts_per_task is not None
            or not isinstance(error, Exception)
            or isinstance(error, Verdict)
            or (self._settings.retry_budget is not None and not self._books.may_retry(task))
        ):
            return None
        return policy.usual_wait(task.attempt_count + 1, self._settings.rng)

    def rule(
        self,
        task: Task,
        record: WorkerRecord,
        error: BaseException,
        policy: RetryPolicy,
        now: float,
    ) -> Ruling:
        """Rule on an attempt that raised `error`."""
        if not isinstance(error, Exception):
            # KeyboardInterrupt, SystemExit and their like end the task, and are never retried.
            return _end(AttemptOutcome.ERROR, error, EndReason.FATAL, error)
        try:
            verdict = error if isinstance(error, Verdict) else self._classify(record, error)
            original = error
            if verdict is error and isinstance(error.__cause__, Exception):
                original = error.__cause__
            if verdict is None:
                return self._failure(task, record, error, policy, now)
            if isinstance(verdict, Throttled):
                return self._throttled(task, record, verdict, original, now)
            if isinstance(verdict, WorkerLost):
                return self._worker_lost(task, verdict, original)
            if isinstance(verdict, Snooze):
                return self._snoozed(task, verdict, original, now)
            if isinstance(verdict, Discard):
                return _end(AttemptOutcome.DISCARDED, original, EndReason.DISCARDED, original)
            return self._bounced(task, original, policy, now)
        except PolicyError as problem:
            return _end(AttemptOutcome.ERROR, error, EndReason.POLICY, problem)

    def timed_out(
        self, task: Task, record: WorkerRecord, policy: RetryPolicy, now: float
    ) -> Ruling:
        """Rule on an attempt that has reached its own limit, or its task's."""
        if task.deadline is not None and task.deadline <= now:
            error = self._books.timeout_error(task, "its attempt", spent=1)
            return _end(AttemptOutcome.TIMEOUT, error, EndReason.TIMEOUT, error)
        limit = task.options.attempt_timeout
        overran = AttemptTimeout(f"attempt on {record.name} ran longer than {limit:g} s")
        try:
            return self._failure(task, record, overran, policy, now, AttemptOutcome.TIMEOUT)
        except PolicyError as problem:
            return _end(AttemptOutcome.TIMEOUT, overran, EndReason.POLICY, problem)

    # -- one method for each kind of blame -----------------------------------------------------

    def _classify(self, record: WorkerRecord, error: Exception) -> Verdict | None:
        verdict = _ask(record.worker.classify, error)
        if verdict is None and self._settings.classify is not None:
            verdict = _ask(self._settings.classify, error)
        return verdict

    def _failure(
        self,
        task: Task,
        record: WorkerRecord,
        error: Exception,
        policy: RetryPolicy,
        now: float,
        outcome: AttemptOutcome = AttemptOutcome.ERROR,
    ) -> Ruling:
        options = task.options
        action = self._ask_hook(task, record, error)
        if action is FailureAction.DROP:
            ending = Ending(reason=EndReason.DROPPED, error=error, state=TaskState.DROPPED)
            return Ruling(outcome=outcome, error=error, task=ending)
        if action is FailureAction.DEAD:
            return _end(outcome, error, EndReason.KILLED, error)
        delay = 0.0
        if action is not FailureAction.FORCE_RETRY:
            decision = policy.decide(task, error, self._pool, self._settings.rng, now)
            if isinstance(decision, EndReason):
                return _end(outcome, error, decision, error)
            if not options.immediate:
                delay = self._clipped(task, decision, now)
        if not self._books.may_retry(task):
            return _over_budget(outcome, error)
        again = Again(
            delay=delay,
            front=options.immediate,
            same_worker=options.immediate and not options.bounce,
            elsewhere=options.bounce,
            else_ending=self._past_deadline(task, error, "backoff", spent=1),
        )
        return Ruling(outcome=outcome, error=error, task=again)

    def _ask_hook(self, task: Task, record: WorkerRecord, error: Exception) -> FailureAction | None:
        hook = self._hooks.on_failure
        if hook is None:
            return None
        try:
            action: Any = hook(AttemptFailed(task, task.attempt_count + 1, record.name, error))
        except BaseException:
            logger.exception("on_failure raised; left to the retry policy")
            return None
        if action is None or isinstance(action, FailureAction):
            return action
        logger.error("on_failure must return a FailureAction or None; left to the retry policy")
        return None

    def _clipped(self, task: Task, delay: float, now: float) -> float:
        """With `deadline="clip"`, once: a wait that fits before the deadline, with time to run."""
        if task.options.deadline != "clip" or task.deadline is None:
            return delay
        past = task.begin_past()
        left = task.deadline - now
        if delay < left or past.clipped:
            return delay
        past.clipped = True
        return left / 2

    def _past_deadline(
        self, task: Task, error: Exception, waiting_for: str, *, spent: int
    ) -> Ending | None:
        """How to end a task that could not start again in time; None without a deadline."""
        if task.deadline is None:
            return None
        timeout = TaskTimeout(
            f"the next attempt could not start within timeout "
            f"({task.deadline - task.submitted_at:.3g} s)",
            attempts=task.attempt_count + spent,
            last_error=error,
            waiting_for=waiting_for,
        )
        return Ending(reason=EndReason.DEADLINE, error=timeout)

    def _throttled(
        self,
        task: Task,
        record: WorkerRecord,
        verdict: Throttled,
        error: Exception,
        now: float,
    ) -> Ruling:
        settings = self._settings
        hint = usable("Throttled.retry_after", verdict.retry_after)
        if hint is None:
            doubled = settings.throttle_cooldown * 2.0 ** min(record.hints_missing, 64)
            asked = min(doubled, max(LONGEST_UNHINTED_COOLDOWN, settings.throttle_cooldown))
            cool_for = asked
        else:
            asked = cool_for = hint
            if settings.hint_jitter:
                cool_for += hint * settings.hint_jitter * settings.rng.random()
        refusals = (task.past or NO_PAST).throttles + 1
        plan: Again | Ending = Again(
            keep_place=True, else_ending=self._past_deadline(task, error, "cooling", spent=0)
        )
        if settings.max_throttles is not None and refusals > settings.max_throttles:
            plan = _ending(EndReason.THROTTLES, ThrottleLimit(f"refused {refusals} times"), error)
        elif asked > settings.max_retry_after and not self._books.alternatives(
            task, record, now + settings.max_retry_after
        ):
            plan = _ending(
                EndReason.HINT_TOO_LONG,
                ThrottleLimit(f"refused for {asked:g} s, more than max_retry_after"),
                error,
            )
        return Ruling(
            outcome=AttemptOutcome.THROTTLED,
            error=error,
            task=plan,
            counted=False,
            cool_for=cool_for,
            cool_scope=verdict.scope,
            hinted=hint is not None,
        )

    def _worker_lost(self, task: Task, verdict: WorkerLost, error: Exception) -> Ruling:
        most = self._settings.max_worker_losses
        losses = (task.past or NO_PAST).losses + 1
        plan: Again | Ending = Again(keep_place=True)
        if most is not None and losses >= most:
            plan = _ending(
                EndReason.WORKER_LOSSES, WorkerLossLimit(f"lost {losses} workers"), error
            )
        return Ruling(
            outcome=AttemptOutcome.WORKER_LOST,
            error=error,
            task=plan,
            counted=False,
            worker="rebuild" if verdict.rebuild else "retire",
        )

    def _snoozed(self, task: Task, verdict: Snooze, error: Exception, now: float) -> Ruling:
        most = self._settings.max_snoozes
        snoozes = (task.past or NO_PAST).snoozes + 1
        seconds = usable("Snooze.seconds", verdict.seconds)
        plan: Again | Ending = Again(
            delay=1.0 if seconds is None else seconds,
            else_ending=self._past_deadline(task, error, "snooze", spent=0),
        )
        if most is not None and snoozes > most:
            plan = _ending(EndReason.SNOOZES, SnoozeLimit(f"snoozed {snoozes} times"), error)
        return Ruling(outcome=AttemptOutcome.SNOOZED, error=error, task=plan, counted=False)

    def _bounced(self, task: Task, error: Exception, policy: RetryPolicy, now: float) -> Ruling:
        decision = policy.decide(task, error, self._pool, self._settings.rng, now)
        if isinstance(decision, EndReason):
            return _end(AttemptOutcome.BOUNCED, error, decision, error)
        if not self._books.may_retry(task):
            return _over_budget(AttemptOutcome.BOUNCED, error)
        return Ruling(outcome=AttemptOutcome.BOUNCED, error=error, task=Again(elsewhere=True))


def _ask(classify: Callable[[Exception], Verdict | None], error: Exception) -> Verdict | None:
    """What a user's classifier says of an error."""
    try:
        verdict = classify(error)
    except BaseException as problem:
        raise PolicyError(f"classify raised {type(problem).__name__}") from problem
    if inspect.iscoroutine(verdict):
        verdict.close()
    if verdict is not None and not isinstance(verdict, Verdict):
        raise PolicyError(f"classify must return a verdict or None, got {type(verdict).__name__}")
    return verdict


def _end(
    outcome: AttemptOutcome, error: BaseException, reason: EndReason, raised: BaseException
) -> Ruling:
    return Ruling(outcome=outcome, error=error, task=Ending(reason=reason, error=raised))


def _over_budget(outcome: AttemptOutcome, error: Exception) -> Ruling:
    limit = RetryBudgetExceeded("too many tasks of the pool are being retried already")
    return Ruling(outcome=outcome, error=error, task=_ending(EndReason.RETRY_BUDGET, limit, error))


def _ending(reason: EndReason, limit: Exception, error: Exception) -> Ending:
    limit.__cause__ = error
    return Ending(reason=reason, error=limit)
