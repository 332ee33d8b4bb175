"""The record of one task, and the values that describe what happened to it.

`Task` is the single mutable record: only the ledger changes what it says about the task's state.
What most tasks never need (failed attempts, moves off the straight path) lives in `Past`, which
is made on the first event that needs it, so that a queued task stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ._attempt import Attempt
from ._states import FINAL_STATES, EndReason, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context
    from types import TracebackType

    from ._roster import WorkerRecord

#: Amount per quota dimension, sorted by name: hashable, so that equal costs compare at once.
Cost = tuple[tuple[str, float], ...]
ONE_REQUEST: Cost = (("requests", 1.0),)


@dataclass(slots=True, kw_only=True, eq=False)
class TaskOptions:
    """What was asked for at `submit`, validated. Shared between tasks, and never changed."""

    priority: float = 0.0
    aging: float | None = None
    bounce: bool = False
    immediate: bool = False
    retry: Any = None  # a RetryPolicy; None means the pool's, looked up at each failure
    attempt_timeout: float | None = None
    timeout: float | None = None
    queue_timeout: float | None = None
    deadline: Literal["end", "clip"] = "end"
    require: frozenset[str] = frozenset()
    worker: int | None = None
    wait_for_worker: bool = False
    detach: bool = False
    metadata: Mapping[str, Any] | None = None
    on_queued: Callable[[Any], object] | None = None
    on_running: Callable[[Any], object] | None = None
    on_done: Callable[[Any], object] | None = None


CREATED = TaskState.CREATED


class Move(NamedTuple):
    """One change of a task's state: from, to, when (loop time), why, and on which worker."""

    old: TaskState
    new: TaskState
    at: float
    reason: str
    worker: str | None = None


class Times(NamedTuple):
    """Where a task's time went, in seconds. The four add up to its age, or to its whole life."""

    queue: float = 0.0  #: ready, waiting for a free worker
    quota: float = 0.0  #: first in line, waiting only for quota
    backoff: float = 0.0  #: waiting for the next attempt to fall due
    run: float = 0.0  #: running


class Stretch(NamedTuple):
    """A task's way from the queue to a worker, in one entry: it is written for every failure.

    `fresh` marks the first one of a task, which begins with its submission.
    """

    fresh: bool
    queued_at: float
    reserved_at: float | None
    started_at: float | None
    worker: str | None

    def moves(self) -> list[Move]:
        """The moves that it stands for."""
        moves: list[Move] = []
        if self.fresh:
            moves.append(Move(TaskState.CREATED, TaskState.PENDING, self.queued_at, "submitted"))
            moves.append(Move(TaskState.PENDING, TaskState.QUEUED, self.queued_at, "accepted"))
        name = self.worker
        if self.reserved_at is not None:
            moves.append(
                Move(TaskState.QUEUED, TaskState.RESERVED, self.reserved_at, "routed", name)
            )
        if self.started_at is not None:
            moves.append(
                Move(TaskState.RESERVED, TaskState.RUNNING, self.started_at, "started", name)
            )
        return moves


class Past:
    """What happened to a task off the straight path from submit to success."""

    __slots__ = (
        "backoff",
        "clipped",
        "first_start",
        "log",
        "losses",
        "queue",
        "quota",
        "retry_state",
        "run",
        "runs",
        "snoozes",
        "throttles",
        "traceback",
        "uncounted",
    )

    def __init__(self) -> None:
        #: The fields of an `Attempt` per run: most are never read.
        self.runs: list[tuple[Any, ...]] = []
        #: When the first run began; None until one has ended.
        self.first_start: float | None = None
        self.log: list[Move | Stretch] = []
        #: Seconds spent, as in `Times`, up to when the task was last queued.
        self.queue = self.quota = self.backoff = self.run = 0.0
        self.throttles = self.losses = self.snoozes = 0
        #: Runs that spent no attempt.
        self.uncounted = 0
        self.retry_state: Any = None
        #: True once a wait was shortened to fit before the deadline.
        self.clipped = False
        #: Where the final error was raised; every awaiter is shown this and nothing more.
        self.traceback: TracebackType | None = None


def keep_ends(items: list[Any], limit: int) -> None:
    """Drop from the middle so that at most `limit` remain: the first and the newest."""
    if len(items) > limit:
        if limit == 0:
            items.clear()
        else:
            del items[1 : len(items) - limit + 1]


class Task:
    """The record of one task. `TaskHandle` is the same object with what callers may do.

    Set by what gives them meaning, and unset before it: `reserved_at`, `holder`, `started_at`,
    `due`, `ended_at`, `value`, `reason` (unless it succeeded), `notes` and `origin`.
    """

    __slots__ = (
        "blocked_at",
        "callbacks",
        "context",
        "cost",
        "data",
        "deadline",
        "debit",
        "due",
        "ended_at",
        "engine",
        "holder",
        "id",
        "notes",
        "options",
        "order",
        "origin",
        "past",
        "queued_at",
        "ready_at",
        "reason",
        "reserved_at",
        "run_count",
        "started_at",
        "state",
        "submitted_at",
        "tried_mask",
        "value",
        "waiters",
    )

    due: float
    ended_at: float
    holder: WorkerRecord
    #: The metadata, once somebody has asked for it; the dead task it repeats, if it does.
    notes: dict[str, Any]
    origin: int
    reason: EndReason
    reserved_at: float
    started_at: float
    #: The result when SUCCEEDED, else the error to raise.
    value: Any

    def __init__(
        self,
        engine: Any,
        data: Any,
        options: TaskOptions,
        cost: Cost,
        context: Context | None,
        now: float,
    ) -> None:
        self.engine = engine
        self.data = data
        self.options = options
        self.cost = cost
        #: The submitter's context; dropped when the task ends.
        self.context = context
        self.state = CREATED
        self.submitted_at = self.queued_at = self.ready_at = now
        self.id = self.order = 0
        #: Runs that have been started, of every kind.
        self.run_count = 0
        #: Bitmask of the workers that are not to be tried again in this round.
        self.tried_mask = 0
        #: Loop time by which the task must have ended; None for never.
        self.deadline: float | None = None
        #: When quota became the only thing it waits for; None while it is not.
        self.blocked_at: float | None = None
        #: What was taken from quotas for the run in progress: (quotas, loop time).
        self.debit: tuple[Any, float] | None = None
        self.past: Past | None = None
        self.waiters: list[Any] | None = None
        self.callbacks: list[Callable[[Any], object]] | None = None

    def has_ended(self) -> bool:
        """True in a final state."""
        return self.state in FINAL_STATES

    @property
    def attempt_count(self) -> int:
        """Attempts that have ended and count against the retry policy."""
        ended = self.run_count - (self.state is TaskState.RUNNING)
        return ended if self.past is None else ended - self.past.uncounted

    def ended_attempts(self) -> list[Attempt]:
        """The runs so far that did not succeed, the oldest first."""
        return [] if self.past is None else [Attempt(*fields) for fields in self.past.runs]

    # -- history ----------------------------------------------------------------------------
    # The straight path (queued, reserved, running, succeeded) is kept as four times in slots
    # and written out only when somebody reads it or something unusual follows it.

    def _stretch(self) -> Stretch:
        """The way since the task was last queued."""
        fresh = self.past is None or not self.past.log
        if self.state not in _ON_WORKER:
            return Stretch(fresh, self.queued_at, None, None, None)
        return Stretch(
            fresh,
            self.queued_at,
            self.reserved_at,
            None if self.state is TaskState.RESERVED else self.started_at,
            self.holder.name,
        )

    def leave_straight_path(self, history_limit: int, now: float) -> Past:
        """Write down the way so far and the time it took, before a move that is not straight."""
        past = self.past
        if past is None:
            past = self.past = Past()
        queue, quota, backoff, run = self._stretch_times(now)
        past.queue += queue
        past.quota += quota
        past.backoff += backoff
        past.run += run
        if self.state is not TaskState.SCHEDULED:
            past.log.append(self._stretch())
            keep_ends(past.log, history_limit)
        return past

    def moves(self) -> list[Move]:
        """Every move so far, the oldest first."""
        moves: list[Move] = []
        for entry in () if self.past is None else self.past.log:
            if isinstance(entry, Stretch):
                moves.extend(entry.moves())
            else:
                moves.append(entry)
        if self.state is TaskState.QUEUED or self.state in _ON_WORKER:
            stretch = self._stretch()
            moves.extend(stretch.moves())
            if self.state is TaskState.SUCCEEDED:
                moves.append(
                    Move(TaskState.RUNNING, self.state, self.ended_at, "succeeded", stretch.worker)
                )
        return moves

    def _stretch_times(self, now: float) -> tuple[float, float, float, float]:
        """Seconds in the queue, for quota, backing off and running, since last written down."""
        state = self.state
        if state is TaskState.SCHEDULED:
            return 0.0, 0.0, now - self.ended_at, 0.0
        if state is TaskState.QUEUED:
            blocked_at = now if self.blocked_at is None else self.blocked_at
            return blocked_at - self.queued_at, now - blocked_at, 0.0, 0.0
        if state not in _ON_WORKER:
            return 0.0, 0.0, 0.0, 0.0
        reserved_at = self.reserved_at
        blocked_at = reserved_at if self.blocked_at is None else self.blocked_at
        queue = blocked_at - self.queued_at
        quota = reserved_at - blocked_at
        if state is TaskState.RESERVED:
            return queue + now - reserved_at, quota, 0.0, 0.0
        if state is TaskState.SUCCEEDED:
            now = self.ended_at
        return queue + self.started_at - reserved_at, quota, 0.0, now - self.started_at

    def times_until(self, now: float) -> Times:
        """Where the time went, up to `now` or to the task's end."""
        queue, quota, backoff, run = self._stretch_times(now)
        past = self.past
        if past is None:
            return Times(queue, quota, backoff, run)
        return Times(past.queue + queue, past.quota + quota, past.backoff + backoff, past.run + run)


#: States in which the task has reached a worker since it was last queued.
_ON_WORKER = frozenset({TaskState.RESERVED, TaskState.RUNNING, TaskState.SUCCEEDED})
