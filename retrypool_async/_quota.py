"""Quotas: how much of which dimension may be used, by one worker, by several, by the pool.

A `Quota` is asked and debited synchronously, with the time passed in; nothing ever waits inside
a limiter. The state of every limit sits in the `Quota` that uses it, so one description may appear
in many quotas without sharing anything. One `Quota` *object* given to several workers is shared
between them.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any

from ._guard import GuardedLimiter
from ._levels import Levels
from ._meters import BucketMeter, Limit, Meter, WindowMeter, meter_of, used_before
from ._reported import Reported
from ._task import Cost
from ._time import wall_time

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Which meters are concerned by a cost, and how much of it each.
Bill = tuple[tuple[Meter | Reported, float], ...]


class Quota:
    """Limits on one or more dimensions, asked and debited together.

    `Quota(Window(60, per=60))` limits `requests`; `Quota(requests=..., tokens=...)` names its
    dimensions; a list puts several limits on one. There is no nameless default: a bare number
    is refused, since "60 a minute" means different things to different services.

    Args:
        requests_limits: Limits on the dimension "requests".
        dimensions: A limit, or a list of limits, per dimension. A limit is a `Window`, a
            `Bucket`, a `Daily`, an `aiolimiter.AsyncLimiter` (which is really debited), or an
            object with the methods of `Limiter`.

    Raises:
        TypeError: something that is none of these.
        ValueError: no limit at all, or an `AsyncLimiter` that could never grant anything.
    """

    __slots__ = (
        "_before",
        "_bill",
        "_billed",
        "_limits",
        "_meters",
        "_reported",
        "cooling_until",
    )

    def __init__(self, *requests_limits: Limit, **dimensions: Limit | list[Limit]) -> None:
        listed: dict[str, list[Limit]] = {
            name: list(limits) if isinstance(limits, (list, tuple)) else [limits]
            for name, limits in dimensions.items()
        }
        if requests_limits:
            listed["requests"] = [*requests_limits, *listed.get("requests", [])]
        meters: dict[str, tuple[Meter, ...]] = {
            name: tuple(meter_of(name, limit) for limit in limits)
            for name, limits in listed.items()
        }
        if not any(meters.values()):
            raise ValueError("Quota needs at least one limit, e.g. Quota(Window(60, per=60))")
        self._limits = meters
        #: What the service has said, by dimension.
        self._reported: dict[str, Reported] = {}
        #: All that has to agree: the limits, and what the service has said.
        self._meters: dict[str, tuple[Meter | Reported, ...]] = {**meters}
        #: The loop time before which whoever has it must not start anything, newcomers included.
        self.cooling_until = 0.0
        #: What to ask and debit for the cost that was asked for last: most tasks cost the same.
        self._billed: Cost | None = None
        self._bill: Bill = ()
        #: What was used before; None once a pool has the quota, and its time has begun.
        self._before: list[Levels] | None = [
            Levels(
                at=inf,  # as of the beginning, whenever that will be
                cooling=0.0,
                taken={
                    name: [[(0.0, used_before(limit))] for limit in limits]
                    for name, limits in listed.items()
                },
                reported={},
            )
        ]

    def begin(self, now: float) -> None:
        """A pool has it from now on: what was used before counts, and begins to age."""
        if self._before is None:
            return
        restored, self._before = self._before, None
        for levels in restored:
            levels = levels.later(max(wall_time() - levels.at, 0.0))
            self.cooling_until = max(self.cooling_until, now + levels.cooling)
            for name, limits in levels.taken.items():
                for meter, taken in zip(self._limits.get(name, ()), limits, strict=False):
                    meter.recall(taken, now)
            for name, (left, lasts) in levels.reported.items():
                self.sync(name, left, lasts, now)

    def export(self) -> dict[str, Any]:
        """Return how much is used now, for `restore` in another process. JSON can hold it.

        To be called on the loop that the pool runs on.
        """
        now = asyncio.get_running_loop().time()
        self.begin(now)
        return Levels(
            at=wall_time(),
            cooling=max(self.cooling_until - now, 0.0),
            taken={
                name: [meter.taken(now) for meter in meters]
                for name, meters in self._limits.items()
            },
            reported={
                name: (reported.left(now), reported.resets_at - now)
                for name, reported in self._reported.items()
                if reported.resets_at > now
            },
        ).plain()

    def restore(self, levels: Mapping[str, Any]) -> None:
        """Go on from the levels that `export` returned in another process.

        The time in between counts, by the wall clock. Limits are matched by dimension and place;
        those that have changed take over what fits them.

        Raises:
            ValueError: these are not such levels.
            RuntimeError: a pool has the quota already.
        """
        if self._before is None:
            raise RuntimeError("restore() a quota before a pool has it")
        self._before.append(Levels.parse(levels))

    @property
    def steady(self) -> bool:
        """True when it has room at the time that `until` has said, unless it is changed by us.

        Wall clocks may be set, and limiters of users' own do as they like.
        """
        return all(
            isinstance(meter, WindowMeter | BucketMeter)
            for meters in self._limits.values()
            for meter in meters
        )

    @property
    def dimensions(self) -> frozenset[str]:
        """The names of the dimensions it limits."""
        return frozenset(self._limits)

    def until(self, cost: Cost, now: float) -> float:
        """Seconds until all of `cost` could be granted at once; 0 when it can be now."""
        longest = 0.0
        for meter, amount in self._bill if cost is self._billed else self._bill_for(cost):
            wait = meter.until(amount, now)
            if wait > longest:
                longest = wait
        return longest

    def until_room(self, dimension: str, amount: float, now: float) -> float:
        """Seconds until so much of one dimension could be granted; 0 when it can be now."""
        meters = self._meters.get(dimension, ())
        return max((meter.until(amount, now) for meter in meters), default=0.0)

    def take(self, cost: Cost, now: float) -> None:
        """Debit all of `cost`."""
        for meter, amount in self._bill if cost is self._billed else self._bill_for(cost):
            meter.take(amount, now)

    def _bill_for(self, cost: Cost) -> Bill:
        self._billed = cost
        self._bill = tuple(
            (meter, amount)
            for dimension, amount in cost
            if amount  # there is room for nothing even where too much has been used
            for meter in self._meters.get(dimension, ())
        )
        return self._bill

    def refund(self, cost: Cost, at: float) -> None:
        """Give back a cost that was taken at time `at`."""
        for dimension, amount in cost:
            for meter in self._meters.get(dimension, ()):
                meter.refund(amount, at)

    def settle(self, dimension: str, estimate: float, used: float, at: float, now: float) -> None:
        """Count what was taken of a dimension at time `at` as if it had been `used`."""
        for meter in self._meters.get(dimension, ()):
            meter.settle(estimate, used, at, now)

    def sync(self, dimension: str, remaining: float, reset_after: float, now: float) -> None:
        """Heed what the service says is left of a dimension for the next `reset_after` seconds."""
        limits = self._limits.get(dimension)
        if limits is None:
            return
        if dimension not in self._reported:
            reported = self._reported[dimension] = Reported()
            self._meters[dimension] = (*limits, reported)
            self._billed = None
        self._reported[dimension].sync(remaining, reset_after, now)
        for limit in limits:
            if isinstance(limit, GuardedLimiter):
                limit.sync(remaining, reset_after, now)

    def largest(self, dimension: str) -> float:
        """The most of a dimension it could ever grant; infinite when it does not limit it."""
        return min((meter.capacity for meter in self._limits.get(dimension, ())), default=inf)

    def left(self, now: float) -> dict[str, float]:
        """How much of each dimension could be taken now."""
        return {
            name: min(meter.left(now) for meter in meters) for name, meters in self._meters.items()
        }

    def carry_over(self, old: Quota, now: float, *, on_top: bool = False) -> None:
        """Take over the usage of a quota this one replaces, dimension by dimension.

        `on_top` of what it has counted itself so far, when it is in force already for others.
        """
        self.cooling_until = max(self.cooling_until, old.cooling_until)
        for name, meters in self._limits.items():
            for meter, before in zip(meters, old._limits.get(name, ()), strict=False):
                meter.carry_over(before, now, on_top)
        for name, reported in old._reported.items():
            if reported.resets_at > now:
                self.sync(name, reported.left(now), reported.resets_at - now, now)

    def passed_on(self, heirs: dict[Quota, Quota]) -> Quota | Inherited:
        """Where to settle what was taken here, now that some quotas have been replaced."""
        heir = heirs.get(self)
        return self if heir is None else Inherited(heir, self.dimensions)

    def __repr__(self) -> str:
        listing = ", ".join(
            f"{name}={min(meter.capacity for meter in meters):g}"
            for name, meters in self._limits.items()
        )
        return f"<Quota {listing}>"


class Inherited:
    """What an attempt took from a quota that has been replaced: its successor has that now.

    But only in the dimensions that both limit: of others the successor knows nothing.
    """

    __slots__ = ("dimensions", "quota")

    def __init__(self, quota: Quota, dimensions: frozenset[str]) -> None:
        self.quota = quota
        self.dimensions = dimensions & quota.dimensions

    def settle(self, dimension: str, estimate: float, used: float, at: float, now: float) -> None:
        if dimension in self.dimensions:
            self.quota.settle(dimension, estimate, used, at, now)

    def passed_on(self, heirs: dict[Quota, Quota]) -> Inherited:
        """Where to settle it now that some quotas have been replaced."""
        heir = heirs.get(self.quota)
        return self if heir is None else Inherited(heir, self.dimensions)
