"""The record of one task, and what was asked for it.

`Task` is the single mutable record: only the ledger changes what it says about the task's state.
What most tasks never need lives in its `Past`, which is made on the first event that needs it, so
that a queued task stays small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ._past import Lap, Move, Past, Times, sum_of
from ._states import FINAL_STATES, EndReason, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from contextvars import Context

    from ._attempt import Attempt
    from ._record import WorkerRecord

#: Amount per quota dimension: hashable, since equal costs share a lane.
Cost = tuple[tuple[str, float], ...]
ONE_REQUEST: Cost = (("requests", 1.0),)


def dimensions_of(cost: Cost) -> frozenset[str]:
    """The dimensions that a cost takes anything from."""
    return frozenset(dimension for dimension, amount in cost if amount)


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
    lane: Hashable = None
    affinity: Hashable = None
    order_key: Hashable = None
    wait_for_worker: bool = False
    detach: bool = False
    metadata: Mapping[str, Any] | None = None
    on_queued: Callable[[Any], object] | None = None
    on_running: Callable[[Any], object] | None = None
    on_done: Callable[[Any], object] | None = None
    #: True without wishes about worker, place or time: most tasks, which then cost least.
    plain: bool = field(init=False)
    #: True when it may stand in one line with all others that have not asked for more.
    common: bool = field(init=False)

    def __post_init__(self) -> None:
        self.common = (
            not self.require
            and self.worker is None
            and self.aging is None
            and self.lane is None
            and self.affinity is None
        )
        self.plain = (
            self.common
            and self.priority == 0.0
            and self.timeout is None
            and self.queue_timeout is None
            and self.order_key is None
        )


CREATED, SCHEDULED = TaskState.CREATED, TaskState.SCHEDULED


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
        #: Bitmask of the workers that are not to be tried again in this round, or at all.
        self.tried_mask = 0
        #: Loop time by which the task must have ended; None for never.
        self.deadline: float | None = None
        #: When quota became the only thing it waits for; None while it is not.
        self.blocked_at: float | None = None
        #: What counts as taken for the run in progress: (from which quotas, loop time, cost).
        self.debit: tuple[tuple[Any, ...], float, Cost] | None = None
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

    def begin_past(self) -> Past:
        """Its past; a new one if nothing has happened to it yet."""
        past = self.past
        if past is None:
            past = self.past = Past()
        return past

    @property
    def spent_mask(self) -> int:
        """Bitmask of the workers that are not to be tried again at all; part of `tried_mask`."""
        spending = None if self.past is None else self.past.spending
        return 0 if spending is None else spending.mask

    def forget(self, workers: int) -> None:
        """Remove all marks of workers that have gone: others are to have their places."""
        self.tried_mask &= ~workers
        if self.past is not None and self.past.spending is not None:
            self.past.spending.mask &= ~workers

    def laps(self) -> list[Lap]:
        """The times it left the straight path, the oldest first."""
        return [] if self.past is None else [Lap(*fields) for fields in self.past.laps]

    def ended_attempts(self) -> list[Attempt]:
        """The runs so far that did not succeed, the oldest first."""
        attempts = (lap.attempt() for lap in self.laps())
        return [attempt for attempt in attempts if attempt is not None]

    # -- history ----------------------------------------------------------------------------
    # The straight path (queued, reserved, running, succeeded) is kept as a few times in slots
    # and written out only when somebody reads it or something unusual follows it.

    def leave_straight_path(
        self, new: TaskState, reason: str, now: float, limit: int, run: tuple[Any, ...] | None
    ) -> None:
        """Write down the way so far, before a move that is not straight."""
        past = self.begin_past()
        past.laps.append(self._lap(new, reason, now, run))
        if len(past.laps) > limit:
            past.forget_middle(limit)
        past.scheduled_at = now if new is SCHEDULED else None

    def _lap(
        self, new: TaskState, reason: str, now: float, run: tuple[Any, ...] | None = None
    ) -> tuple[Any, ...]:
        """The fields of the lap in progress, as if it left for `new` at `now`."""
        past, state = self.past, self.state
        scheduled_at = None if past is None else past.scheduled_at
        if state in _ON_WORKER:
            return (
                scheduled_at,
                self.queued_at,
                self.blocked_at,
                self.reserved_at,
                None if state is TaskState.RESERVED else self.started_at,
                now,
                self.holder.name,
                new,
                reason,
                run,
            )
        if state is SCHEDULED:
            return (scheduled_at, None, None, None, None, now, None, new, reason, run)
        blocked_at = self.blocked_at
        return (scheduled_at, self.queued_at, blocked_at, None, None, now, None, new, reason, run)

    def _lap_in_progress(self, now: float) -> Lap | None:
        """The lap since it was last queued, up to `now` or to its success."""
        if self.state is TaskState.SUCCEEDED:
            return Lap(*self._lap(self.state, "succeeded", self.ended_at))
        if self.state is CREATED or self.state in FINAL_STATES:
            return None
        return Lap(*self._lap(self.state, "", now))

    def moves(self) -> list[Move]:
        """Every move so far, the oldest first."""
        at = self.submitted_at
        moves = [
            Move(CREATED, TaskState.PENDING, at, "submitted"),
            Move(TaskState.PENDING, TaskState.QUEUED, at, "accepted"),
        ]
        laps = self.laps()
        current = self._lap_in_progress(at)
        for lap in laps if current is None else [*laps, current]:
            moves.extend(lap.moves())
        return moves

    def times_until(self, now: float) -> Times:
        """Where the time went, up to `now` or to the task's end."""
        total = Times() if self.past is None or self.past.lost is None else self.past.lost
        current = self._lap_in_progress(now)
        laps = self.laps()
        for lap in laps if current is None else [*laps, current]:
            total = sum_of(total, lap.times())
        return total


#: States in which the task has reached a worker since it was last queued.
_ON_WORKER = frozenset({TaskState.RESERVED, TaskState.RUNNING, TaskState.SUCCEEDED})
