"""How long any schedule takes at the least, whoever makes it and whatever it knows.

The bound is a *price argument*. Put any price on a second of work, a request and a token: the jobs
together then have a value. Within a given time a worker can earn only so much, as its time and its
limits each admit only so much (of whatever pays best, in fractions even); and workers that share a
limit earn together no more than that admits. If all together earn less than the jobs are worth,
the time is too short. The bound is the shortest time that passes at every price tried.

Every test is made for all jobs, and for those alone that take at least so long: these must have
been started so long before the end, which leaves their quotas less time. And jobs are counted:
of those that cost at least so much, only whole ones fit into a window, or into the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import floor, inf

from tests.optimum.instances import Instance, Job, Limit

PRECISION = 1e-4
#: What all work, all requests and all tokens are worth.
PRICES = [prices for prices in product((0.0, 1.0), repeat=3) if any(prices)] + [
    (2.0, 1.0, 0.0),
    (2.0, 0.0, 1.0),
    (0.0, 2.0, 1.0),
    (0.0, 1.0, 2.0),
]


def lower_bound(instance: Instance) -> float:
    """The shortest time that passes every test for being long enough."""
    groups = [_Group(instance, shortest) for shortest in sorted({j.seconds for j in instance.jobs})]
    low, high = 0.0, 1.0
    while not all(group.could_be_done(high) for group in groups):
        low, high = high, 2 * high
    while high - low > PRECISION:
        middle = (low + high) / 2
        if all(group.could_be_done(middle) for group in groups):
            high = middle
        else:
            low = middle
    return low


class _Group:
    """The jobs that take at least so long."""

    def __init__(self, instance: Instance, shortest: float) -> None:
        self.instance = instance
        self.shortest = shortest
        self.jobs = [job for job in instance.jobs if job.seconds >= shortest]
        self.markets = [_Market(instance, self.jobs, prices) for prices in PRICES]

    def could_be_done(self, time: float) -> bool:
        """False when so much time is certainly too short for them."""
        if time < self.shortest:
            return False
        return self._fit_in_number(time) and all(
            market.could_be_paid(time, time - self.shortest) for market in self.markets
        )

    def _fit_in_number(self, time: float) -> bool:
        for tokens in sorted({job.tokens for job in self.jobs}):
            large = [job for job in self.jobs if job.tokens >= tokens]
            shortest = min(job.seconds for job in large)
            if len(large) > sum(
                self._most_starts(worker, tokens, shortest, time)
                for worker in range(self.instance.workers)
            ):
                return False
        return True

    def _most_starts(self, worker: int, tokens: float, shortest: float, time: float) -> int:
        """How many jobs a worker can do that are no smaller and no shorter than that."""
        number = floor((time + PRECISION) / shortest)
        for limit in self.instance.limits:
            if worker in limit.workers:
                each = tokens if limit.dimension == "tokens" else 1.0
                number = min(number, limit.most_starts(each, time - shortest))
        return number


class _Market:
    """The jobs at certain prices."""

    def __init__(
        self, instance: Instance, jobs: Sequence[Job], prices: tuple[float, float, float]
    ) -> None:
        work = sum(job.seconds for job in jobs)
        tokens = sum(job.tokens for job in jobs)
        self.values = {
            id(job): prices[0] * job.seconds / work
            + prices[1] / len(jobs)
            + prices[2] * job.tokens / tokens
            for job in jobs
        }
        self.worth = sum(self.values[id(job)] for job in jobs)
        self.instance = instance
        self.by_time: list[_Offers] = []
        self.by_limit: dict[int, list[tuple[Limit, _Offers]]] = {}
        self.shared: list[tuple[Limit, _Offers]] = []
        for worker in range(instance.workers):
            possible = [job for job in jobs if instance.can(worker, job)]
            self.by_time.append(self._offers(possible, "seconds"))
            self.by_limit[worker] = [
                (limit, self._offers(possible, limit.dimension))
                for limit in instance.limits
                if limit.workers == {worker}
            ]
        for limit in instance.limits:
            if len(limit.workers) > 1:
                self.shared.append((limit, self._offers(jobs, limit.dimension)))

    def _offers(self, jobs: Sequence[Job], dimension: str) -> _Offers:
        return _Offers((self.values[id(job)], _weight(job, dimension)) for job in jobs)

    def could_be_paid(self, time: float, quota_time: float) -> bool:
        earnings = [
            min(
                self.by_time[worker].best(time),
                *(offers.best(limit.most(quota_time)) for limit, offers in self.by_limit[worker]),
                inf,
            )
            for worker in range(self.instance.workers)
        ]
        most = sum(earnings)
        for limit, offers in self.shared:
            apart = sum(e for worker, e in enumerate(earnings) if worker not in limit.workers)
            most = min(most, apart + offers.best(limit.most(quota_time)))
        return most >= self.worth * (1 - 1e-9)


def _weight(job: Job, dimension: str) -> float:
    return job.seconds if dimension == "seconds" else job.amount(dimension)


class _Offers:
    """What can be earned with so much of one thing, when jobs may be done in fractions."""

    def __init__(self, offers: Iterator[tuple[float, float]]) -> None:
        self._offers = sorted(offers, key=lambda offer: offer[0] / offer[1], reverse=True)
        self._total = sum(value for value, _ in self._offers)
        self._enough = sum(weight for _, weight in self._offers)

    def best(self, amount: float) -> float:
        if amount >= self._enough:
            return self._total
        earned = 0.0
        for value, weight in self._offers:
            if weight >= amount:
                return earned + value * amount / weight
            earned += value
            amount -= weight
        return earned
