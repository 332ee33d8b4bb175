"""Which of the workers that may run a task now gets it."""

from __future__ import annotations

import logging
import random
from copy import deepcopy
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    """

    def __init__(self, rng: random.Random | None = None) -> None:
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
    """

    def __init__(self, inner: Strategy | None = None) -> None:
        self.inner: Strategy = LeastRecentlyUsed() if inner is None else strategy_of(inner)

    def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
        """Return what `inner` chooses of the lowest tier."""
        lowest = min(worker.tier for worker in workers)
        return self.inner.choose([worker for worker in workers if worker.tier == lowest], now)


def strategy_of(value: Strategy) -> Strategy:
    """Return `value`, checked.

    Raises:
        TypeError: it is no strategy.
    """
    if isinstance(value, type) or not callable(getattr(value, "choose", None)):
        raise TypeError("strategy must be an object with choose(workers, now)")
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

    A task that no free worker has quota for holds the quotas that keep it waiting on the worker
    which will have room for it first. Tasks behind it may not take from those, so that small
    tasks cannot starve a large one; everything else they may use.
    """

    __slots__ = ("_strategy", "closed", "held", "shortest", "wait")

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        #: Ids of the quotas that are held, and the workers found to have one of them.
        self.held: set[int] = set()
        self.closed = 0
        #: Seconds until a quota that is held has room for its task, which starts then, or goes on
        #: waiting for others and gives this one free; None when only a free worker helps.
        self.wait: float | None = None
        #: Seconds until one of the workers looked at last has quota; 0.0 if that is not known.
        self.shortest = 0.0

    def find(
        self, workers: Iterable[WorkerRecord], mask: int, cost: Cost, now: float
    ) -> WorkerRecord | None:
        """Return the worker to run a task of `cost`; without one, hold quota for it."""
        take_first = type(self._strategy) is LeastRecentlyUsed
        held = self.held
        fitting: list[WorkerRecord] = []
        soonest: WorkerRecord | None = None
        shortest = 0.0
        for record in workers:
            if not record.bit & mask:
                continue
            quotas = record.quotas
            if held and any(id(quota) in held for quota in quotas):
                self.closed |= record.bit
                continue
            wait = 0.0
            for quota in quotas:
                wait = max(wait, quota.until(cost, now))
            if wait == 0.0:
                if take_first:
                    return record
                fitting.append(record)
            elif wait < inf and (soonest is None or wait < shortest):
                soonest, shortest = record, wait
        if fitting:
            return self._choose(fitting, now)
        self.shortest = shortest
        if soonest is not None:
            self.closed |= soonest.bit
            for quota in soonest.quotas:
                wait = quota.until(cost, now)
                if wait > 0.0:
                    held.add(id(quota))
                    if self.wait is None or wait < self.wait:
                        self.wait = wait
        return None

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
