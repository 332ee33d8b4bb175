"""The breaker: which worker is to be spared for a while, and when it has proved itself again.

`Breaker` is what a pool is given, `Health` what it comes to for one worker. Both decide by what
they are told, times included, and act on nothing.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._states import BreakerState
from ._time import TOLERANCE, count, optional_count, seconds, share

if TYPE_CHECKING:
    from datetime import timedelta

#: The shortest cooldown: a breaker that opens for no time protects nobody.
SHORTEST = 1e-3


@dataclass(frozen=True, slots=True, init=False)
class Breaker:
    """Takes a worker that keeps failing out of use, and tries it again after a while.

    Only failures count: runs that raised, and runs that were cut off at a time limit. They count
    by task, so that one task which fails again and again, wherever it is run, opens nothing.

    While it is open, the worker cools. Then the breaker is half-open: the worker is given one task
    at a time as a probe. A probe that succeeds closes the breaker, one that fails opens it anew.
    One that ends otherwise (throttled, say, or cancelled) proves nothing, and another is made.

    Args:
        failures: Different tasks that must fail in a row; None counts no rows.
        rate: Share of the latest `window` different tasks that must have failed; None looks at no
            share.
        window: Tasks that `rate` is taken of. Before there have been so many, it says nothing.
        cooldown: Seconds that the breaker is open for the first time. It doubles from one time to
            the next, and halves again whenever the breaker has stayed closed for as long.
        max_cooldown: The longest it may become.
        probes: Probes in a row that must succeed.
        max_ejected: Share of the pool's workers, 0 to 1, that breakers may keep out at once. Beyond
            it failing workers stay in use, except for one that would be the only one out among
            those that carry its tags.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    failures: int | None
    rate: float | None
    window: int
    cooldown: float
    max_cooldown: float
    probes: int
    max_ejected: float

    def __init__(
        self,
        failures: int | None = 5,
        *,
        rate: float | None = None,
        window: int = 20,
        cooldown: float | timedelta = 30.0,
        max_cooldown: float | timedelta = 600.0,
        probes: int = 1,
        max_ejected: float = 0.5,
    ) -> None:
        first = seconds("cooldown", cooldown, at_least=SHORTEST)
        checked = {
            "failures": optional_count("failures", failures, at_least=1),
            "rate": None if rate is None else share("rate", rate),
            "window": count("window", window, at_least=1),
            "cooldown": first,
            "max_cooldown": seconds("max_cooldown", max_cooldown, at_least=first),
            "probes": count("probes", probes, at_least=1),
            "max_ejected": share("max_ejected", max_ejected),
        }
        if checked["rate"] == 0.0:
            raise ValueError("rate must be more than 0")
        if failures is None and rate is None:
            raise ValueError("failures and rate must not both be None")
        for name, value in checked.items():
            object.__setattr__(self, name, value)


class Health:
    """What is known of one worker: how its latest tasks ended, and the state of its breaker."""

    __slots__ = ("_breaker", "_closed_at", "_failing", "_length", "_passed", "_recent", "state")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self.state = BreakerState.CLOSED
        #: The different tasks that have failed since the last success.
        self._failing: set[int] = set()
        #: Whether each of the latest different tasks has failed, the oldest first.
        self._recent: dict[int, bool] = {}
        #: Probes in a row that succeeded.
        self._passed = 0
        #: How long it opens next time, and when it closed last.
        self._length = breaker.cooldown
        self._closed_at = 0.0

    def copy(self) -> Health:
        """The same state, to be played with."""
        twin = copy(self)
        twin._failing, twin._recent = self._failing.copy(), self._recent.copy()
        return twin

    @property
    def heeds_success(self) -> bool:
        """False while a run that succeeds would tell it nothing."""
        return (
            self._breaker.rate is not None
            or bool(self._failing)
            or self.state is not BreakerState.CLOSED
        )

    def failed(self, task: int) -> str | None:
        """Note that a task failed. Returns why the worker should be spared, None if it need not."""
        breaker = self._breaker
        limit = breaker.failures
        if limit is not None and len(self._failing) < limit:
            self._failing.add(task)
        self._note(task, True)
        if self.state is BreakerState.HALF_OPEN:
            return "failed a probe"
        if limit is not None and len(self._failing) >= limit:
            return f"failed {limit} in a row"
        if breaker.rate is not None and len(self._recent) == breaker.window:
            failures = sum(self._recent.values())
            if failures >= breaker.rate * breaker.window - TOLERANCE:
                return f"failed {failures} of {breaker.window}"
        return None

    def succeeded(self, task: int, now: float) -> bool:
        """Note that a task succeeded. True when that has closed the breaker."""
        self._failing.clear()
        self._note(task, False)
        if self.state is not BreakerState.HALF_OPEN:
            return False
        self._passed += 1
        if self._passed < self._breaker.probes:
            return False
        self._forget()
        self.state = BreakerState.CLOSED
        self._closed_at = now
        return True

    def open(self, now: float) -> float:
        """Open the breaker. Returns for how many seconds."""
        breaker = self._breaker
        if self.state is BreakerState.CLOSED:
            quiet = now - self._closed_at
            while self._length > breaker.cooldown and quiet >= self._length:
                quiet -= self._length
                self._length = max(self._length / 2.0, breaker.cooldown)
        self._forget()
        self.state = BreakerState.OPEN
        length = self._length
        self._length = min(length * 2.0, breaker.max_cooldown)
        return length

    def half_open(self) -> None:
        """The cooldown is over: what runs next is a probe."""
        self.state = BreakerState.HALF_OPEN
        self._passed = 0

    def _forget(self) -> None:
        self._failing.clear()
        self._recent.clear()

    def _note(self, task: int, failed: bool) -> None:
        if self._breaker.rate is None:
            return
        self._recent.pop(task, None)
        self._recent[task] = failed
        if len(self._recent) > self._breaker.window:
            del self._recent[next(iter(self._recent))]
