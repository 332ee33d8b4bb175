"""A coherent picture of a pool at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._states import BreakerState, TaskState, WorkerState, WorkerWish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._elastic import Elastic
    from ._ledger import Ledger
    from ._quota import Quota


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker at one moment. Times are in seconds of loop time."""

    id: int
    name: str
    state: WorkerState
    wish: WorkerWish
    #: The id of the task it holds, or None.
    task: int | None
    #: The metadata of that task as it is now, a copy; empty without a task.
    metadata: Mapping[str, Any] = field(repr=False)
    tags: frozenset[str]
    quota_left: Mapping[str, float]
    #: When it will have cooled, None when it is not cooling.
    cooling_until: float | None
    #: What its breaker makes of it, None without one.
    breaker: BreakerState | None
    pause_reason: str | None
    served: int
    failed: int
    throttled: int
    #: Mean seconds per run, None before the first.
    latency: float | None
    #: The name of what its last start or rebuild raised, None when it is well.
    error: str | None
    #: Ids of the other workers that share a quota of its own with it.
    shares_quota_with: tuple[int, ...]
    #: True for a worker from the factory.
    made: bool


@dataclass(frozen=True, slots=True)
class FactorySnapshot:
    """How the factory of a pool fares at one moment."""

    min_workers: int
    max_workers: int
    #: Starts of its workers in a row that failed.
    failures: int
    #: The name of what the last of them raised, None when all is well.
    error: str | None
    #: The loop time before which no other is tried, None when there is no need to wait.
    next_start: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pool at one moment. The counts add up: nothing is between two places."""

    name: str
    at: float
    tasks: Mapping[TaskState, int]
    submitted: int
    succeeded: int
    dead: int
    cancelled: int
    dropped: int
    #: Tasks that are being retried, as a retry budget counts them; None without one.
    retrying: int | None
    #: Tasks that no worker present, or to be made, could ever take.
    unroutable: int
    #: Age in seconds of the ready task that was submitted first, 0 when none waits.
    oldest_wait: float
    paused: bool
    workers: tuple[WorkerSnapshot, ...]
    #: What is left of the pool-wide quota, per dimension.
    quota_left: Mapping[str, float]
    #: None without a factory.
    factory: FactorySnapshot | None


def take_snapshot(ledger: Ledger, pool_quotas: tuple[Quota, ...], now: float) -> Snapshot:
    """Read the books. Changes nothing, and takes time in proportion to what waits."""
    records = list(ledger.roster.workers.values())
    running = sum(1 for r in records if r.state is WorkerState.BUSY)
    ready = list(ledger.ready)
    tasks = dict.fromkeys(TaskState, 0)
    tasks[TaskState.QUEUED] = ledger.waiting
    tasks[TaskState.RESERVED] = ledger.held - running
    tasks[TaskState.RUNNING] = running
    tasks[TaskState.SCHEDULED] = ledger.scheduled
    tasks[TaskState.SUCCEEDED] = ledger.succeeded
    tasks[TaskState.DEAD] = ledger.dead
    tasks[TaskState.CANCELLED] = ledger.cancelled
    tasks[TaskState.DROPPED] = ledger.dropped
    unroutable = sum(
        1
        for key, route in ledger.ready.routes.items()
        if not ledger.roster.eligible(key.require, key.worker) & ~key.spent
        for lane in route.lanes.values()
        for task in lane
        if not ledger.may_come(key, task.cost)
    )
    users: dict[int, list[int]] = {}
    for record in records:
        for quota in record.quotas:
            users.setdefault(id(quota), []).append(record.id)
    pool_wide = {id(quota) for quota in pool_quotas}
    workers: list[WorkerSnapshot] = []
    for record in records:
        task = record.task
        left: dict[str, float] = {}
        sharing: set[int] = set()
        for quota in record.quotas:
            for dimension, amount in quota.left(now).items():
                left[dimension] = min(left.get(dimension, amount), amount)
            if id(quota) not in pool_wide:
                sharing.update(users[id(quota)])
        workers.append(
            WorkerSnapshot(
                id=record.id,
                name=record.name,
                state=record.state,
                wish=record.wish,
                task=None if task is None else task.id,
                metadata={} if task is None else dict(task.engine.metadata_of(task)),
                tags=record.tags,
                quota_left=left,
                cooling_until=record.cooling_until if record.cooling_until > now else None,
                breaker=None if record.health is None else record.health.state,
                pause_reason=record.pause_reason,
                served=record.served,
                failed=record.failed,
                throttled=record.throttled,
                latency=record.run_seconds / record.runs if record.runs else None,
                error=None if record.error is None else type(record.error).__name__,
                shares_quota_with=tuple(sorted(sharing - {record.id})),
                made=record.made,
            )
        )
    pool_left: dict[str, float] = {}
    for quota in pool_quotas:
        pool_left.update(quota.left(now))
    return Snapshot(
        name=ledger.settings.name,
        at=now,
        tasks=tasks,
        submitted=ledger.submitted,
        succeeded=ledger.succeeded,
        dead=ledger.dead,
        cancelled=ledger.cancelled,
        dropped=ledger.dropped,
        retrying=None if ledger.retries is None else ledger.retries.under_way,
        unroutable=unroutable,
        oldest_wait=max((now - task.submitted_at for task in ready), default=0.0),
        paused=ledger.paused,
        workers=tuple(workers),
        quota_left=pool_left,
        factory=_of_the_factory(ledger.elastic, now),
    )


def _of_the_factory(elastic: Elastic | None, now: float) -> FactorySnapshot | None:
    if elastic is None:
        return None
    return FactorySnapshot(
        min_workers=elastic.sizes.min_workers,
        max_workers=elastic.sizes.max_workers,
        failures=elastic.failures,
        error=elastic.error,
        next_start=elastic.retry_at if elastic.retry_at > now else None,
    )
