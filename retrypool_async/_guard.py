"""A limiter of the user's own, kept from harming the router."""

from __future__ import annotations

import logging
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from ._time import TOLERANCE, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._limits import Limiter
    from ._meters import Meter, Stage

logger = logging.getLogger("retrypool_async")


class GuardedLimiter:
    """Calls a limiter that may raise or lie.

    A limiter that fails is treated as having room: the service has the last word, and a broken
    limiter must not stop every task behind it. Each method's failure is logged once.
    """

    def __init__(self, dimension: str, limiter: Limiter) -> None:
        self._dimension = dimension
        self._limiter: Any = limiter  # what it may have beyond the protocol is asked for
        self._logged: set[str] = set()

    @property
    def capacity(self) -> float:
        try:
            return number("capacity", self._limiter.capacity)
        except BaseException:
            self._log("capacity")
            return inf

    def until(self, amount: float, now: float) -> float:
        try:
            wait = self._limiter.until(amount, now)
            if wait == inf:
                return inf
            wait = number("until", wait, at_least=0.0)
            # The clock may not be able to tell less: one would look again in this very turn.
            return 0.0 if wait < TOLERANCE else wait
        except BaseException:
            self._log("until")
            return 0.0

    def take(self, amount: float, now: float) -> None:
        try:
            self._limiter.take(amount, now)
        except BaseException:
            self._log("take")

    def refund(self, amount: float, at: float) -> None:
        try:
            self._limiter.refund(amount, at)
        except BaseException:
            self._log("refund")

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        """Tell a limiter that has a word for it; else refund or take the difference."""
        if not hasattr(self._limiter, "settle"):
            if used < estimate:
                self.refund(estimate - used, at)
            else:
                self.take(used - estimate, now)
            return
        try:
            self._limiter.settle(estimate, used, at, now)
        except BaseException:
            self._log("settle")

    def sync(self, remaining: float, reset_after: float, now: float) -> None:
        """Tell a limiter that has a word for it what the service says."""
        if hasattr(self._limiter, "sync"):
            try:
                self._limiter.sync(remaining, reset_after, now)
            except BaseException:
                self._log("sync")

    def left(self, now: float) -> float:
        try:
            return number("left", self._limiter.left(now))
        except BaseException:
            self._log("left")
            return inf

    def used(self, now: float) -> float:
        """How much is in use, as far as a limiter tells that has no word for it."""
        used = self.capacity - self.left(now)
        return max(used, 0.0) if isfinite(used) else 0.0

    def taken(self, now: float) -> list[tuple[float, float]]:
        """Nothing: its state is its owner's to keep."""
        return []

    def recall(self, taken: Iterable[tuple[float, float]], now: float) -> None:
        """Count what was taken so many seconds ago."""
        for _, amount in taken:
            if amount:
                self.take(amount, now)

    def carry_over(self, other: Meter, now: float, on_top: bool) -> None:
        """Take over the usage of the meter this one replaces, unless it is that of one limiter."""
        if not (isinstance(other, GuardedLimiter) and other._limiter is self._limiter):
            self.take(other.used(now), now)

    def copy(self, stage: Stage) -> GuardedLimiter:
        """What can be known of it without taking anything."""
        return GuardedLimiter(self._dimension, FrozenLimiter(self, stage.began))

    def _log(self, method: str) -> None:
        if method not in self._logged:
            self._logged.add(method)
            logger.error(
                "limiter for %s: %s() failed; treated as having room",
                self._dimension,
                method,
                exc_info=True,
            )


class FrozenLimiter:
    """Stands for one that cannot be copied: it says what that says now, whatever is taken."""

    def __init__(self, limiter: GuardedLimiter, at: float) -> None:
        self._limiter = limiter
        self._at = at

    @property
    def capacity(self) -> float:
        return self._limiter.capacity

    def until(self, amount: float, now: float) -> float:
        return max(self._at + self._limiter.until(amount, self._at) - now, 0.0)

    def left(self, now: float) -> float:
        return self._limiter.left(self._at)

    def take(self, amount: float, now: float) -> None:
        pass

    def refund(self, amount: float, at: float) -> None:
        pass
