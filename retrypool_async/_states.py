"""What a task and a worker can be, and which moves between states are legal."""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import TypeVar

E = TypeVar("E", bound=Enum)


def plain_members(enum: type[E]) -> type[E]:
    """Make looking up a member as cheap as any class attribute.

    Python 3.11 answers `TaskState.QUEUED` through a descriptor written in Python, which costs a
    quarter of a microsecond; from 3.12 on members are plain attributes, as this makes them.
    """
    for name, member in enum.__members__.items():
        type.__setattr__(enum, name, member)
    return enum


@plain_members
class TaskState(Enum):
    """Where a task is in its life. The last four are final: nothing leaves them."""

    CREATED = auto()  #: the record exists, nothing else
    PENDING = auto()  #: accepted by the pool
    QUEUED = auto()  #: ready to run, held by no worker
    RESERVED = auto()  #: promised to one worker, quota debited, not yet started
    RUNNING = auto()  #: an attempt is in progress
    SCHEDULED = auto()  #: waiting for its next attempt to fall due
    SUCCEEDED = auto()  #: ended with a value
    DEAD = auto()  #: ended with an error, recorded among the dead tasks
    CANCELLED = auto()  #: ended because the caller or the closing pool asked for it
    DROPPED = auto()  #: ended because a failure hook said so

    # Members are singletons, so identity hashing is right, and it keeps sets fast.
    __hash__ = object.__hash__

    @property
    def final(self) -> bool:
        """True when the task has ended."""
        return self in FINAL_STATES


FINAL_STATES = frozenset(
    {TaskState.SUCCEEDED, TaskState.DEAD, TaskState.CANCELLED, TaskState.DROPPED}
)

#: Every move a task may make. `Ledger.check()` holds each history against this table.
LEGAL_MOVES: dict[TaskState, frozenset[TaskState]] = {
    TaskState.CREATED: frozenset({TaskState.PENDING}),
    TaskState.PENDING: frozenset({TaskState.QUEUED}),
    TaskState.QUEUED: frozenset({TaskState.RESERVED, TaskState.DEAD, TaskState.CANCELLED}),
    # A reservation is taken back when its worker is paused or removed before the start, and
    # before the task ends in any way.
    TaskState.RESERVED: frozenset({TaskState.RUNNING, TaskState.QUEUED}),
    TaskState.RUNNING: frozenset(
        {
            TaskState.SUCCEEDED,
            TaskState.SCHEDULED,
            TaskState.QUEUED,
            TaskState.DEAD,
            TaskState.CANCELLED,
            TaskState.DROPPED,
        }
    ),
    TaskState.SCHEDULED: frozenset({TaskState.QUEUED, TaskState.DEAD, TaskState.CANCELLED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.DEAD: frozenset(),
    TaskState.CANCELLED: frozenset(),
    TaskState.DROPPED: frozenset(),
}


@plain_members
class PoolState(Enum):
    """Where a pool is in its life. A closed one may be started again."""

    NEW = auto()  #: never started
    RUNNING = auto()  #: taking tasks
    CLOSING = auto()  #: taking none; some may still end by themselves
    CLOSED = auto()  #: over


@plain_members
class WorkerState(Enum):
    """What a worker is doing, as opposed to what its operator wants (`WorkerWish`)."""

    STARTING = auto()  #: opening its resource for the first time
    IDLE = auto()  #: open and without a task
    RESERVED = auto()  #: a task is promised to it
    BUSY = auto()  #: an attempt is in progress
    RESETTING = auto()  #: clearing up after an attempt, rebuilding, or running a hook
    COOLING = auto()  #: not used until a known time
    STUCK = auto()  #: its code ignores being stopped; out of use until that code ends
    FAILED = auto()  #: its resource could not be opened
    STOPPED = auto()  #: closed for good


@plain_members
class BreakerState(Enum):
    """What a worker's breaker makes of it."""

    CLOSED = auto()  #: in use
    OPEN = auto()  #: out of use until it has cooled
    HALF_OPEN = auto()  #: in use again, on probation


@plain_members
class WorkerWish(Enum):
    """What the operator wants of a worker. Nothing automatic ever changes it."""

    RUN = auto()
    PAUSE = auto()
    REMOVE = auto()


@plain_members
class AttemptOutcome(Enum):
    """How one run of a task ended."""

    OK = auto()
    ERROR = auto()  #: the worker raised
    TIMEOUT = auto()  #: cut off at `attempt_timeout` or `timeout`
    THROTTLED = auto()  #: refused by the service: no attempt spent
    WORKER_LOST = auto()  #: the worker was at fault: no attempt spent
    SNOOZED = auto()  #: to be tried later: no attempt spent
    BOUNCED = auto()  #: handed to another worker: attempt spent
    DISCARDED = auto()  #: not worth trying again
    CANCELLED = auto()  #: the caller gave up
    SHUTDOWN = auto()  #: cut off by a closing pool or a forced removal: no attempt spent


@plain_members
class EndReason(Enum):
    """Why a task ended the way it did. Every ending names one of these."""

    SUCCEEDED = "succeeded"
    ATTEMPTS = "attempts used up"
    NOT_RETRIED = "error is not retried"
    DISCARDED = "discarded by the worker"
    DROPPED = "dropped by the failure hook"
    KILLED = "declared dead by the failure hook"
    TIMEOUT = "timeout"
    QUEUE_TIMEOUT = "queue timeout"
    QUOTA_WAIT = "quota is short for longer than it may wait"
    DEADLINE = "next attempt would be past the deadline"
    HINT_TOO_LONG = "the server asked for a longer wait than is allowed"
    THROTTLES = "too many throttles"
    WORKER_LOSSES = "too many workers lost"
    SNOOZES = "too many snoozes"
    RETRY_BUDGET = "retry budget exceeded"
    NO_WORKERS = "no worker can take it"
    NO_WORKER_LEFT = "no worker is left that may try it again"
    COST = "cost exceeds every quota"
    CANCELLED = "cancelled by the caller"
    SHUTDOWN = "pool closed"
    FATAL = "worker raised an exit"
    POLICY = "a policy function failed"


@plain_members
class FailureAction(Enum):
    """What a failure hook may answer instead of leaving the decision to the policy."""

    RETRY = auto()  #: what the retry policy says
    FORCE_RETRY = auto()  #: again at once, whatever the policy says
    DROP = auto()  #: end it, keep no dead task
    DEAD = auto()  #: end it as a dead task


@plain_members
class Stop(IntEnum):
    """Why an attempt in progress was told to stop. Of several reasons the last of these counts."""

    REMOVE = auto()  #: the worker is being removed by force
    CLOSE = auto()  #: the pool is closing
    CANCEL = auto()  #: the caller cancelled the task
    LIMIT = auto()  #: time ran out; the task has been taken off the worker already


@plain_members
class Order(Enum):
    """What a runner is told to do between attempts."""

    CHECK = auto()  #: say whether the resource is still good
    RESET = auto()  #: clear up after an attempt that was cut off
    REBUILD = auto()  #: close the resource and open it anew
    PAUSE = auto()  #: run the pause hook
    RESUME = auto()  #: run the resume hook
    CLOSE = auto()  #: close the resource and end
