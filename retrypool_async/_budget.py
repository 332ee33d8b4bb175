"""The retry budget: how many of the unfinished tasks may be in a retry, and how fast they start.

`RetryBudget` is what a pool is given, `Retries` the count that is held against it. Neither acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from ._time import TOLERANCE, count, number

if TYPE_CHECKING:
    from ._past import Past


@dataclass(frozen=True, slots=True, init=False)
class RetryBudget:
    """Bounds retries over the whole pool, so that an outage does not multiply the load.

    A task is in a retry from the moment that one is scheduled to the end of the attempt it is for.
    Bounces are retries too, and so are hedges, from the moment they are due. What spends no
    attempt (a throttle, a lost worker, a snooze) is none.

    Args:
        ratio: Share of all unfinished tasks that may be in a retry at once. A failure beyond it
            ends its task with `RetryBudgetExceeded`.
        minimum: Tasks that may be in a retry however few there are.
        rate: Retries that become ready per second; those beyond are spread. None sets no limit.

    Raises:
        TypeError, ValueError: naming the argument.
    """

    ratio: float
    minimum: int
    rate: float | None

    def __init__(self, ratio: float = 0.2, minimum: int = 3, *, rate: float | None = None) -> None:
        checked = {
            "ratio": number("ratio", ratio, at_least=0.0),
            "minimum": count("minimum", minimum),
            "rate": None if rate is None else number("rate", rate, at_least=1e-3),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


class Retries:
    """The retries of one pool that are under way, and when the next may become ready."""

    __slots__ = ("_budget", "_next_at", "under_way")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        #: Tasks that are in a retry.
        self.under_way = 0
        self._next_at = -inf

    def limit(self, unfinished: int) -> float:
        """How many of so many tasks may be in a retry."""
        return max(self._budget.minimum, self._budget.ratio * unfinished + TOLERANCE)

    def has_slot(self, now: float) -> bool:
        """True when a further retry may become ready at once."""
        return self._budget.rate is None or self._next_at <= now

    def next_slot(self, now: float) -> float:
        """Take the first time at which a further retry may become ready, and return it."""
        rate = self._budget.rate
        if rate is None:
            return now
        slot = max(now, self._next_at)
        self._next_at = slot + 1.0 / rate
        return slot

    def begin(self, past: Past) -> None:
        """An attempt of a task has failed, and another is scheduled."""
        if not past.retrying:  # else one retry has ended, and another follows it
            past.retrying = True
            self.under_way += 1

    def end(self, past: Past) -> None:
        """A task has ended; if it was being retried, another may be."""
        if past.retrying:
            past.retrying = False
            self.under_way -= 1

    def turn(self, past: Past, now: float) -> float:
        """When it is a task's turn among all retries: `now`, or the slot that it has just taken."""
        if not past.retrying or past.paced:
            past.paced = False  # what it has waited for, if anything, has come
            return now
        slot = self.next_slot(now)
        past.paced = slot > now
        return slot
