"""Limits as users describe them: a strict window, a leaky bucket, a day, or one of their own.

A description has no state: that is in the meter which a quota makes of it, see `_meters`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Protocol, runtime_checkable

from ._time import number, seconds

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
        used: What counts as used at the moment a pool first has it.

    Raises:
        TypeError, ValueError: a value is not a number, not finite or out of range.
    """

    limit: float
    per: float
    used: float

    def __init__(self, limit: float, *, per: float | timedelta, used: float = 0.0) -> None:
        object.__setattr__(self, "limit", positive("Window limit", limit))
        object.__setattr__(self, "per", seconds("Window per", per, at_least=SHORTEST_PERIOD))
        object.__setattr__(self, "used", number("Window used", used, at_least=0.0))


@dataclass(frozen=True, slots=True, init=False)
class Bucket:
    """A leaky bucket, as in aiolimiter: a burst of `limit` at once, then `limit / per` a second.

    Up to just under twice `limit` can pass within one span of `per` seconds, so use `Window`
    for a service that counts strictly.

    Args:
        limit: The bucket's capacity, above 0.
        per: Seconds (or a `timedelta`) in which a full bucket drains, at least 0.001.
        used: How full it is at the moment a pool first has it.

    Raises:
        TypeError, ValueError: a value is not a number, not finite or out of range.
    """

    limit: float
    per: float
    used: float

    def __init__(self, limit: float, *, per: float | timedelta, used: float = 0.0) -> None:
        object.__setattr__(self, "limit", positive("Bucket limit", limit))
        object.__setattr__(self, "per", seconds("Bucket per", per, at_least=SHORTEST_PERIOD))
        object.__setattr__(self, "used", number("Bucket used", used, at_least=0.0))


@dataclass(frozen=True, slots=True, init=False)
class Daily:
    """A calendar day: `limit` from one reset to the next, by the wall clock.

    Args:
        limit: The amount allowed per day, above 0.
        at: The time of day of the reset, without a zone. Where a change of the clocks skips it,
            it is later by as much.
        tz: The zone it is given in: UTC, a fixed `timezone(timedelta(hours=-8))`, or a
            `zoneinfo.ZoneInfo` that knows summer time.
        used: What counts as used of the day on which a pool first has it.

    Raises:
        TypeError, ValueError: the limit is not a number, not finite or out of range, or the
            others are not what they should be.
    """

    limit: float
    at: time
    tz: tzinfo
    used: float

    def __init__(
        self, limit: float, *, at: time = time(), tz: tzinfo = UTC, used: float = 0.0
    ) -> None:
        if not isinstance(at, time):
            raise TypeError(f"Daily at must be a datetime.time, got {type(at).__name__}")
        if at.tzinfo is not None:
            raise ValueError("Daily at must have no zone of its own; give it as tz")
        if not isinstance(tz, tzinfo):
            raise TypeError(f"Daily tz must be a datetime.tzinfo, got {type(tz).__name__}")
        object.__setattr__(self, "limit", positive("Daily limit", limit))
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "tz", tz)
        object.__setattr__(self, "used", number("Daily used", used, at_least=0.0))

    def around(self, wall: float) -> tuple[float, float]:
        """The last reset up to a POSIX time, and the first after it."""
        today = datetime.fromtimestamp(wall, self.tz).date()
        resets = [
            datetime.combine(today + timedelta(days), self.at, self.tz).timestamp()
            for days in (-1, 0, 1)
        ]
        return max(t for t in resets if t <= wall), min(t for t in resets if t > wall)


def positive(name: str, value: object) -> float:
    """Return `value` as a finite float above 0."""
    result = number(name, value)
    if result <= 0:
        raise ValueError(f"{name} must be above 0, got {result:g}")
    return result
