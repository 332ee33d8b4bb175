"""The best of all schedules, by branch and bound.

Schedules are built in the order of their starts, each job as early as its worker and all limits
allow. Some best schedule has this form: start its jobs in their order, each as early as possible,
and none starts later than it did, for what was started earlier only leaves the limits sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, inf

from tests.optimum.instances import Instance, Job, Limit

EPSILON = 1e-9


@dataclass
class Search:
    """Looks for the shortest of the schedules that are shorter than `best`.

    Attributes:
        best: The makespan to beat, then the shortest found.
        looks: Partial schedules that may still be looked at.
    """

    instance: Instance
    best: float
    looks: int

    def run(self) -> bool:
        """True when all have been looked at: there is none shorter than `best` is now."""
        workers = self.instance.workers
        self._limits_of = [
            [n for n, limit in enumerate(self.instance.limits) if worker in limit.workers]
            for worker in range(workers)
        ]
        self._logs: list[list[tuple[float, float]]] = [[] for _ in self.instance.limits]
        self._free = [0.0] * workers
        longest_first = sorted(self.instance.jobs, key=lambda job: (-job.seconds, -job.tokens))
        self._extend(longest_first, 0.0, 0.0)
        return self.looks > 0

    def _extend(self, jobs: list[Job], now: float, end: float) -> None:
        if not jobs:
            self.best = min(self.best, end)
            return
        self.looks -= 1
        moves: list[tuple[float, float, int, int]] = []
        for place, job in enumerate(jobs):
            if job in jobs[:place]:
                continue
            soonest = inf
            seen: set[tuple[float, tuple[int, ...]]] = set()
            for worker, limits in enumerate(self._limits_of):
                alike = (self._free[worker], tuple(limits))
                if alike in seen:
                    continue
                seen.add(alike)
                start = self._earliest(worker, job, now)
                soonest = min(soonest, start)
                if start + job.seconds < self._to_beat():
                    moves.append((start, -job.seconds, place, worker))
            if soonest + job.seconds >= self._to_beat():
                return  # this job can only end too late
        if not self._room_for(jobs, now):
            return
        for start, _, place, worker in sorted(moves):
            if self.looks <= 0:
                return
            job = jobs[place]
            if start + job.seconds >= self._to_beat():
                continue
            freed = self._free[worker]
            self._free[worker] = start + job.seconds
            for number in self._limits_of[worker]:
                amount = job.amount(self.instance.limits[number].dimension)
                self._logs[number].append((start, amount))
            self._extend([*jobs[:place], *jobs[place + 1 :]], start, max(end, self._free[worker]))
            self._free[worker] = freed
            for number in self._limits_of[worker]:
                self._logs[number].pop()

    def _room_for(self, jobs: list[Job], now: float) -> bool:
        """False when the workers cannot do so much in the time that is left to be better."""
        shortest = min(job.seconds for job in jobs)
        last_start = self._to_beat() - shortest
        left = [
            limit.most(last_start) - sum(taken for _, taken in log)
            for limit, log in zip(self.instance.limits, self._logs, strict=True)
        ]
        smallest = min(job.tokens for job in jobs)
        work = number = tokens = 0.0
        for worker, limits in enumerate(self._limits_of):
            time = max(self._to_beat() - max(self._free[worker], now), 0.0)
            work += time
            starts, amount = floor(time / shortest), inf
            for limit in limits:
                if self.instance.limits[limit].dimension == "tokens":
                    amount = min(amount, left[limit])
                    starts = min(starts, floor((left[limit] + EPSILON) / smallest))
                else:
                    starts = min(starts, floor(left[limit] + EPSILON))
            number += starts
            tokens += amount
        for limit, amount in zip(self.instance.limits, left, strict=True):
            if len(limit.workers) == self.instance.workers:
                if limit.dimension == "tokens":
                    tokens = min(tokens, amount)
                else:
                    number = min(number, amount)
        return (
            work >= sum(job.seconds for job in jobs)
            and number + EPSILON >= len(jobs)
            and tokens + EPSILON >= sum(job.tokens for job in jobs)
        )

    def _to_beat(self) -> float:
        return self.best - EPSILON

    def _earliest(self, worker: int, job: Job, now: float) -> float:
        start = max(now, self._free[worker])
        for number in self._limits_of[worker]:
            limit = self.instance.limits[number]
            start = _granted(limit, self._logs[number], job.amount(limit.dimension), start)
        return start


def _granted(limit: Limit, log: list[tuple[float, float]], amount: float, now: float) -> float:
    """The first moment from `now` on at which a limit has room; its log only leaves it."""
    if amount > limit.amount:
        return inf
    if not limit.strict:
        level, before = 0.0, 0.0
        rate = limit.amount / limit.per
        for at, taken in log:
            level = max(level - (at - before) * rate, 0.0) + taken
            before = at
        level = max(level - (now - before) * rate, 0.0)
        return now + max(level + amount - limit.amount, 0.0) / rate
    leaving = [(at + limit.per, taken) for at, taken in log if at + limit.per > now + EPSILON]
    used = sum(taken for _, taken in leaving)
    for left, taken in leaving:
        if used + amount <= limit.amount + EPSILON:
            break
        used -= taken
        now = left
    return now
