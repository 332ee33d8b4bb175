"""How many workers a pool with a factory should have: the decision, and nothing that acts on it.

After every step of the ledger `Elastic` is asked how many workers are missing and which are idle
for nothing. What it knows of workers that are not there yet is what it has learnt from those that
the factory has made so far.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from ._record import opening_delay
from ._roster import excess
from ._time import later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._holds import Holds
    from ._lane import Lane
    from ._quota import Quota
    from ._ready import ReadyQueue
    from ._record import WorkerRecord
    from ._roster import Headcount, Roster
    from ._settings import Sizes
    from ._task import Cost

#: Lanes that are looked at for one decision: what a new worker could take is near the head.
LOOK_AHEAD = 1000

#: How many different sets of tags are remembered.
KINDS = 100


class Elastic:
    """Decides when a worker is to be made, and which is to go.

    Args:
        sizes: The bounds to keep to.
        common: The pool's quotas, which bind every worker.
    """

    def __init__(self, sizes: Sizes, common: tuple[Quota, ...]) -> None:
        self.sizes = sizes
        self.common = common
        #: What workers were like that the factory has made: their quotas, by their tags.
        self._samples: dict[frozenset[str], tuple[Quota, ...]] = {}
        #: The quotas that all of them had; of a single one nobody knows whether it shares them.
        self._shared = common
        self._made = 0
        #: Starts in a row that failed, what the last raised, and when the next may be tried.
        self.failures = 0
        self.error: str | None = None
        self.retry_at = -inf

    # -- what it learns --------------------------------------------------------------------------

    def learn(self, tags: frozenset[str], quotas: tuple[Quota, ...]) -> None:
        """The factory has made a worker with these tags and quotas, the pool's included."""
        self._samples.pop(tags, None)
        self._samples[tags] = quotas
        if len(self._samples) > KINDS:
            del self._samples[next(iter(self._samples))]
        before = quotas if self._made == 0 else self._shared
        self._shared = tuple(quota for quota in quotas if any(quota is other for other in before))
        self._made += 1

    def opened(self) -> None:
        """A worker from the factory has opened its resource."""
        self.failures = 0
        self.error = None
        self.retry_at = -inf

    def failed(self, error: BaseException, now: float) -> None:
        """A worker could not be made, or not be opened."""
        self.error = type(error).__name__
        if now >= self.retry_at:  # else it began together with one that has been counted
            self.retry_at = now + opening_delay(self.failures)
            self.failures += 1

    @property
    def known_quotas(self) -> tuple[Quota, ...] | None:
        """The quotas of the workers made so far, None before the first."""
        if not self._samples:
            return None
        return tuple(quota for quotas in self._samples.values() for quota in quotas)

    # -- what may be expected --------------------------------------------------------------------

    def may_come(self, roster: Roster, require: frozenset[str], cost: Cost, staying: int) -> bool:
        """True when a worker that is not there yet may be expected to take such a task."""
        staff = roster.headcount()
        # Those on their way out, and those that are stuck, will have left some day, but for some.
        room = self.sizes.max_workers - staff.staying - staying
        return (room > 0 or staff.unmade > 0) and self._could_take(require, cost)

    def _could_take(self, require: frozenset[str], cost: Cost) -> bool:
        """True when a worker such as the factory makes could ever take such a task."""
        choices = self._choices(require)
        return bool(choices) and excess(cost, choices) is None

    def excess(self, require: frozenset[str], cost: Cost) -> tuple[str, float, float] | None:
        """As `excess`, of the workers that carry the tags."""
        return excess(cost, self._choices(require))

    def _choices(self, require: frozenset[str]) -> list[tuple[Quota, ...]]:
        """The quotas that a new worker with these tags may have."""
        if not self._samples:
            return [self.common]  # it may have any tags
        return [quotas for tags, quotas in self._samples.items() if require <= tags]

    def obstacle(self, roster: Roster, require: frozenset[str], cost: Cost, now: float) -> str:
        """Why no further worker is made for a task."""
        if not self._could_take(require, cost):
            return "makes no worker for it"
        if self._room(roster.headcount()) <= 0:
            return f"at max_workers ({self.sizes.max_workers})"
        if self.failures:
            return f"failing ({self.error}), next start in {max(self.retry_at - now, 0.0):.1f} s"
        if roster.headcount().coming:
            return "enough are starting"
        return "a further worker would wait as well"

    # -- growing ---------------------------------------------------------------------------------

    def missing(
        self, roster: Roster, ready: ReadyQueue, places: float, holds: Holds, now: float
    ) -> tuple[int, float]:
        """How many workers to have made now, and when to ask again if nothing happens till then.

        Args:
            roster: The workers.
            ready: The tasks that wait.
            places: Attempts that the pool as a whole may begin.
            holds: What is kept for tasks which wait for it.
            now: The time.
        """
        staff = roster.headcount()
        room = self._room(staff)
        if room <= 0:
            return 0, inf
        missing = self.sizes.min_workers - staff.useful
        if now < self.retry_at:
            return 0, self.retry_at if missing > 0 or ready else inf
        again_at = inf
        if ready and places > 0:
            takeable, again_at = self._takeable(ready, min(room + staff.coming, places), holds, now)
            missing = max(missing, takeable - staff.coming)
        if missing > 0 and self.failures:
            missing = 0 if staff.starting else 1  # one tries for all
        return max(0, min(missing, room)), again_at

    def _room(self, staff: Headcount) -> int:
        """How many workers may be made. Of the stuck ones `max_workers` are replaced, no more."""
        most = self.sizes.max_workers
        return most - staff.present - max(0, staff.written_off - most)

    def _takeable(
        self, ready: ReadyQueue, limit: float, holds: Holds, now: float
    ) -> tuple[int, float]:
        """How many ready tasks a new worker could start now, as far as `limit`."""
        shared = self._shared if self._made > 1 else self.common
        left: dict[str, float] = {}
        for quota in shared:
            for dimension, amount in quota.left(now).items():
                left[dimension] = min(left.get(dimension, inf), amount)
        found, again_at = 0, inf
        #: Dimensions of what all share that those first in line wait for, or use up.
        gone: set[str] = set()
        for lane in islice(lanes_by_route(ready, now), LOOK_AHEAD):
            key, cost = lane.route.key, lane.cost
            if (
                key.worker is not None
                or not gone.isdisjoint(lane.kind.uses)
                or holds.bar(shared, cost, now)  # the ledger looks again when that need not be
                or not self._could_take(key.require, cost)
            ):
                continue
            wait = max(
                (max(quota.until(cost, now), quota.cooling_until - now) for quota in shared),
                default=0.0,
            )
            if wait > 0.0:
                # Nobody behind it may start either, but for those that take from other dimensions.
                again_at = min(again_at, later(now + wait, now))
                gone |= lane.kind.uses & left.keys()
                continue
            # `until` has said that one fits, so rounding must not make that none.
            fitting = min((left[d] // n for d, n in cost if n > 0.0 and d in left), default=inf)
            takes = min(lane.waiting, max(fitting, 1))
            found += int(min(takes, limit))
            if found >= limit:
                break
            if takes < lane.waiting:
                gone |= lane.kind.uses & left.keys()
            for dimension, amount in cost:
                if dimension in left:
                    left[dimension] -= takes * amount
        return int(min(found, limit)), again_at

    # -- shrinking -------------------------------------------------------------------------------

    def surplus(
        self, roster: Roster, ready: ReadyQueue, now: float
    ) -> tuple[list[WorkerRecord], float]:
        """The workers that have been idle too long, the longest first, and when the next will be.

        Only what the factory has made goes, and nobody whom a waiting task could use.
        """
        staff = roster.headcount()
        spare = staff.useful - staff.coming - self.sizes.min_workers
        going: list[WorkerRecord] = []
        if spare <= 0:
            return going, inf
        wanted: int | None = None
        for record in roster.idle.values():
            if not record.made:
                continue
            due_at = record.idle_since + self.sizes.idle_timeout
            if due_at > now:
                return going, due_at
            if wanted is None:
                wanted = _wanted(ready)
            if not record.bit & wanted:
                going.append(record)
                if len(going) == spare:
                    break
        return going, inf


def lanes_by_route(ready: ReadyQueue, now: float) -> Iterator[Lane]:
    """The lanes in which tasks wait, those of one route together."""
    for route in ready.in_order(now):
        if not route.key.is_hedge:
            for kind in route.heads.in_order():
                yield from kind.heads.in_order()


def _wanted(ready: ReadyQueue) -> int:
    """The workers that some waiting task may run on."""
    mask = 0
    for route in ready.routes.values():
        if route.head_key() is not None and not route.key.is_hedge:
            mask |= route.mask
    return mask
