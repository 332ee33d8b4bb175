"""Meters: the state of one limit each, asked and debited synchronously, with the time passed in."""

# pyright: reportPrivateUsage=false
# (an AsyncLimiter says whether there is room, not when: see BucketMeter)

from __future__ import annotations

from collections import deque
from copy import copy
from math import inf
from typing import TYPE_CHECKING

from aiolimiter import AsyncLimiter

from ._guard import GuardedLimiter
from ._limits import Bucket, Daily, Limiter, Window, positive
from ._time import TOLERANCE, is_async, wall_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: What may be given to a quota.
Limit = Window | Bucket | Daily | AsyncLimiter | Limiter

#: A wall time this near to a reset counts as past it: a float holds it no better.
WALL_TOLERANCE = 1e-6
#: Low points of a bucket that are remembered; beyond, the oldest two become one.
MOST_LOWS = 1000
#: A clock that is put back by more was wrong about the day.
LONGEST_DAY = 2 * 86_400.0


class Stage:
    """Where copies of meters are played with: a time of its own, that starts with the present."""

    def __init__(self, now: float) -> None:
        self.began = self.now = now
        self._began_on = wall_time()
        #: The copy of each limiter, since several meters may be of one.
        self.limiters: dict[AsyncLimiter, AsyncLimiter] = {}

    def wall_time(self) -> float:
        return self._began_on + (self.now - self.began)


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
        self._amend(-amount, at)

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        """Count what was taken at `at` as if it had been `used` from the start."""
        self._expire(now)
        if at + self.per > now + TOLERANCE:
            self._amend(used - estimate, at)

    def _amend(self, change: float, at: float) -> None:
        log = self._log
        index = len(log)
        while index and log[index - 1][0] > at + TOLERANCE:
            index -= 1
        if index and log[index - 1][0] >= at - TOLERANCE:
            taken_at, taken = log[index - 1]
            change = max(change, -taken)
            log[index - 1] = (taken_at, taken + change)
        elif change > 0:
            log.insert(index, (at, change))
        else:
            return
        self._used += change

    def left(self, now: float) -> float:
        return max(self.capacity - self.used(now), 0.0)

    def used(self, now: float) -> float:
        """How much is in use: more than the capacity if that has been lowered since."""
        self._expire(now)
        return self._used

    def taken(self, now: float) -> list[tuple[float, float]]:
        """What counts as taken, by its age in seconds, the oldest first."""
        self._expire(now)
        return [(now - at, amount) for at, amount in self._log]

    def recall(self, taken: Iterable[tuple[float, float]], now: float) -> None:
        """Count what was taken so many seconds ago, the oldest first."""
        for age, amount in taken:
            if amount:
                self.take(amount, now - age)

    def carry_over(self, other: Meter, now: float, on_top: bool) -> None:
        """Take over the usage of the meter this one replaces, run by run if it kept a log."""
        if not isinstance(other, WindowMeter):
            self.take(other.used(now), now)
        elif on_top:
            self._log = deque(sorted([*self._log, *other._log]))
            self._used += other._used
        else:
            self._log = deque(other._log)
            self._used = other._used

    def copy(self, stage: Stage) -> WindowMeter:
        """The same state, to be played with."""
        twin = copy(self)
        twin._log = self._log.copy()
        return twin


class DailyMeter:
    """The sum of what was taken since the last reset.

    The day goes by the wall clock and everything else by the loop's, so each look maps one to the
    other anew: whatever the wall clock does between two looks, the second one sees.
    """

    def __init__(self, daily: Daily, clock: Callable[[], float] = wall_time) -> None:
        self.capacity = daily.limit
        self._daily = daily
        self._most = daily.limit * (1 + TOLERANCE)
        self._clock = clock
        self._used = 0.0
        self._start = self._end = -inf  # of the day that is counted, in wall time
        self._since = -inf  # the loop time of the first look at that day

    def _look(self, now: float) -> float:
        """Read the wall clock, and begin a new day if it is time to."""
        wall = self._clock()
        if wall >= self._end - WALL_TOLERANCE:
            self._start, self._end = self._daily.around(wall + WALL_TOLERANCE)
            self._used, self._since = 0.0, now
        elif wall < self._start - LONGEST_DAY:
            # It was far ahead by mistake. What was used is kept: a clock that is put back grants
            # nothing, and one that is put back a little must not see the same reset twice.
            self._start, self._end = self._daily.around(wall)
        return wall

    def until(self, amount: float, now: float) -> float:
        wall = self._look(now)
        if self._used + amount <= self._most:
            return 0.0
        return inf if amount > self._most else self._end - wall

    def take(self, amount: float, now: float) -> None:
        self._look(now)
        self._used += amount

    def refund(self, amount: float, at: float) -> None:
        if at >= self._since:
            self._used = max(self._used - amount, 0.0)

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        """Count what was taken at `at` as if it had been `used` from the start."""
        self._look(now)
        self.refund(estimate - used, at)

    def left(self, now: float) -> float:
        return max(self.capacity - self.used(now), 0.0)

    def used(self, now: float) -> float:
        """How much is in use: more than the capacity if that has been lowered since."""
        self._look(now)
        return self._used

    def taken(self, now: float) -> list[tuple[float, float]]:
        """What counts as taken, as of now: the day is what matters of its age."""
        return [(0.0, self.used(now))]

    def recall(self, taken: Iterable[tuple[float, float]], now: float) -> None:
        """Count what was taken so many seconds ago, if that was on this day."""
        wall = self._look(now)
        self._used += sum(amount for age, amount in taken if wall - age >= self._start)

    def carry_over(self, other: Meter, now: float, on_top: bool) -> None:
        """Take over the usage of the meter this one replaces."""
        self._look(now)
        self._used = other.used(now) + (self._used if on_top else 0.0)
        if isinstance(other, DailyMeter):
            self._since = min(self._since, other._since) if on_top else other._since

    def copy(self, stage: Stage) -> DailyMeter:
        """The same state, to be played with."""
        twin = copy(self)
        twin._clock = stage.wall_time
        return twin


class BucketMeter:
    """An `AsyncLimiter` read and debited synchronously, with the time passed in.

    aiolimiter answers whether there is room, not when there will be, and cannot give anything
    back. Its own queue is never used: it serves small amounts before large ones.
    `tests/test_quota.py` pins the four private names to the installed version.
    """

    def __init__(self, limiter: AsyncLimiter) -> None:
        self._limiter = limiter
        #: (time, level just before something was taken), as far as nothing lower came later. What
        #: is taken out of the past shows in the level no more than its lowest point since: had
        #: the bucket been emptier then, it would have run dry, and leaked less.
        self._lows: deque[tuple[float, float]] = deque()

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
                leaked = elapsed * limiter._rate_per_sec
                level = limiter._level = level - leaked if leaked < level else 0.0
        return level

    def until(self, amount: float, now: float) -> float:
        limiter = self._limiter
        capacity, rate = limiter.max_rate, limiter._rate_per_sec
        level = limiter._level
        if level:
            leaked = (now - limiter._last_check) * rate
            level = level - leaked if leaked < level else 0.0
        short = level + amount - capacity
        if short <= capacity * TOLERANCE:
            return 0.0
        if amount > capacity * (1 + TOLERANCE):
            return inf
        return short / rate

    def take(self, amount: float, now: float) -> None:
        level, lows = self.used(now), self._lows
        while lows and lows[-1][1] >= level:
            lows.pop()
        lows.append((now, level))
        if len(lows) > MOST_LOWS:
            _, lowest = lows.popleft()
            lows[0] = (lows[0][0], lowest)  # too low is on the safe side
        self._limiter._level = level + amount

    def refund(self, amount: float, at: float) -> None:
        limiter, lows, later = self._limiter, self._lows, deque[tuple[float, float]]()
        while lows and lows[-1][0] > at:
            time, low = lows.pop()
            later.appendleft((time, max(low - amount, 0.0)))
            amount = min(amount, low)
        limiter._level -= min(amount, limiter._level)
        while lows and later and lows[-1][1] >= later[0][1]:
            lows.pop()
        lows.extend(later)

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        """Count what was taken at `at` as if it had been `used` from the start."""
        self.used(now)
        if used < estimate:
            self.refund(estimate - used, at)
        else:
            self._limiter._level += used - estimate

    def left(self, now: float) -> float:
        return max(self._limiter.max_rate - self.used(now), 0.0)

    def taken(self, now: float) -> list[tuple[float, float]]:
        """The level, as of now."""
        return [(0.0, self.used(now))]

    def recall(self, taken: Iterable[tuple[float, float]], now: float) -> None:
        """Count what was taken so many seconds ago, the oldest first, less what has leaked."""
        level, last, rate = 0.0, inf, self._limiter._rate_per_sec
        for age, amount in taken:
            level = max(level - (last - age) * rate, 0.0) + amount
            last = age
        if level:
            self.take(max(level - last * rate, 0.0), now)

    def carry_over(self, other: Meter, now: float, on_top: bool) -> None:
        """Take over the usage of the meter this one replaces, unless it is that of one limiter."""
        if not (isinstance(other, BucketMeter) and other._limiter is self._limiter):
            self.take(other.used(now), now)
        if isinstance(other, BucketMeter):
            self._lows = deque(other._lows)

    def copy(self, stage: Stage) -> BucketMeter:
        """The same state, to be played with."""
        limiter = self._limiter
        twin = stage.limiters.get(limiter)
        if twin is None:
            twin = stage.limiters[limiter] = AsyncLimiter(limiter.max_rate, limiter.time_period)
            twin._level, twin._last_check = limiter._level, limiter._last_check
        meter = BucketMeter(twin)
        meter._lows = self._lows.copy()
        return meter


#: What a quota holds of each of its limits.
Meter = WindowMeter | DailyMeter | BucketMeter | GuardedLimiter


def used_before(limit: Limit) -> float:
    """What a description says was used before a pool has it."""
    return limit.used if isinstance(limit, Window | Bucket | Daily) else 0.0


def meter_of(dimension: str, limit: object) -> Meter:
    """A meter for a limit, its state its own.

    Raises:
        TypeError, ValueError: it is not a limit, or one that could never grant anything.
    """
    if isinstance(limit, Window):
        return WindowMeter(limit)
    if isinstance(limit, Bucket):
        return BucketMeter(AsyncLimiter(limit.limit, limit.per))
    if isinstance(limit, Daily):
        return DailyMeter(limit)
    if isinstance(limit, AsyncLimiter):
        positive(f"Quota {dimension}: AsyncLimiter max_rate", limit.max_rate)
        return BucketMeter(limit)
    if isinstance(limit, Limiter) and not isinstance(limit, type):
        for method in ("until", "take", "refund", "left", "settle", "sync"):
            if is_async(getattr(limit, method, None)):
                raise TypeError(
                    f"Quota {dimension}: {method} of {type(limit).__name__} must be a plain method:"
                    " it is asked, never awaited"
                )
        return GuardedLimiter(dimension, limit)
    raise TypeError(
        f"Quota {dimension}: expected Window, Bucket, Daily, AsyncLimiter or an object with "
        f"capacity, until, take, refund and left; got {type(limit).__name__}"
    )
