"""When a failed task is tried again: tenacity's strategies, asked as pure functions on our clock.

tenacity's own loop is never used: it sleeps while holding what the caller holds, reads its own
clock, and lets permissive predicates swallow cancellation.
"""

from __future__ import annotations

import inspect
import logging
import random
import sys
from copy import copy
from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

import tenacity
from tenacity import AsyncRetrying, BaseRetrying, RetryCallState
from tenacity.wait import wait_base, wait_chain, wait_combine

from ._errors import PolicyError
from ._states import EndReason
from ._time import count, is_async, seconds, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._task import Task

logger = logging.getLogger("retrypool_async")

#: No computed wait is longer: tenacity's exponential has no ceiling worth the name.
LONGEST_WAIT = 86_400.0
#: Attempts in all, unless said otherwise.
DEFAULT_ATTEMPTS = 3


#: Seconds until the next attempt, or why there is none.
RetryDecision = float | EndReason


class RetryPolicy:
    """Whether and when a failed task is tried again.

    Args:
        stop: A tenacity stop strategy. `seconds_since_start` counts from the first attempt's
            start; the time before that belongs to `queue_timeout`.
        wait: A tenacity wait strategy, or any callable of one state that returns seconds or a
            `timedelta`. Waits are clamped to between 0 and one day.
        retry: A tenacity predicate on *exceptions*. Only `Exception` is shown to it, never a
            cancellation or an exit. A result that should be retried must be raised by `run`.
        before_sleep: Called with the state before each wait, e.g. tenacity's log helper.

    Strategies are called synchronously with one positional argument, a tenacity `RetryCallState`
    that lives as long as the task. One that raises ends the task with `PolicyError`.

    Raises:
        TypeError: something is not callable, or is a coroutine function, or judges results.
    """

    __slots__ = ("_attempts", "_backoff", "before_sleep", "retry", "stop", "wait")

    def __init__(
        self,
        *,
        stop: Callable[[RetryCallState], bool] | None = None,
        wait: Callable[[RetryCallState], Any] | None = None,
        retry: Callable[[RetryCallState], bool] | None = None,
        before_sleep: Callable[[RetryCallState], object] | None = None,
    ) -> None:
        default_stop = tenacity.stop_after_attempt(DEFAULT_ATTEMPTS)
        default_wait = _Backoff(0.5, 30.0, 2.0, 1.0)
        default_retry = tenacity.retry_if_exception_type()
        self.stop = _strategy("stop", default_stop if stop is None else stop)
        self.wait = _positional(_strategy("wait", default_wait if wait is None else wait))
        self.retry = _strategy("retry", default_retry if retry is None else retry)
        self.before_sleep = (
            None if before_sleep is None else _strategy("before_sleep", before_sleep)
        )
        _refuse_result_predicates(self.retry)
        # Policies made of nothing but our own parts are answered without tenacity's state.
        self._backoff: _Backoff | None = None
        self._attempts = 0
        if retry is None and before_sleep is None and isinstance(self.wait, _Backoff):
            if stop is None:
                self._backoff, self._attempts = self.wait, DEFAULT_ATTEMPTS
            elif isinstance(stop, _StopAfter):
                self._backoff, self._attempts = self.wait, stop.max_attempt_number

    @classmethod
    def fixed(
        cls, delay: float | timedelta, *, attempts: int | None = 3, jitter: float = 0.0
    ) -> RetryPolicy:
        """The same wait each time.

        Args:
            delay: Seconds between attempts, 0 or more.
            attempts: Attempts in all, the first included, at least 1; None for no limit.
            jitter: The share of each wait, 0 to 1, that is drawn at random (downward).
        """
        wait = min(seconds("delay", delay), LONGEST_WAIT)
        return cls(
            stop=_stop_after(attempts), wait=_Backoff(wait, wait, 1.0, share("jitter", jitter))
        )

    @classmethod
    def exponential(
        cls,
        base: float | timedelta = 0.5,
        *,
        max: float | timedelta = 30.0,
        attempts: int | None = 3,
        jitter: float = 1.0,
    ) -> RetryPolicy:
        """Waits that double: `min(max, base * 2 ** (n - 1))` before retry number n.

        Args:
            base: Seconds before the first retry, 0 or more.
            max: The longest wait in seconds; jitter never exceeds it.
            attempts: Attempts in all, the first included, at least 1; None for no limit.
            jitter: The share of each wait, 0 to 1, that is drawn at random (downward). 1 is
                "full jitter", which spreads clients that failed together best.
        """
        wait = _Backoff(seconds("base", base), _capped("max", max), 2.0, share("jitter", jitter))
        return cls(stop=_stop_after(attempts), wait=wait)

    @classmethod
    def of(cls, value: object) -> RetryPolicy:
        """Return a policy as it is, or the strategies of a tenacity `Retrying` as a policy."""
        if isinstance(value, RetryPolicy):
            return value
        if isinstance(value, (BaseRetrying, AsyncRetrying)):
            return cls(
                stop=value.stop, wait=value.wait, retry=value.retry, before_sleep=value.before_sleep
            )
        raise TypeError(
            f"retry must be a RetryPolicy or a tenacity Retrying, got {type(value).__name__}"
        )

    def usual_wait(self, attempt_number: int, rng: random.Random) -> float | None:
        """Seconds to wait after an attempt, if only its number counts and another follows."""
        if self._backoff is None or attempt_number >= self._attempts:
            return None
        return self._backoff.delay(attempt_number, rng) or None

    def decide(
        self, task: Task, error: Exception, pool: object, rng: random.Random, now: float
    ) -> RetryDecision:
        """Whether `task`, whose attempt number `attempt_count + 1` failed, is tried again.

        Raises:
            PolicyError: a strategy raised or returned rubbish.
        """
        if self._backoff is not None:
            number_ = task.attempt_count + 1
            if number_ >= self._attempts:
                return EndReason.ATTEMPTS
            return self._backoff.delay(number_, rng)
        past = task.begin_past()
        state = past.retry_state
        if state is None:
            state = past.retry_state = _State(pool, task, rng)
        state.attempt_number = number_ = task.attempt_count + 1
        state.outcome = _Outcome(number_, error)
        state.outcome_timestamp = now
        try:
            if not _answer("retry", self.retry(state)):
                return EndReason.NOT_RETRIED
            state.upcoming_sleep = delay = _delay(self.wait(state))
            if _answer("stop", self.stop(state)):
                return EndReason.ATTEMPTS
        except BaseException as problem:
            raise PolicyError(f"retry policy failed: {type(problem).__name__}") from problem
        state.idle_for += delay
        if self.before_sleep is not None:
            state.next_action = tenacity.RetryAction(delay)
            try:
                self.before_sleep(state)
            except Exception:
                logger.exception("before_sleep of a retry policy raised")
        return delay

    def __repr__(self) -> str:
        names = ", ".join(
            f"{part}={type(getattr(self, part)).__name__}" for part in ("stop", "wait", "retry")
        )
        return f"RetryPolicy({names})"


class _Random(Protocol):
    def random(self) -> float: ...


class _Outcome(tenacity.Future):
    """A failed attempt as tenacity's strategies read it, without the lock of a real future."""

    def __init__(self, attempt_number: int, error: BaseException) -> None:
        # The base class would allocate a condition variable per attempt; nothing here waits.
        self.attempt_number = attempt_number
        self._error = error

    @property
    def failed(self) -> bool:
        return True

    def exception(self, timeout: float | None = None) -> BaseException:
        return self._error

    def result(self, timeout: float | None = None) -> Any:
        raise self._error

    def done(self) -> bool:
        return True


class _State(RetryCallState):
    """tenacity's state with our times in it, so that no strategy reads another clock."""

    def __init__(self, pool: object, task: Task, rng: random.Random) -> None:
        self.retry_object = pool  # type: ignore[assignment]  # only its str() is ever used
        holder = task.holder
        self.fn = None if holder is None else holder.worker.run
        self.args = (task.data,)
        self.kwargs = {}
        past = task.past
        begun = None if past is None else past.first_start
        self.start_time = task.started_at if begun is None else begun
        self.attempt_number = 1
        self.outcome = None
        self.outcome_timestamp = None
        self.idle_for = 0.0 if past is None else task.times_until(task.started_at).backoff
        self.next_action = None
        self.upcoming_sleep = 0.0
        self.rng = rng

    def __repr__(self) -> str:
        return f"<RetryCallState attempt {self.attempt_number}>"  # never the error's text


class _Backoff(wait_base):
    """`min(most, base * factor ** (n - 1))`, of which a share is random, downward."""

    def __init__(self, base: float, most: float, factor: float, jitter: float) -> None:
        self.base, self.most, self.factor, self.jitter = base, most, factor, jitter

    def __call__(self, retry_state: RetryCallState) -> float:
        return self.delay(retry_state.attempt_number, getattr(retry_state, "rng", random))

    def delay(self, attempt_number: int, rng: _Random) -> float:
        """Seconds before the retry that follows an attempt."""
        delay = self.base
        if self.factor != 1.0:
            # Beyond 2**64 the cap has long been reached, and the power would overflow.
            delay = min(self.most, delay * self.factor ** min(attempt_number - 1, 64))
        if self.jitter:
            delay *= 1.0 - self.jitter * rng.random()
        return delay


class _StopAfter(tenacity.stop_after_attempt):
    """`stop_after_attempt`, told apart from one that a user configured."""


def _stop_after(attempts: int | None) -> Callable[[RetryCallState], bool]:
    return _StopAfter(sys.maxsize if attempts is None else count("attempts", attempts, at_least=1))


def _capped(name: str, value: object) -> float:
    longest = seconds(name, value)
    return longest if longest < LONGEST_WAIT else LONGEST_WAIT


def _delay(value: object) -> float:
    """A wait as a strategy returned it, as seconds between 0 and one day."""
    if value is None:
        return 0.0
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if inspect.iscoroutine(value):
        value.close()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise TypeError(f"a wait strategy returned {type(value).__name__}, not seconds")
    if isinstance(value, int) or isfinite(value):
        return float(min(max(value, 0), LONGEST_WAIT))
    return LONGEST_WAIT if value > 0 else 0.0


def _answer(name: str, value: object) -> bool:
    """What a predicate said. A coroutine would be true, and never awaited."""
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{name} returned a coroutine: policies are asked, never awaited")
    return bool(value)


def _strategy(name: str, value: Any) -> Any:
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {type(value).__name__}")
    if is_async(value):
        raise TypeError(f"{name} must be a plain function: policies are asked, never awaited")
    return value


def _positional(wait: Any) -> Any:
    """Combined waits may pass the state by keyword; let their parts name it as they like."""
    if isinstance(wait, wait_chain):
        parts = "strategies"
    elif isinstance(wait, wait_combine):
        parts = "wait_funcs"
    else:
        return wait
    wait = copy(wait)
    asked = [
        _positional(part) if isinstance(part, wait_base) else _by_position(part)
        for part in getattr(wait, parts)
    ]
    setattr(wait, parts, asked)
    return wait


def _by_position(part: Callable[[RetryCallState], Any]) -> Callable[..., Any]:
    def call(retry_state: RetryCallState) -> Any:
        return part(retry_state)

    return call


def _refuse_result_predicates(predicate: Any) -> None:
    judges_results = (tenacity.retry_if_result, tenacity.retry_if_not_result)
    if isinstance(predicate, judges_results):
        raise TypeError(
            "retry judges exceptions only: raise from run() when a result should be tried again"
        )
    for part in getattr(predicate, "retries", ()):
        _refuse_result_predicates(_strategy("retry", part))
