"""What has happened to a task: its laps between the queue and the workers, and what they took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ._attempt import Attempt
from ._states import AttemptOutcome, TaskState

if TYPE_CHECKING:
    from types import TracebackType

    from ._attempt import Trace
    from ._record import WorkerRecord
    from ._twin import Hedges


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


def sum_of(one: Times, other: Times) -> Times:
    """Both stretches of time together."""
    return Times(*(a + b for a, b in zip(one, other, strict=True)))


class Run(NamedTuple):
    """What an attempt came to, apart from where and when, which its `Lap` says."""

    number: int
    outcome: AttemptOutcome
    error: BaseException | None
    counted: bool
    trace: Trace
    secrets: tuple[str, ...]


class Lap(NamedTuple):
    """One way of a task from the queue, as far as it got, back to where it went then.

    Kept as bare tuples and spelled out when somebody reads them: most failures are never read.
    A hedged task may leave one attempt for the other: then one lap ends with its running still,
    and the next has no `queued_at`, is `reserved_at` that moment, and may have started before.
    """

    #: When it began to wait for its retry, if it did; when it was ready, if it came to that.
    scheduled_at: float | None
    queued_at: float | None
    blocked_at: float | None
    reserved_at: float | None
    started_at: float | None
    left_at: float
    worker: str | None
    new: TaskState
    reason: str
    #: The fields of a `Run`, if an attempt was made.
    run: tuple[Any, ...] | None

    def moves(self) -> list[Move]:
        """The moves that it stands for."""
        state, name = TaskState.SCHEDULED, self.worker
        moves: list[Move] = []
        if self.queued_at is not None:
            if self.scheduled_at is not None:
                moves.append(Move(state, TaskState.QUEUED, self.queued_at, "due"))
            state = TaskState.QUEUED
        elif self.started_at is not None:
            state = TaskState.RUNNING
        if self.reserved_at is not None and state is TaskState.QUEUED:
            moves.append(Move(state, TaskState.RESERVED, self.reserved_at, "routed", name))
            state = TaskState.RESERVED
        if self.started_at is not None and state is TaskState.RESERVED:
            moves.append(Move(state, TaskState.RUNNING, self.started_at, "started", name))
            state = TaskState.RUNNING
        if self.new is not state:
            moves.append(Move(state, self.new, self.left_at, self.reason, name))
        return moves

    def times(self) -> Times:
        """Where its time went."""
        if self.queued_at is None and self.reserved_at is not None:
            return Times(run=self.left_at - self.reserved_at)
        ready = self.left_at if self.queued_at is None else self.queued_at
        backoff = 0.0 if self.scheduled_at is None else ready - self.scheduled_at
        reserved = self.left_at if self.reserved_at is None else self.reserved_at
        blocked = reserved if self.blocked_at is None else self.blocked_at
        started = self.left_at if self.started_at is None else self.started_at
        return Times(
            queue=blocked - ready + started - reserved,
            quota=reserved - blocked,
            backoff=backoff,
            run=self.left_at - started,
        )

    def attempt(self) -> Attempt | None:
        """The attempt that was made, if one was."""
        if self.run is None:
            return None
        run = Run(*self.run)
        assert self.worker is not None
        assert self.started_at is not None
        return Attempt(
            run.number,
            self.worker,
            self.started_at,
            self.left_at,
            run.outcome,
            run.error,
            run.counted,
            run.trace,
            run.secrets,
            hedge=self.queued_at is None,
        )


class Spending:
    """What a task has spent of the attempts that workers allow it, those that allow only so many.

    Attributes:
        mask: The workers on which it may make no more, as a bitmask.
        error: Of the last of these attempts.
    """

    __slots__ = ("_attempts", "error", "mask")

    def __init__(self) -> None:
        #: Attempts made, by worker id.
        self._attempts: dict[int, int] = {}
        self.mask = 0
        self.error: BaseException | None = None

    def spend(self, worker: WorkerRecord, limit: int, error: BaseException | None) -> bool:
        """Note an attempt that counts. True when it was the last that this worker allows."""
        self.error = error
        made = self._attempts[worker.id] = self._attempts.get(worker.id, 0) + 1
        if made >= limit:
            self.mask |= worker.bit
        return made >= limit


class Past:
    """What happened to a task off the straight path from submit to success."""

    __slots__ = (
        "clipped",
        "first_start",
        "hedges",
        "laps",
        "losses",
        "lost",
        "paced",
        "retry_state",
        "retrying",
        "scheduled_at",
        "snoozes",
        "spending",
        "throttles",
        "traceback",
        "uncounted",
    )

    def __init__(self) -> None:
        #: The fields of a `Lap` for each time it left the straight path.
        self.laps: list[tuple[Any, ...]] = []
        #: Where the time went in laps that are no longer kept; None while all are.
        self.lost: Times | None = None
        #: When it began to wait for its retry; None if it was put back into the queue at once.
        self.scheduled_at: float | None = None
        #: When the first run began; None until one has ended.
        self.first_start: float | None = None
        self.throttles = self.losses = self.snoozes = 0
        #: True from a retry's being scheduled to its end, and while it waits for its turn among
        #: all retries; both under a retry budget only.
        self.retrying = self.paced = False
        #: Runs that spent no attempt.
        self.uncounted = 0
        #: Attempts on workers that allow only so many; None while there were none.
        self.spending: Spending | None = None
        self.retry_state: Any = None
        #: None until it runs with the prospect of one.
        self.hedges: Hedges | None = None
        #: True once a wait was shortened to fit before the deadline.
        self.clipped = False
        #: Where the final error was raised; every awaiter is shown this and nothing more.
        self.traceback: TracebackType | None = None

    def forget_middle(self, limit: int) -> None:
        """Keep the first lap and the newest, `limit` in all and at least two."""
        while len(self.laps) > limit and len(self.laps) > 2:
            times = Lap(*self.laps.pop(1)).times()
            self.lost = times if self.lost is None else sum_of(self.lost, times)


def keep_ends(items: list[Any], limit: int) -> None:
    """Drop from the middle so that at most `limit` remain: the first and the newest."""
    if len(items) > limit:
        if limit == 0:
            items.clear()
        else:
            del items[1 : len(items) - limit + 1]
