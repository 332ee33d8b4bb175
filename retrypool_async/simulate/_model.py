"""The workers that stand for real ones, and the tasks they are given."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from retrypool_async import Quota, Throttled, Worker, WorkerLost

from ._scenario import Kind, Outage

#: The outcome of a task that succeeded.
SUCCEEDED = "succeeded"


class CallFailed(Exception):
    """The modelled service failed."""


@dataclass(slots=True, eq=False)
class ModelTask:
    """A task, and what became of it. Times are in seconds from the start of the run."""

    number: int
    arrived: float
    cost: Mapping[str, float]
    attempts: int = 0
    started: float | None = None
    ended: float | None = None
    #: `SUCCEEDED`, or the name of the error that ended it.
    outcome: str = ""


class ModelWorker(Worker[ModelTask, None]):
    """Takes as long as its kind does, and fails as often.

    The luck of an attempt depends on the seed, the task and the number of the attempt, and not on
    who makes it or what else goes on. So two runs of one seed differ by what has been changed, not
    by chance.
    """

    def __init__(self, kind: Kind, number: int, quota: Quota | None, seed: int) -> None:
        self.name = f"{kind.name}-{number}"
        self.quota = quota
        self.kind = kind
        self.counts: Counter[str] = Counter()
        self.used: dict[str, float] = defaultdict(float)
        self.busy = 0.0
        self._seed = seed
        self._opened = False

    async def on_start(self) -> None:
        if not self._opened:  # all are open when the run begins
            self._opened = True
            return
        await asyncio.sleep(self.kind.opening)
        outage = self._outage()
        if outage is not None and outage.effect == "lose":
            raise CallFailed("out of service")

    async def run(self, data: ModelTask) -> None:
        now = asyncio.get_running_loop().time()
        if data.started is None:
            data.started = now
        data.attempts += 1
        for dimension, amount in data.cost.items():
            self.used[dimension] += amount
        try:
            await self._serve(data)
        finally:
            self.busy += asyncio.get_running_loop().time() - now

    async def _serve(self, data: ModelTask) -> None:
        random = Random(f"{self._seed}/{data.number}/{data.attempts}")
        kind = self.kind
        latency, luck = kind.latency.draw(random), random.random()
        outage = self._outage()
        if outage is not None:
            await self._suffer(outage, latency)
        if luck < kind.throttles:
            self._throttle(kind.retry_after)
        await asyncio.sleep(latency)
        luck -= kind.throttles
        if luck < kind.losses:
            self._lose()
        if luck < kind.losses + kind.failures:
            self._fail()
        self.counts["served"] += 1

    def _outage(self) -> Outage | None:
        now = asyncio.get_running_loop().time()
        for outage in self.kind.outages:
            if outage.start <= now < outage.end:
                return outage
        return None

    async def _suffer(self, outage: Outage, latency: float) -> None:
        if outage.effect == "throttle":
            self._throttle(outage.end - asyncio.get_running_loop().time())
        if outage.effect == "hang":
            self.counts["failed"] += 1
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(latency)
        if outage.effect == "lose":
            self._lose()
        self._fail()

    def _throttle(self, seconds: float) -> None:
        self.counts["throttled"] += 1
        raise Throttled(seconds)

    def _lose(self) -> None:
        self.counts["lost"] += 1
        raise WorkerLost

    def _fail(self) -> None:
        self.counts["failed"] += 1
        raise CallFailed("failed")
