"""Small random instances, and what the pool makes of them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from retrypool_async import Bucket, Pool, Quota, Tiered, Window, Worker
from retrypool_async.testing import run_virtual


@dataclass(frozen=True)
class Job:
    """A task whose run time is known."""

    seconds: float
    tokens: float

    def amount(self, dimension: str) -> float:
        return self.tokens if dimension == "tokens" else 1.0


@dataclass(frozen=True)
class Limit:
    """A limit on what some workers start, all together."""

    dimension: str
    amount: float
    per: float
    strict: bool  # a window; else a bucket
    workers: frozenset[int]

    def most(self, seconds: float) -> float:
        """The most that may be started from 0 to `seconds`, both included."""
        periods = (seconds + 1e-9) / self.per
        return self.amount * (int(periods) + 1 if self.strict else periods + 1)

    def most_starts(self, each: float, seconds: float) -> int:
        """The most jobs of at least that cost that may be started from 0 to `seconds`."""
        if self.strict:
            return int(self.amount / each) * int(self.most(seconds) / self.amount)
        return int(self.most(seconds) / each + 1e-9) if each <= self.amount else 0


@dataclass(frozen=True)
class Instance:
    """Jobs that are all there at the beginning, and who may do them at what rate."""

    jobs: tuple[Job, ...]
    workers: int
    limits: tuple[Limit, ...]

    def can(self, worker: int, job: Job) -> bool:
        """True when the worker could ever be granted what the job costs."""
        return all(
            job.amount(limit.dimension) <= limit.amount
            for limit in self.limits
            if worker in limit.workers
        )


@dataclass(frozen=True)
class Start:
    """A job was begun by a worker."""

    at: float
    worker: int
    job: Job


def random_instance(seed: int, *, most_workers: int = 6, most_jobs: int = 30) -> Instance:
    """Quotas of one worker, of several, and of all; of requests and of tokens; of both kinds."""
    chance = random.Random(seed)
    workers = chance.randint(1, most_workers)
    limits = [
        _limit(chance, dimension, frozenset({worker}))
        for worker in range(workers)
        for dimension in ("requests", "tokens")
        if chance.random() < 0.6
    ]
    if workers > 1 and chance.random() < 0.3:
        some = chance.sample(range(workers), chance.randint(2, workers))
        limits.append(_limit(chance, "requests", frozenset(some), times=len(some)))
    if chance.random() < 0.3:
        limits.append(_limit(chance, "tokens", frozenset(range(workers)), times=workers))
    longest = chance.choice((1.0, 4.0, 15.0))
    largest = max(_most_tokens(limits, worker) for worker in range(workers))
    jobs = [
        Job(
            seconds=round(chance.uniform(0.1, longest), 1),
            tokens=float(min(chance.choice((10, 20, 30, 50, 80)), largest)),
        )
        for _ in range(chance.randint(1, most_jobs))
    ]
    return Instance(tuple(jobs), workers, tuple(limits))


def _most_tokens(limits: list[Limit], worker: int) -> float:
    return min(
        (one.amount for one in limits if one.dimension == "tokens" and worker in one.workers),
        default=inf,
    )


def _limit(
    chance: random.Random, dimension: str, workers: frozenset[int], *, times: int = 1
) -> Limit:
    amount = chance.randint(1, 4) if dimension == "requests" else chance.choice((50, 100, 200))
    return Limit(
        dimension=dimension,
        amount=float(amount * times),
        per=float(chance.choice((5, 10, 20))),
        strict=chance.random() < 0.7,
        workers=workers,
    )


class Recorder(Worker[Job, None]):
    """Takes as long as the job does, and writes down when it began."""

    def __init__(self, number: int, quotas: list[Quota], starts: list[Start]) -> None:
        self.name = str(number)
        self.quota = quotas
        self._number = number
        self._starts = starts

    async def run(self, data: Job) -> None:
        self._starts.append(Start(asyncio.get_running_loop().time(), self._number, data))
        await asyncio.sleep(data.seconds)


def pool_schedule(instance: Instance, *, longest_first: bool, saving: bool = False) -> list[Start]:
    """When the pool starts what on which worker, all jobs being submitted at the beginning.

    It is told what they cost, and nothing of how long they take; but they may be submitted in an
    order that tells. With `saving` it is told of workers and jobs how rare they are: a worker that
    more jobs can use has a higher tier, and a job that fewer workers can do a higher priority.
    """
    return run_virtual(lambda: _run(instance, longest_first, saving))


async def _run(instance: Instance, longest_first: bool, saving: bool) -> list[Start]:
    quotas = [(limit.workers, _quota(limit)) for limit in instance.limits]
    starts: list[Start] = []
    workers = [
        Recorder(number, [quota for whose, quota in quotas if number in whose], starts)
        for number in range(instance.workers)
    ]
    for number, worker in enumerate(workers):
        worker.tier = sum(instance.can(number, job) for job in instance.jobs) if saving else 0
    dimensions = {limit.dimension for limit in instance.limits}
    async with Pool(workers, strategy=Tiered(), shutdown_timeout=None, debug=True) as pool:
        jobs = instance.jobs
        for job in sorted(jobs, key=lambda job: -job.seconds) if longest_first else jobs:
            cost = {dimension: job.amount(dimension) for dimension in dimensions}
            able = sum(instance.can(worker, job) for worker in range(instance.workers))
            pool.submit(job, cost=cost, priority=-able if saving else 0)
    return starts


def _quota(limit: Limit) -> Quota:
    kind = Window if limit.strict else Bucket
    return Quota(**{limit.dimension: kind(limit.amount, per=limit.per)})


def makespan(starts: list[Start]) -> float:
    """When the last job has ended."""
    return max(start.at + start.job.seconds for start in starts)


def violations(instance: Instance, starts: list[Start]) -> list[str]:
    """What is wrong with a schedule, found by counting."""
    found: list[str] = []
    if sorted(map(repr, instance.jobs)) != sorted(repr(start.job) for start in starts):
        found.append("not every job was done exactly once")
    for worker in range(instance.workers):
        mine = sorted((s.at, s.at + s.job.seconds) for s in starts if s.worker == worker)
        found += [
            f"worker {worker} has two jobs at {after[0]}"
            for before, after in pairwise(mine)
            if after[0] < before[1] - 1e-9
        ]
    for limit in instance.limits:
        taken = sorted(
            (start.at, start.job.amount(limit.dimension))
            for start in starts
            if start.worker in limit.workers
        )
        for first, (begin, _) in enumerate(taken):
            total = 0.0
            for at, amount in taken[first:]:
                span = at - begin
                # A permit counts for exactly `per` seconds; time is exact to a billionth.
                if limit.strict and span >= limit.per - 1e-8:
                    break
                total += amount
                allowed = limit.amount if limit.strict else limit.most(span)
                if total > allowed * (1 + 1e-6):
                    found.append(f"{limit} is exceeded from {begin} to {at}: {total}")
    return found
