"""How far a run has come, from what the pool itself says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from retrypool_async import Snapshot, TaskHandle

from .analysis import Analysis


@dataclass(frozen=True, slots=True)
class Hops:
    """What happened between the attempts of some tasks."""

    #: Failed attempts that were followed by another one, by the worker that failed.
    retries: Counter[str]
    #: How often a task went on to another worker, after a failure or a refusal.
    bounces: int

    @classmethod
    def of(cls, handles: Iterable[TaskHandle[Analysis]]) -> Hops:
        """Read them from the tasks' own records."""
        retries: Counter[str] = Counter()
        bounces = 0
        for handle in handles:
            for attempt, following in pairwise(handle.attempts):
                retries[attempt.worker] += attempt.counted
                bounces += attempt.worker != following.worker
        return cls(retries, bounces)


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment. `started` is loop time, as are the times in `pool`."""

    pool: Snapshot
    #: The documents handed to the pool so far, by task id.
    handles: Mapping[int, TaskHandle[Analysis]]
    total: int
    started: float

    @property
    def finished(self) -> int:
        """Documents that are done with, well or not."""
        return sum(handle.done() for handle in self.handles.values())

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return self.pool.at - self.started

    @property
    def per_second(self) -> float:
        """Documents finished per second so far."""
        return self.finished / self.seconds if self.seconds > 0 else 0.0

    @property
    def hops(self) -> Hops:
        """What has happened between attempts so far."""
        return Hops.of(self.handles.values())
