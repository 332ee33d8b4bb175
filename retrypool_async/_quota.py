"""Quotas: how much of which dimension may be used, by one worker, by several, by the pool.

A `Quota` is asked and debited synchronously, with the time passed in; nothing ever waits inside
a limiter. `Window` and `Bucket` describe a limit; the state sits in the `Quota` that uses them,
so one description may appear in many quotas without sharing anything. One `Quota` *object* given
to several workers is shared between them.
"""

# pyright: reportPrivateUsage=false
# (an AsyncLimiter says whether there is room, not when: see BucketMeter)

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Protocol, runtime_checkable

from aiolimiter import AsyncLimiter

from ._task import ONE_REQUEST, Cost
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
        if log and log[0][0] + self.per <= now + TOLERANCE:
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
        self._expire(now)
        return max(self.capacity - self._used, 0.0)

    def carry_over(self, other: WindowMeter) -> None:
        """Take over the log of the meter this one replaces."""
        self._log = deque(other._log)
        self._used = other._used


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

    def _leak(self, now: float) -> float:
        """Let out what has leaked since the last look, and return the level."""
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
        short = self._leak(now) + amount - capacity
        if short <= capacity * TOLERANCE:
            return 0.0
        if amount > capacity * (1 + TOLERANCE):
            return inf
        return short / self._limiter._rate_per_sec

    def take(self, amount: float, now: float) -> None:
        self._limiter._level = self._leak(now) + amount

    def refund(self, amount: float, at: float) -> None:
        # What has leaked since is given back too: never more than the bucket holds.
        self._limiter._level = max(self._limiter._level - amount, 0.0)

    def left(self, now: float) -> float:
        return max(self._limiter.max_rate - self._leak(now), 0.0)


class Quota:
    """Limits on one or more dimensions, asked and debited together.

    `Quota(Window(60, per=60))` limits `requests`; `Quota(requests=..., tokens=...)` names its
    dimensions; a list puts several limits on one. There is no nameless default: a bare number
    is refused, since "60 a minute" means different things to different services.

    Args:
        requests_limits: Limits on the dimension "requests".
        dimensions: A limit, or a list of limits, per dimension. A limit is a `Window`, a
            `Bucket`, an `aiolimiter.AsyncLimiter` (which is really debited), or an object with
            the methods of `Limiter`.

    Raises:
        TypeError: something that is none of these.
        ValueError: no limit at all, or an `AsyncLimiter` that could never grant anything.
    """

    __slots__ = ("_meters", "_requests")

    def __init__(self, *requests_limits: Limit, **dimensions: Limit | list[Limit]) -> None:
        meters: dict[str, tuple[Limiter, ...]] = {}
        for name, limits in dimensions.items():
            listed = limits if isinstance(limits, (list, tuple)) else [limits]
            meters[name] = tuple(_meter(name, limit) for limit in listed)
        if requests_limits:
            first = tuple(_meter("requests", limit) for limit in requests_limits)
            meters["requests"] = first + meters.get("requests", ())
        if not any(meters.values()):
            raise ValueError("Quota needs at least one limit, e.g. Quota(Window(60, per=60))")
        self._meters = meters
        self._requests = meters.get("requests", ())

    @property
    def dimensions(self) -> frozenset[str]:
        """The names of the dimensions it limits."""
        return frozenset(self._meters)

    def until(self, cost: Cost, now: float) -> float:
        """Seconds until all of `cost` could be granted at once; 0 when it can be now."""
        longest = 0.0
        if cost is ONE_REQUEST:
            for meter in self._requests:
                wait = meter.until(1.0, now)
                if wait > longest:
                    longest = wait
            return longest
        for dimension, amount in cost:
            for meter in self._meters.get(dimension, ()):
                wait = meter.until(amount, now)
                if wait > longest:
                    longest = wait
        return longest

    def take(self, cost: Cost, now: float) -> None:
        """Debit all of `cost`."""
        if cost is ONE_REQUEST:
            for meter in self._requests:
                meter.take(1.0, now)
            return
        for dimension, amount in cost:
            for meter in self._meters.get(dimension, ()):
                meter.take(amount, now)

    def refund(self, cost: Cost, at: float) -> None:
        """Give back a cost that was taken at time `at`."""
        for dimension, amount in cost:
            for meter in self._meters.get(dimension, ()):
                meter.refund(amount, at)

    def largest(self, dimension: str) -> float:
        """The most of a dimension it could ever grant; infinite when it does not limit it."""
        return min((meter.capacity for meter in self._meters.get(dimension, ())), default=inf)

    def left(self, now: float) -> dict[str, float]:
        """How much of each dimension could be taken now."""
        return {
            name: min(meter.left(now) for meter in meters) for name, meters in self._meters.items()
        }

    def carry_over(self, old: Quota, now: float) -> None:
        """Take over the usage of a quota this one replaces, dimension by dimension."""
        for name, meters in self._meters.items():
            for meter, before in zip(meters, old._meters.get(name, ()), strict=False):
                if isinstance(meter, WindowMeter) and isinstance(before, WindowMeter):
                    meter.carry_over(before)
                elif not _is_same(meter, before):
                    meter.take(max(before.capacity - before.left(now), 0.0), now)

    def __repr__(self) -> str:
        listing = ", ".join(
            f"{name}={min(meter.capacity for meter in meters):g}"
            for name, meters in self._meters.items()
        )
        return f"<Quota {listing}>"


def _is_same(meter: Limiter, other: Limiter) -> bool:
    """True when both lead to one limiter, whose usage is carried over as it is."""
    for kind in (BucketMeter, GuardedLimiter):
        if isinstance(meter, kind) and isinstance(other, kind):
            return meter._limiter is other._limiter
    return meter is other


def _positive(name: str, value: object) -> float:
    result = number(name, value)
    if result <= 0:
        raise ValueError(f"{name} must be above 0, got {result:g}")
    return result


def _meter(dimension: str, limit: object) -> Limiter:
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

    def _log(self, method: str) -> None:
        if method not in self._logged:
            self._logged.add(method)
            logger.error(
                "limiter for %s: %s() failed; treated as having room",
                self._dimension,
                method,
                exc_info=True,
            )
