"""The state of a pool, what its parts have in common, and the way it tells others.

The ledger is built in layers, each a class on top of the one below: `Books` keeps the state,
`Dispatch` brings tasks and workers together, `Staff` looks after workers, and `Ledger` is the
whole, with the lives of tasks. None does anything but change this state and fill the outbox.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Any

from ._agenda import Agenda, Due
from ._bindings import Bindings
from ._budget import Retries
from ._errors import CostTooLarge, NoWorkers, RetryPoolError, Unroutable, WorkerRemoved
from ._hedge import Latencies
from ._holds import Holds
from ._moves import BreakerMoved, TaskMoved, WorkerMoved
from ._ready import ReadyQueue, RouteKey, wishes
from ._record import WorkerRecord
from ._roster import Roster
from ._router import LeastRecentlyUsed, Strategy
from ._sequences import Sequences
from ._shares import Shares
from ._states import EndReason, TaskState, WorkerState, WorkerWish, plain_members
from ._task import Task
from ._waits import Waits

if TYPE_CHECKING:
    from ._elastic import Elastic
    from ._settings import Settings
    from ._states import BreakerState
    from ._task import Cost
    from ._twin import Twin
    from ._waiters import Waiters

# Looked up once: these are read several times per task.
CREATED, PENDING, QUEUED = TaskState.CREATED, TaskState.PENDING, TaskState.QUEUED
RESERVED, RUNNING, SCHEDULED = TaskState.RESERVED, TaskState.RUNNING, TaskState.SCHEDULED
SUCCEEDED, CANCELLED = TaskState.SUCCEEDED, TaskState.CANCELLED
IDLE, BUSY, PROMISED = WorkerState.IDLE, WorkerState.BUSY, WorkerState.RESERVED
RUN = WorkerWish.RUN
RETRY = Due.RETRY

#: Seconds of waiting for quota that are worth a warning.
LONG_WAIT = 30.0


@plain_members
class Effect(Enum):
    """What the engine has to do about a step."""

    ASSIGN = auto()  #: (worker, task): deliver the task
    ORDER = auto()  #: (worker, order): deliver the order
    LAUNCH = auto()  #: (worker, None): have the factory make it, and open it
    INTERRUPT = auto()  #: (worker, None): interrupt the attempt in progress
    OVERDUE = auto()  #: (worker, task): its attempt has reached its limit
    SETTLED = auto()  #: (task, None): tell who waits for it
    ATTEMPT = auto()  #: (task, attempt): it has ended while another goes on, or won
    DEADLOCK = auto()  #: (wait, chain): tell the attempt that it waits in vain
    MISSING = auto()  #: (event, None): tasks wait, no worker is there; tell the log, and observers
    LONG_WAIT = auto()  #: (task, seconds): it waits for quota for long; tell the log
    BREAKER = auto()  #: (worker, event): its breaker has moved; tell the log and the observers
    STUCK = auto()  #: (worker, None): its code ignores being stopped
    GONE = auto()  #: (worker, None): it has left the pool
    EVENT = auto()  #: (event, None): tell the observers


class NobodyLeft(RetryPoolError):
    """A task may make no more attempts on any of the workers that could take it.

    Not raised: such a task ends with the error of its last attempt.
    """


class Books:
    """The state of one pool."""

    # Slots in every layer: an instance with a dict and more than 30 attributes is one for which
    # CPython has no fast way to an attribute or a method.
    __slots__ = (
        "_front_order",
        "_holds",
        "_missing_told",
        "_next_order",
        "_plan_at",
        "_review_at",
        "_usual",
        "_waiters",
        "_warned_of_quota",
        "agenda",
        "bindings",
        "cancelled",
        "concurrency",
        "dead",
        "debited",
        "dropped",
        "elastic",
        "ending",
        "held",
        "latencies",
        "live",
        "notable_wait",
        "observed",
        "outbox",
        "paused",
        "ready",
        "refunded",
        "resume_at",
        "retries",
        "roster",
        "scheduled",
        "sequences",
        "settings",
        "started",
        "strategy",
        "submitted",
        "succeeded",
        "tightened_at",
        "turns",
        "twins",
        "waits",
    )

    def __init__(self, settings: Settings, strategy: Strategy | None = None) -> None:
        self.settings = settings
        self.strategy: Strategy = strategy or LeastRecentlyUsed()
        #: Attempts that may be in progress at once over all workers; None for no limit.
        self.concurrency: int | None = None
        self.ready = ReadyQueue(Shares(settings.lane_weights))
        self.roster = Roster()
        self.agenda = Agenda(self._counts)
        #: Decides how many workers there should be; None without a factory.
        self.elastic: Elastic | None = None
        #: The retries under way, counted; None without a budget for them.
        self.retries = None if settings.retry_budget is None else Retries(settings.retry_budget)
        #: Tasks that run one after the other.
        self.sequences = Sequences()
        #: The worker of each affinity.
        self.bindings = Bindings()
        #: Those whose turn has come, to be put in play once the step is over.
        self.turns: deque[Task] = deque()
        #: What attempts wait for in this very pool.
        self.waits = Waits()
        #: The hedges that wait or run: like tasks in all counts but those of tasks as such.
        self.twins: dict[Twin, None] = {}
        #: How long attempts took of tasks that are hedged by that.
        self.latencies = Latencies()
        self.outbox: deque[tuple[Effect, Any, Any]] = deque()
        #: True while somebody wants to see every move.
        self.observed = False

        self.submitted: int = 0
        self.succeeded: int = 0
        self.dead: int = 0
        self.cancelled: int = 0
        self.dropped: int = 0
        #: Tasks that have not ended; those on a worker; those waiting for a retry. Hedges count.
        self.live: int = 0
        self.held: int = 0
        self.scheduled: int = 0
        #: Debits and refunds of permits, for conservation: debited - refunded = started.
        self.debited: int = 0
        self.refunded: int = 0
        self.started: int = 0

        #: When an attempt last reported that there is less room than was thought.
        self.tightened_at = -inf

        #: A wait for quota alone that is looked at: longer than a task may wait, or the first that
        #: there is to warn of.
        limit = settings.max_quota_wait
        self.notable_wait: float = LONG_WAIT if limit is None else min(limit, LONG_WAIT)
        self._warned_of_quota = False
        #: True while it has been told that tasks wait and no worker is there.
        self._missing_told = False

        self.paused = False
        self.resume_at: float | None = None
        #: True once nothing may start any more, and workers close as they come free.
        self.ending = False
        self._next_order = 0
        self._front_order: int = 0
        self._plan_at: float | None = None
        self._review_at = inf
        #: What is kept for waiting tasks, as of the last plan.
        self._holds = Holds()
        #: The idle workers without quota for the only lane that waits, if somebody had to know.
        self._waiters: Waiters | None = None
        #: True when a task without wishes could run on somebody: the usual case, judged once.
        self._usual = False

    # -- accepting and ending --------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Tasks that are ready and on no worker. Hedges do not count."""
        waiting = self.live - self.held - self.scheduled
        if self.twins:
            waiting -= sum(twin.state is QUEUED for twin in self.twins)
        return waiting

    def _refusal(self, key: RouteKey, cost: Cost) -> RetryPoolError | None:
        """Why nobody could ever take such a task, None when some worker could."""
        refusal = self._refusal_of_those_present(key, cost)
        if refusal is not None and self.may_come(key, cost):
            return None
        return refusal

    def may_come(self, key: RouteKey, cost: Cost, staying: int = 0) -> bool:
        """True when the factory may be expected to make a worker for such a task.

        `staying` of the workers on their way out will never have left.
        """
        elastic = self.elastic
        return (
            elastic is not None
            and key.worker is None
            and elastic.may_come(self.roster, key.require, cost, staying)
        )

    def _refusal_of_those_present(self, key: RouteKey, cost: Cost) -> RetryPoolError | None:
        roster = self.roster
        eligible = roster.eligible(key.require, key.worker)
        if not eligible:
            if key.worker is not None:
                pinned = roster.workers.get(key.worker)
                if pinned is None or not pinned.alive:
                    return WorkerRemoved(f"worker {key.worker} has left the pool")
            if self.elastic is not None:
                exceeded = self.elastic.excess(key.require, cost)
                if exceeded is not None:
                    return CostTooLarge(*exceeded)
            elif not any(record.alive for record in roster.workers.values()):
                return NoWorkers("the pool has no worker; add one, or submit with wait_for_worker")
            if key.require:
                tags = ", ".join(sorted(key.require))
                return Unroutable(f"no worker carries the required tags: {tags}")
            return Unroutable(f"worker {key.worker} may not take tasks")
        exceeded = roster.unaffordable(cost, key.require, key.worker)
        if exceeded is not None:
            return CostTooLarge(*exceeded)
        if key.spent and not any(
            record.affords(cost) for record in roster.of(eligible & ~key.spent)
        ):
            return NobodyLeft("every worker that could take it has used up its attempts")
        return None

    def _settle(
        self,
        task: Task,
        state: TaskState,
        reason: EndReason,
        error: BaseException | None,
        now: float,
        run: tuple[Any, ...] | None = None,
    ) -> None:
        """End a task that is on no worker, in any way but success."""
        before = task.state
        self._moved(task, state, reason.value, now, run)
        if before is QUEUED and self.sequences.ahead_of(task) is None:
            self.ready.routes[route_key(task)].lanes[task.cost].forget(task)
        elif before is SCHEDULED:
            self.scheduled -= 1
        if self.retries is not None and task.past is not None:
            self.retries.end(task.past)
        task.reason = reason
        task.value = error
        task.ended_at = now
        self.live -= 1
        if task.options.order_key is not None:
            following = self.sequences.leave(task)
            if following is not None:
                self.turns.append(following)
        if state is TaskState.DEAD:
            self.dead += 1
        elif state is TaskState.CANCELLED:
            self.cancelled += 1
        else:
            self.dropped += 1
        self.outbox.append((Effect.SETTLED, task, None))

    def _retry_after(self, now: float) -> float | None:
        """Seconds until the earliest event that is known to free a place, if any is."""
        return None if self._plan_at is None else max(self._plan_at - now, 0.0)

    def _counts(self, what: Due, whom: Any, when: float) -> bool:
        """True while an entry of the agenda means something."""
        if what is RETRY:
            return bool(whom.state is SCHEDULED and whom.due == when)
        if what is Due.PLAN:
            return bool(when == self._plan_at)
        if what is Due.SPILL:
            return bool(whom.spill_at == when)
        if what is Due.REVIEW:
            return when == self._review_at
        if what is Due.DEADLINE:
            return bool(not whom.has_ended() and whom.deadline == when)
        if what is Due.START_BY:
            return bool(whom.state is QUEUED)
        if what is Due.HEDGE:
            return bool(whom.state is RUNNING and whom.past.hedges.due_at == when)
        if what is Due.LIMIT:
            return bool(whom.watch_at == when)
        if what is Due.COOL:
            return bool(whom.state is WorkerState.COOLING and whom.cooling_until == when)
        if what is Due.GRACE:
            return bool(whom.grace_at == when)
        if what is Due.REBUILD:
            return bool(whom.state is WorkerState.FAILED and whom.rebuild_at == when)
        return bool((self if whom is None else whom).resume_at == when)

    # -- telling ---------------------------------------------------------------------------------

    def _moved(
        self,
        task: Task,
        new: TaskState,
        reason: str,
        now: float,
        run: tuple[Any, ...] | None = None,
    ) -> None:
        """Move a task off the straight path, and write that down, with the run that led there."""
        if task.state is not SCHEDULED or new is not QUEUED:  # else the next lap begins with it
            task.leave_straight_path(new, reason, now, self.settings.history_limit, run)
        if self.observed:
            self._told(task, task.state, new, reason, now)
        task.state = new

    def _told(self, task: Task, old: TaskState, new: TaskState, reason: str, now: float) -> None:
        if task.is_hedge:
            return  # to its observers, a task that is hedged is just running
        on_worker = old in (RESERVED, RUNNING) or new in (RESERVED, RUNNING)
        name = task.holder.name if on_worker else None
        self.outbox.append((Effect.EVENT, TaskMoved(task, old, new, reason, name, now), None))

    def _told_worker(self, record: WorkerRecord, old: WorkerState, reason: str, now: float) -> None:
        # Every move passes here, but for those to and from a task, which do not count.
        self.roster.recount()
        if self.observed:
            event = WorkerMoved(record.ref, old, record.state, reason, now)
            self.outbox.append((Effect.EVENT, event, None))

    def _told_breaker(
        self, record: WorkerRecord, old: BreakerState, new: BreakerState, reason: str, now: float
    ) -> None:
        event = BreakerMoved(record.ref, old, new, reason, now)
        self.outbox.append((Effect.BREAKER, record, event))


def route_key(task: Task) -> RouteKey:
    """The route of a task as it stands: its wishes, and the workers it has tried."""
    tried = task.tried_mask
    return wishes(task.options, tried, task.spent_mask) if tried else wishes(task.options)


def is_usual(key: RouteKey) -> bool:
    """True for a task that any worker may run, but for those it has tried in this round."""
    return not key.require and key.worker is None and not key.spent
