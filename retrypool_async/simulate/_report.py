"""How a run went, in figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ._limit import Limits, most
from ._model import SUCCEEDED, ModelTask, ModelWorker
from ._scenario import Scenario


class Percentiles(NamedTuple):
    """How an amount is spread: half of the tasks are below `p50`, and so on."""

    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles | None:
        """Those of the values; None without any."""
        ordered = sorted(values)
        if not ordered:
            return None
        last = len(ordered) - 1
        return cls(*(ordered[round(last * share)] for share in (0.5, 0.95, 0.99, 1.0)))


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker did."""

    name: str
    #: Attempts by how they ended.
    served: int
    failed: int
    throttled: int
    lost: int
    #: The share of the time in which it had an attempt.
    busy: float
    #: What it used of each dimension, as a share of the most that its quota could have granted.
    quota_use: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class KindReport:
    """What the workers of a kind did."""

    name: str
    workers: tuple[WorkerReport, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """How a run went. Times are in seconds."""

    #: From the start until the last task had ended.
    seconds: float
    tasks: int
    #: Tasks by how they ended: "succeeded", or the name of the error.
    outcomes: Mapping[str, int]
    attempts: int
    #: Tasks that succeeded, per second.
    throughput: float
    #: From its arrival to its first start, of the tasks that started.
    wait: Percentiles | None
    #: From its arrival to its end, of the tasks that succeeded.
    latency: Percentiles | None
    #: What all used of each dimension of the pool's own quota, as a share of the most possible.
    quota_use: Mapping[str, float]
    kinds: tuple[KindReport, ...]
    #: When each task arrived, started (None if it did not) and ended, in the order of arrival.
    timeline: Sequence[tuple[float, float | None, float]]

    @property
    def succeeded(self) -> int:
        """Tasks that succeeded."""
        return self.outcomes.get(SUCCEEDED, 0)


def report_of(
    scenario: Scenario, workers: Sequence[ModelWorker], tasks: Sequence[ModelTask]
) -> Report:
    """Sum up a run that came to its end."""
    seconds = max(_end(task) for task in tasks)
    outcomes = Counter(task.outcome for task in tasks)
    waits = (task.started - task.arrived for task in tasks if task.started is not None)
    lives = (_end(task) - task.arrived for task in tasks if task.outcome == SUCCEEDED)
    used: dict[str, float] = defaultdict(float)
    for worker in workers:
        for dimension, amount in worker.used.items():
            used[dimension] += amount
    return Report(
        seconds=seconds,
        tasks=len(tasks),
        outcomes=dict(outcomes.most_common()),
        attempts=sum(task.attempts for task in tasks),
        throughput=outcomes[SUCCEEDED] / seconds if seconds else 0.0,
        wait=Percentiles.of(waits),
        latency=Percentiles.of(lives),
        quota_use=_shares(used, scenario.pool.limits, seconds),
        kinds=tuple(
            KindReport(
                kind.name,
                tuple(_worker(worker, seconds) for worker in workers if worker.kind is kind),
            )
            for kind in scenario.workers
        ),
        timeline=[(task.arrived, task.started, _end(task)) for task in tasks],
    )


def _end(task: ModelTask) -> float:
    assert task.ended is not None
    return task.ended


def _worker(worker: ModelWorker, seconds: float) -> WorkerReport:
    counts = worker.counts
    return WorkerReport(
        name=worker.name or "",
        served=counts["served"],
        failed=counts["failed"],
        throttled=counts["throttled"],
        lost=counts["lost"],
        busy=worker.busy / seconds if seconds else 0.0,
        quota_use=_shares(worker.used, worker.kind.limits, seconds),
    )


def _shares(used: Mapping[str, float], limits: Limits, seconds: float) -> dict[str, float]:
    return {
        dimension: used.get(dimension, 0.0) / min(most(limit, seconds) for limit in some)
        for dimension, some in limits.items()
    }
