"""Verdicts: how a worker says whose fault a failure is.

A worker raises one of these, or its `classify` returns one. Anything else that is an `Exception`
is an ordinary failure: one attempt spent, and the retry policy decides.

Constructors never raise, since they run where an error is being handled: an odd number counts as
"none given", with a warning in the log.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Literal

from ._time import is_finite

logger = logging.getLogger("retrypool_async")


def usable(what: str, value: object) -> float | None:
    """Return a number of seconds as a float; None, with a warning, for anything odd."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None:
        return None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    if usable and is_finite(value) and value >= 0:  # type: ignore[operator,arg-type]
        return float(value)  # type: ignore[arg-type]
    logger.warning("%s is not a usable number of seconds (%s); ignored", what, type(value).__name__)
    return None


class Verdict(Exception):
    """Base of the verdicts. Catching it catches every one of them."""


class Throttled(Verdict):
    """The service refused the call for now. The worker cools; the task goes elsewhere.

    No attempt is spent; `max_throttles` bounds how often a task may be refused.

    Args:
        retry_after: Seconds after which the service said to come back; never called earlier.
            None means that it did not say: the worker cools for `throttle_cooldown` seconds,
            doubling up to 60 while it repeats.
        scope: "worker" cools this worker, "quota" every worker that shares a quota with it.
    """

    # On the class too: a subclass may forget to call our constructor.
    retry_after: float | None = None
    scope: Literal["worker", "quota"] = "worker"

    def __init__(
        self,
        retry_after: float | timedelta | None = None,
        scope: Literal["worker", "quota"] = "worker",
    ) -> None:
        self.retry_after = usable("Throttled.retry_after", retry_after)
        if not isinstance(scope, str) or scope not in ("worker", "quota"):
            logger.warning("Throttled.scope must be 'worker' or 'quota'; taken as 'worker'")
            scope = "worker"
        self.scope = scope
        hint = "" if self.retry_after is None else f", retry after {self.retry_after:g} s"
        super().__init__(f"throttled{hint}")


class WorkerLost(Verdict):
    """The worker is at fault, not the task, which is queued again with no attempt spent.

    Args:
        rebuild: True closes and opens the worker's resource, with back-off while that fails;
            False retires the worker for good.
    """

    rebuild: bool = True

    def __init__(self, rebuild: bool = True) -> None:
        self.rebuild = rebuild is not False
        super().__init__("worker lost" if self.rebuild else "worker lost for good")


class Snooze(Verdict):
    """Not now: the task comes back after `seconds`, with no attempt spent."""

    seconds: float = 1.0

    def __init__(self, seconds: float | timedelta = 1.0) -> None:
        hint = usable("Snooze.seconds", seconds)
        self.seconds = 1.0 if hint is None else hint
        super().__init__(f"snoozed for {self.seconds:g} s")


class Bounce(Verdict):
    """Another worker should try, without delay. The attempt is spent."""

    def __init__(self) -> None:
        super().__init__("bounced to another worker")


class Discard(Verdict):
    """The task is not worth trying again: it dies now, and nobody is blamed."""

    def __init__(self, reason: str = "discarded") -> None:
        try:
            self.reason = str(reason)
        except Exception:
            self.reason = "discarded"
        super().__init__(self.reason)
