"""Limits: a strict window, a leaky bucket, or a limiter of the user's own, read synchronously.

A `Window` or a `Bucket` describes a limit; a meter holds the state of one, in the quota that uses
it.
"""

# pyright: reportPrivateUsage=false
# (an AsyncLimiter says whether there is room, not when: see BucketMeter)

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from math import inf, isfinite
from typing import Protocol, runtime_checkable

from aiolimiter import AsyncLimiter

from ._time import TOLERANCE, number, seconds

logger = logging.getLogger("retrypool_async")

#: The shortest period a limit may have, in seconds.
SHORTEST_PERIOD = 1e-3


@runtime_checkable
class Limiter(Protocol):
    """What a limiter of your own must offer. All plain `def`, called with loop time.

    It is called inside a routing step, so it must be quick, and it must not call the pool.
    """

    @property
    def capacity(self) -> float:
        """The largest amount it could ever grant at once."""
        ...

    def until(self, amount: float, now: float) -> float:
        """Seconds until `amount` could be granted, 0 when it can be now. Changes nothing."""
        ...

    def take(self, amount: float, now: float) -> None:
        """Debit `amount`, even beyond the capacity."""
        ...

    def refund(self, amount: float, at: float) -> None:
        """Give back `amount` of what was taken at time `at`."""
        ...

    def left(self, now: float) -> float:
        """How much could be taken at once now. Changes nothing."""
        ...


@dataclass(frozen=True, slots=True, init=False)
class Window:
    """A strict sliding window: never more than `limit` in any span of `per` seconds.

    Args:
        limit: The amount allowed per span, above 0.
        per: The span in seconds (or a `timedelta`), at least 0.001.

    Raises:
        TypeError, ValueError: a value is not a number, not finite or out of range.
    """

    limit: float
    per: float

    def __init__(self, limit: float, *, per: float | timedelta) -> None:
        object.__setattr__(self, "limit", _positive("Window limit", limit))
        object.__setattr__(self, "per", seconds("Window per", per, at_least=SHORTEST_PERIOD))


@dataclass(frozen=True, slots=True, init=False)
class Bucket:
    """A leaky bucket, as in aiolimiter: a burst of `limit` at once, then `limit / per` a second.

    Up to just under twice `limit` can pass within one span of `per` seconds, so use `Window`
    for a service that counts strictly.

    Args:
        limit: The bucket's capacity, above 0.
        per: Seconds (or a `timedelta`) in which a full bucket drains, at least 0.001.

    Raises:
        TypeError, ValueError: a value is not a number, not finite or out of range.
    """

    limit: float
    per: float

    def __init__(self, limit: float, *, per: float | timedelta) -> None:
        object.__setattr__(self, "limit", _positive("Bucket limit", limit))
        object.__setattr__(self, "per", seconds("Bucket per", per, at_least=SHORTEST_PERIOD))


Limit = Window | Bucket | AsyncLimiter | Limiter


class WindowMeter:
    """The log of what was taken within the last `per` seconds."""

    def __init__(self, window: Window) -> None:
        self.capacity = window.limit
        self.per = window.per
        self._most = window.limit * (1 + TOLERANCE)
        self._log: deque[tuple[float, float]] = deque()  # (time, amount), oldest first
        self._used = 0.0

    def _expire(self, now: float) -> None:
        log, horizon = self._log, now + TOLERANCE
        while log and log[0][0] + self.per <= horizon:
            self._used -= log.popleft()[1]
        if not log:
            self._used = 0.0  # sums of floats drift; an empty log is exact

    def until(self, amount: float, now: float) -> float:
        log = self._log
        if log and log[0][0] <= now + TOLERANCE - self.per:
            self._expire(now)
        excess = self._used + amount - self._most
        if excess <= 0:
            return 0.0
        if amount > self._most:
            return inf
        for at, taken in log:
            excess -= taken
            if excess <= 0:
                return max(at + self.per - now, 0.0)
        return 0.0

    def take(self, amount: float, now: float) -> None:
        log = self._log
        if log and log[-1][0] >= now:
            at, taken = log[-1]
            log[-1] = (at, taken + amount)
        else:
            log.append((now, amount))
        self._used += amount

    def refund(self, amount: float, at: float) -> None:
        log = self._log
        for index in range(len(log) - 1, -1, -1):
            taken_at, taken = log[index]
            if taken_at <= at + TOLERANCE:
                given_back = min(taken, amount)
                log[index] = (taken_at, taken - given_back)
                self._used -= given_back
                return

    def left(self, now: float) -> float:
        return max(self.capacity - self.used(now), 0.0)

    def used(self, now: float) -> float:
        """How much is in use: more than the capacity if that has been lowered since."""
        self._expire(now)
        return self._used

    def carry_over(self, other: Meter, now: float) -> None:
        """Take over the usage of the meter this one replaces, run by run if it kept a log."""
        if isinstance(other, WindowMeter):
            self._log = deque(other._log)
            self._used = other._used
        else:
            self.take(other.used(now), now)


class BucketMeter:
    """An `AsyncLimiter` read and debited synchronously, with the time passed in.

    aiolimiter answers whether there is room, not when there will be, and cannot give anything
    back; both are one line on its level. Its own queue is never used: it serves small amounts
    before large ones. `tests/test_quota.py` pins the four private names to the installed version.
    """

    def __init__(self, limiter: AsyncLimiter) -> None:
        self._limiter = limiter

    @property
    def capacity(self) -> float:
        return self._limiter.max_rate

    def used(self, now: float) -> float:
        """The level, now that what has leaked since the last look is out."""
        limiter = self._limiter
        level = limiter._level
        elapsed = now - limiter._last_check
        if elapsed > 0:
            limiter._last_check = now
            if level:
                level = limiter._level = max(level - elapsed * limiter._rate_per_sec, 0.0)
        return level

    def until(self, amount: float, now: float) -> float:
        capacity = self._limiter.max_rate
        short = self.used(now) + amount - capacity
        if short <= capacity * TOLERANCE:
            return 0.0
        if amount > capacity * (1 + TOLERANCE):
            return inf
        return short / self._limiter._rate_per_sec

    def take(self, amount: float, now: float) -> None:
        limiter = self._limiter
        if limiter._last_check != now:
            self.used(now)
        limiter._level += amount

    def refund(self, amount: float, at: float) -> None:
        # What has leaked since is given back too: never more than the bucket holds.
        self._limiter._level = max(self._limiter._level - amount, 0.0)

    def left(self, now: float) -> float:
        return max(self._limiter.max_rate - self.used(now), 0.0)

    def carry_over(self, other: Meter, now: float) -> None:
        """Take over the usage of the meter this one replaces, unless it is that of one limiter."""
        if not (isinstance(other, BucketMeter) and other._limiter is self._limiter):
            self.take(other.used(now), now)


class GuardedLimiter:
    """A limiter of the user's own, kept from harming the router when it raises or lies.

    A limiter that fails is treated as having room: the service has the last word, and a broken
    limiter must not stop every task behind it. Each method's failure is logged once.
    """

    def __init__(self, dimension: str, limiter: Limiter) -> None:
        self._dimension = dimension
        self._limiter = limiter
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
            return wait if wait == inf else number("until", wait, at_least=0.0)
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

    def carry_over(self, other: Meter, now: float) -> None:
        """Take over the usage of the meter this one replaces, unless it is that of one limiter."""
        if not (isinstance(other, GuardedLimiter) and other._limiter is self._limiter):
            self.take(other.used(now), now)

    def _log(self, method: str) -> None:
        if method not in self._logged:
            self._logged.add(method)
            logger.error(
                "limiter for %s: %s() failed; treated as having room",
                self._dimension,
                method,
                exc_info=True,
            )


#: What a quota holds of each of its limits.
Meter = WindowMeter | BucketMeter | GuardedLimiter


def meter_of(dimension: str, limit: object) -> Meter:
    """A meter for a limit, its state its own.

    Raises:
        TypeError, ValueError: it is not a limit, or one that could never grant anything.
    """
    if isinstance(limit, Window):
        return WindowMeter(limit)
    if isinstance(limit, Bucket):
        return BucketMeter(AsyncLimiter(limit.limit, limit.per))
    if isinstance(limit, AsyncLimiter):
        _positive(f"Quota {dimension}: AsyncLimiter max_rate", limit.max_rate)
        return BucketMeter(limit)
    if isinstance(limit, Limiter):
        return GuardedLimiter(dimension, limit)
    raise TypeError(
        f"Quota {dimension}: expected Window, Bucket, AsyncLimiter or an object with "
        f"capacity, until, take, refund and left; got {type(limit).__name__}"
    )


def _positive(name: str, value: object) -> float:
    result = number(name, value)
    if result <= 0:
        raise ValueError(f"{name} must be above 0, got {result:g}")
    return result
