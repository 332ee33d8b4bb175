"""The events of a pool: one for every move of a task, a worker or a breaker, and a few others."""

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


class WorkersMissing(NamedTuple):
    """Tasks wait, and no worker is there that could ever take one. `at` is loop time.

    Told once, and again only after a worker has been there.
    """

    at: float


Event = TaskMoved | WorkerMoved | BreakerMoved | WorkersMissing
