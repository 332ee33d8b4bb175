"""The record of one task, and the values that describe what happened to it.

`Task` is the single mutable record: only the ledger changes what it says about the task's state.
What most tasks never need (failed attempts, moves off the straight path) lives in `Past`, which
is made on the first event that needs it, so that a queued task stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ._states import FINAL_STATES, AttemptOutcome, EndReason, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context
    from types import TracebackType

    from ._roster import WorkerRecord

#: Amount per quota dimension, sorted by name: hashable, so that equal costs compare at once.
Cost = tuple[tuple[str, float], ...]
ONE_REQUEST: Cost = (("requests", 1.0),)

#: Exception texts longer than this are cut in what we keep and emit.
TEXT_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What was asked for at `submit`, validated. Shared by all tasks that asked for the same."""

    cost: Cost | None = None
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


class Frame(NamedTuple):
    """One level of a traceback, without the frame object and all that it would keep alive."""

    file: str
    line: int
    function: str


def frames_of(traceback: TracebackType | None) -> tuple[Frame, ...]:
    """Return where a traceback passed, outermost first, holding no frames."""
    frames: list[Frame] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(Frame(code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    return tuple(frames)


class Attempt(NamedTuple):
    """One run of a task.

    Attributes:
        number: 1 for the first run, counting every run.
        worker: The name of the worker.
        started: When it started, in loop time.
        ended: When it ended, in loop time.
        outcome: How it ended.
        error: What was raised, if anything, without its traceback.
        counted: True when it spent an attempt; throttles and lost workers do not.
        frames: Where the error was raised.
        secrets: Texts that are masked in `traceback`.
    """

    number: int
    worker: str
    started: float
    ended: float
    outcome: AttemptOutcome
    error: BaseException | None = None
    counted: bool = True
    frames: tuple[Frame, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.ended - self.started

    @property
    def traceback(self) -> str:
        """The error's traceback as text, "" when nothing was raised."""
        if self.error is None:
            return ""
        lines = [f'  File "{f.file}", line {f.line}, in {f.function}\n' for f in self.frames]
        text = "".join(format_exception_only(self.error))
        if len(text) > TEXT_LIMIT:
            text = f"{text[:TEXT_LIMIT]}... ({len(text)} characters)\n"
        return "".join(lines) + masked(text, self.secrets)

    def __repr__(self) -> str:
        # Never the error's text, which may hold what the service was sent.
        kind = "" if self.error is None else f" {type(self.error).__name__}"
        return f"<Attempt {self.number} on {self.worker}: {self.outcome.name}{kind}>"


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` with every secret replaced."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


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


class Past:
    """What happened to a task off the straight path from submit to success."""

    __slots__ = (
        "clipped",
        "losses",
        "moves",
        "retry_state",
        "runs",
        "snoozes",
        "throttles",
        "times",
        "traceback",
    )

    def __init__(self) -> None:
        self.runs: list[Attempt] = []
        self.moves: list[Move] = []
        self.times = Times()
        self.throttles = 0
        self.losses = 0
        self.snoozes = 0
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

    Set by the move that gives them meaning, and unset before it: `reserved_at`, `holder`,
    `started_at`, `due`, `ended_at`, `value`, `reason`.
    """

    __slots__ = (
        "attempt_count",
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
        "reason",
        "reserved_at",
        "run_count",
        "started_at",
        "state",
        "submitted_at",
        "tried",
        "value",
        "waiters",
    )

    due: float
    ended_at: float
    holder: WorkerRecord | None
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
        self.state = TaskState.CREATED
        self.submitted_at = self.queued_at = now
        self.id = self.order = 0
        #: Attempts that count against the retry policy, and runs of every kind.
        self.attempt_count = self.run_count = 0
        #: Bitmask of the workers that are not to be tried again in this round.
        self.tried = 0
        #: Loop time by which the task must have ended; None for never.
        self.deadline: float | None = None
        #: When quota became the only thing it waits for; None while it is not.
        self.blocked_at: float | None = None
        #: What was taken from quotas for the run in progress: (quotas, loop time).
        self.debit: tuple[Any, float] | None = None
        self.past: Past | None = None
        self.waiters: list[Any] | None = None
        self.callbacks: list[Callable[[Any], object]] | None = None
        self.notes: dict[str, Any] | None = None
        self.origin: int | None = None

    def has_ended(self) -> bool:
        """True in a final state."""
        return self.state in FINAL_STATES

    # -- history ----------------------------------------------------------------------------
    # The straight path (queued, reserved, running, succeeded) is kept as four times in slots
    # and written out only when somebody reads it or something unusual follows it.

    def straight_moves(self) -> list[Move]:
        """The moves since the task was last queued that `past` does not hold yet."""
        moves: list[Move] = []
        at = self.queued_at
        if self.past is None or not self.past.moves:
            moves.append(Move(TaskState.CREATED, TaskState.PENDING, at, "submitted"))
            moves.append(Move(TaskState.PENDING, TaskState.QUEUED, at, "accepted"))
        if self.state in _ON_WORKER:
            holder = self.holder
            name = holder.name if holder is not None else None
            moves.append(
                Move(TaskState.QUEUED, TaskState.RESERVED, self.reserved_at, "routed", name)
            )
            if self.state is not TaskState.RESERVED:
                moves.append(
                    Move(TaskState.RESERVED, TaskState.RUNNING, self.started_at, "started", name)
                )
            if self.state is TaskState.SUCCEEDED:
                moves.append(Move(TaskState.RUNNING, self.state, self.ended_at, "succeeded", name))
        return moves

    def leave_straight_path(self, history_limit: int) -> Past:
        """Write the moves made so far into `past`, before one that is not straight."""
        past = self.past
        if past is None:
            past = self.past = Past()
        past.moves.extend(self.straight_moves())
        keep_ends(past.moves, history_limit)
        return past

    def times_until(self, now: float) -> Times:
        """Where the time went, up to `now` or to the task's end."""
        queue, quota, backoff, run = self.past.times if self.past is not None else Times()
        state = self.state
        if state is TaskState.SUCCEEDED:
            now = self.ended_at
        if state is TaskState.SCHEDULED:
            backoff += now - self.ended_at
        elif state in _ON_WORKER or state is TaskState.QUEUED:
            left_queue = now if state is TaskState.QUEUED else self.reserved_at
            blocked_at = left_queue if self.blocked_at is None else self.blocked_at
            queue += blocked_at - self.queued_at
            quota += left_queue - blocked_at
            if state is TaskState.RUNNING or state is TaskState.SUCCEEDED:
                queue += self.started_at - self.reserved_at
                run += now - self.started_at
            elif state is TaskState.RESERVED:
                queue += now - self.reserved_at
        return Times(queue, quota, backoff, run)


#: States in which the current cycle has already reached a worker.
_ON_WORKER = frozenset({TaskState.RESERVED, TaskState.RUNNING, TaskState.SUCCEEDED})
