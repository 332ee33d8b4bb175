"""Run tasks on workers that each hold an exclusive resource, within everybody's quotas."""

from __future__ import annotations

import logging as _logging

from ._attempt import Attempt, Frame
from ._breaker import Breaker
from ._budget import RetryBudget
from ._context import TaskContext, current_task
from ._dead import DeadTask, DeadTasks
from ._errors import (
    AttemptTimeout,
    CostTooLarge,
    DeadlockDetected,
    InvariantBroken,
    NoWorkers,
    PolicyError,
    PoolClosed,
    QueueFull,
    QueueTimeout,
    QuotaTimeout,
    RetryBudgetExceeded,
    RetryPoolError,
    SnoozeLimit,
    TaskTimeout,
    ThrottleLimit,
    Unroutable,
    WorkerCancelled,
    WorkerLossLimit,
    WorkerRemoved,
    WorkerStartFailed,
)
from ._forecast import Forecast
from ._handle import TaskHandle
from ._hedge import Hedge
from ._hooks import AttemptEnded, AttemptFailed, Hooks, Subscription
from ._limits import Bucket, Daily, Limiter, Window
from ._moves import BreakerMoved, Event, TaskMoved, WorkerMoved, WorkersMissing
from ._options import RoutingOptions, SubmitOptions
from ._past import Move, Times
from ._pool import Pool
from ._quota import Quota
from ._record import WorkerRef
from ._retry import RetryPolicy
from ._router import (
    Candidate,
    LeastRecentlyUsed,
    MostQuota,
    RandomChoice,
    RoundRobin,
    Strategy,
    Tiered,
    Weighted,
)
from ._snapshot import FactorySnapshot, Snapshot, WorkerSnapshot
from ._states import (
    AttemptOutcome,
    BreakerState,
    EndReason,
    FailureAction,
    PoolState,
    TaskState,
    WorkerState,
    WorkerWish,
)
from ._supervisor import CloseReport, Unfinished
from ._verdict import Bounce, Discard, Snooze, Throttled, Verdict, WorkerLost
from ._worker import FunctionWorker, ResourceWorker, ThreadWorker, Worker

__all__ = [
    "Attempt",
    "AttemptEnded",
    "AttemptFailed",
    "AttemptOutcome",
    "AttemptTimeout",
    "Bounce",
    "Breaker",
    "BreakerMoved",
    "BreakerState",
    "Bucket",
    "Candidate",
    "CloseReport",
    "CostTooLarge",
    "Daily",
    "DeadTask",
    "DeadTasks",
    "DeadlockDetected",
    "Discard",
    "EndReason",
    "Event",
    "FactorySnapshot",
    "FailureAction",
    "Forecast",
    "Frame",
    "FunctionWorker",
    "Hedge",
    "Hooks",
    "InvariantBroken",
    "LeastRecentlyUsed",
    "Limiter",
    "MostQuota",
    "Move",
    "NoWorkers",
    "PolicyError",
    "Pool",
    "PoolClosed",
    "PoolState",
    "QueueFull",
    "QueueTimeout",
    "Quota",
    "QuotaTimeout",
    "RandomChoice",
    "ResourceWorker",
    "RetryBudget",
    "RetryBudgetExceeded",
    "RetryPolicy",
    "RetryPoolError",
    "RoundRobin",
    "RoutingOptions",
    "Snapshot",
    "Snooze",
    "SnoozeLimit",
    "Strategy",
    "SubmitOptions",
    "Subscription",
    "TaskContext",
    "TaskHandle",
    "TaskMoved",
    "TaskState",
    "TaskTimeout",
    "ThreadWorker",
    "ThrottleLimit",
    "Throttled",
    "Tiered",
    "Times",
    "Unfinished",
    "Unroutable",
    "Verdict",
    "Weighted",
    "Window",
    "Worker",
    "WorkerCancelled",
    "WorkerLossLimit",
    "WorkerLost",
    "WorkerMoved",
    "WorkerRef",
    "WorkerRemoved",
    "WorkerSnapshot",
    "WorkerStartFailed",
    "WorkerState",
    "WorkerWish",
    "WorkersMissing",
    "current_task",
]

_logging.getLogger("retrypool_async").addHandler(_logging.NullHandler())
