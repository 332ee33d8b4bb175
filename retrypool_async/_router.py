"""Which of the workers that may run a task now gets it."""

from __future__ import annotations

import logging
import random
from copy import deepcopy
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, cast

from ._holds import Holds
from ._task import dimensions_of
from ._time import is_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ._quota import Quota
    from ._record import WorkerRecord
    from ._task import Cost

logger = logging.getLogger("retrypool_async")

#: Workers away at the moment of whom `Weighted` remembers what they are owed.
MOST_ABSENT = 1000


class Candidate(Protocol):
    """What a strategy may read of a worker."""

    @property
    def id(self) -> int:
        """Unique in the pool, and never used again."""
        ...

    @property
    def name(self) -> str:
        """Unique in the pool."""
        ...

    @property
    def tags(self) -> frozenset[str]:
        """What tasks may require."""
        ...

    @property
    def weight(self) -> float:
        """As set on the worker."""
        ...

    @property
    def tier(self) -> int:
        """As set on the worker."""
        ...

    @property
    def served(self) -> int:
        """Attempts that returned."""
        ...

    @property
    def failed(self) -> int:
        """Attempts that raised or were cut off at their limit."""
        ...

    def quota_share(self, now: float) -> float:
        """The smallest share of any of its quotas that is left, 0 to 1."""
        ...


class Strategy(Protocol):
    """Chooses among workers. Write your own with this one method.

    It is called inside a routing step, so it must be quick, must not await, and must not call the
    pool. Should it raise or return something else, the longest idle worker is taken.
    """

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return one of `workers`: all are free and have quota, longest idle first."""
        ...


class LeastRecentlyUsed:
    """The worker that has been idle longest: spreads work evenly. The default."""

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return the first: they come longest idle first."""
        return workers[0]


class RoundRobin:
    """In the order of worker ids, going on after the one chosen last."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return the one with the next higher id, or the lowest."""
        last = self._last
        chosen = min(workers, key=lambda worker: (worker.id <= last, worker.id))
        self._last = chosen.id
        return chosen


class MostQuota:
    """The worker with the largest share of its quota left; the longest idle among equals."""

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return the one with the largest share left of its scarcest dimension."""
        return max(workers, key=lambda worker: worker.quota_share(now))


class RandomChoice:
    """Any of them, each as likely as the others.

    Args:
        rng: Where the choices come from. Default: the `rng` of the pool that it is given to.

    Raises:
        TypeError: `rng` is no `random.Random`.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        if rng is not None and not isinstance(cast("Any", rng), random.Random):
            raise TypeError(f"rng must be a random.Random or None, got {type(rng).__name__}")
        self.rng = rng

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return one at random."""
        if self.rng is None:
            self.rng = random.Random()
        return self.rng.choice(workers)


class Weighted:
    """In proportion to the workers' `weight`, spread evenly: smooth weighted round robin.

    With weights 5, 1 and 1 it goes a a b a c a a, and starts over. A worker of weight 0 is taken
    when there is no other.
    """

    def __init__(self) -> None:
        #: What each is owed, by id: up by its weight at every choice, down by the sum when chosen.
        self._owed: dict[int, float] = {}

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return the one that is owed most; the longest idle among equals."""
        owed = self._owed
        for worker in workers:
            owed[worker.id] = owed.get(worker.id, 0.0) + worker.weight
        chosen = max(workers, key=lambda worker: (worker.weight > 0.0, owed[worker.id]))
        owed[chosen.id] -= sum(worker.weight for worker in workers)
        if len(owed) > len(workers) + MOST_ABSENT:
            self._owed = {worker.id: owed[worker.id] for worker in workers}
        return chosen


class Tiered:
    """One of the lowest `tier` at hand; a higher tier when no worker of a lower one may run it now.

    Args:
        inner: Chooses among workers of one tier. Default: the longest idle.

    Raises:
        TypeError: `inner` is no strategy.
    """

    def __init__(self, inner: Strategy | None = None) -> None:
        default = LeastRecentlyUsed()
        self.inner: Strategy = default if inner is None else strategy_of("inner", inner)

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return what `inner` chooses of the lowest tier."""
        lowest = min(worker.tier for worker in workers)
        return self.inner.choose([worker for worker in workers if worker.tier == lowest], now)


def strategy_of(name: str, value: Strategy) -> Strategy:
    """Return `value`, checked.

    Raises:
        TypeError: it is no strategy.
    """
    choose = getattr(value, "choose", None)
    if isinstance(value, type) or not callable(choose):
        raise TypeError(f"{name} must be an object with choose(workers, now)")
    if is_async(choose):
        raise TypeError(f"{name}.choose must be a plain method: it is asked, never awaited")
    return value


def understudy(strategy: Strategy) -> Strategy:
    """What chooses in its place where it must not learn of it: as it would if it is our own.

    In the place of one of the user's, which may do anything when it is asked, the longest idle.
    """
    if type(strategy) is Tiered:
        return Tiered(understudy(strategy.inner))
    own = (LeastRecentlyUsed, RoundRobin, MostQuota, RandomChoice, Weighted)
    return deepcopy(strategy) if type(strategy) in own else LeastRecentlyUsed()


def lend_rng(strategy: Strategy, rng: random.Random) -> None:
    """Let a strategy that chooses at random, and has no source of its own, use the pool's."""
    if isinstance(strategy, Tiered):
        lend_rng(strategy.inner, rng)
    elif isinstance(strategy, RandomChoice) and strategy.rng is None:
        strategy.rng = rng


class Search:
    """One look for a worker, for tasks in their order, at one moment.

    A task that no free worker has quota for is kept what it needs of the quotas that keep it
    waiting on the worker which will have room for it first, see `Holds`. Tasks behind it may use
    everything else, that worker included, so that small tasks cannot starve a large one, and those
    that take nothing of what it waits for need not wait with it.
    """

    __slots__ = ("_closed", "_shut", "_soonest", "_strategy", "holds", "shortest", "wait")

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.holds = Holds()
        #: Workers found to have something that is kept from tasks which take from these dimensions.
        self._closed: dict[frozenset[str], int] = {}
        #: Workers that are left to a task which waits for them.
        self._shut = 0
        #: The worker that will have room first for the task looked at last.
        self._soonest: WorkerRecord | None = None
        #: Seconds until something that is held need not be any more; None when only a free worker
        #: helps.
        self.wait: float | None = None
        #: Seconds until one of the workers looked at last has quota; 0.0 if that is not known.
        self.shortest = 0.0

    def open_to(self, uses: frozenset[str]) -> int:
        """The workers that are not closed to tasks which take from these dimensions."""
        return ~(self._closed.get(uses, 0) | self._shut)

    def find(
        self, workers: Iterable[WorkerRecord], mask: int, cost: Cost, now: float
    ) -> WorkerRecord | None:
        """Return the worker of `mask` to run a task of `cost`."""
        take_first = type(self._strategy) is LeastRecentlyUsed
        holds = self.holds
        fitting: list[WorkerRecord] = []
        soonest: WorkerRecord | None = None
        shortest = inf
        for record in workers:
            if not record.bit & mask:
                continue
            quotas = record.quotas
            if holds and holds.bar(quotas, cost, now):
                self._close(record, cost)
                continue
            wait = record.until(cost, now)
            if wait == 0.0:
                if take_first:
                    return record
                fitting.append(record)
            elif wait < shortest:
                soonest, shortest = record, wait
        self._soonest = soonest
        self.shortest = 0.0 if soonest is None else shortest
        return self._choose(fitting, now) if fitting else None

    def hold(self, cost: Cost, everywhere: Callable[[Quota], bool], now: float) -> None:
        """Keep what the task looked at last, which has found no worker, needs.

        Args:
            cost: What it costs.
            everywhere: True for a quota if the task may run on all workers that have it.
            now: The time.
        """
        record = self._soonest
        if record is None:
            return  # it is too large for everybody who is free
        waiting, wait = self.holds.keep(record.quotas, cost, now)
        self.wait = wait if self.wait is None else min(self.wait, wait)
        self._close(record, cost)
        if not all(map(everywhere, waiting)):
            # While this worker were busy with others, some would take on theirs what it waits for.
            self._shut |= record.bit

    def _close(self, record: WorkerRecord, cost: Cost) -> None:
        uses = dimensions_of(cost)
        self._closed[uses] = self._closed.get(uses, 0) | record.bit

    def _choose(self, fitting: list[WorkerRecord], now: float) -> WorkerRecord:
        try:
            chosen = self._strategy.choose(tuple(fitting), now)
        except BaseException:  # inside a step of the books nothing may escape
            logger.exception("routing strategy %s raised", type(self._strategy).__name__)
            return fitting[0]
        for record in fitting:
            if record is chosen:
                return record
        logger.error("routing strategy %s chose no candidate", type(self._strategy).__name__)
        return fitting[0]
