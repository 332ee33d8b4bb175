"""The events of a pool: one for every move of a task, a worker or a breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ._record import WorkerRef
    from ._states import BreakerState, TaskState, WorkerState


class TaskMoved(NamedTuple):
    """A task changed its state. `at` is loop time; `worker` is a name, where one is involved."""

    task: Any  # the TaskHandle
    old: TaskState
    new: TaskState
    reason: str
    worker: str | None
    at: float


class WorkerMoved(NamedTuple):
    """A worker changed its state. `at` is loop time."""

    worker: WorkerRef
    old: WorkerState
    new: WorkerState
    reason: str
    at: float


class BreakerMoved(NamedTuple):
    """A worker's breaker changed its state. `at` is loop time."""

    worker: WorkerRef
    old: BreakerState
    new: BreakerState
    reason: str
    at: float


Event = TaskMoved | WorkerMoved | BreakerMoved
