"""What is known of one worker: what it is, what its operator wants of it, and what it holds."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from ._states import WorkerState, WorkerWish

if TYPE_CHECKING:
    from ._breaker import Health
    from ._states import Stop
    from ._task import Cost, Task
    from ._worker import Traits

#: Seconds between tries to open a resource: doubling from the first to the last.
FIRST_DELAY, LAST_DELAY = 1.0, 60.0


def opening_delay(failures: int) -> float:
    """Seconds until a resource that failed to open so many times before is tried again."""
    # Bounded before it is raised to a power: a worker may fail for years.
    return min(FIRST_DELAY * 2.0 ** min(failures, 10), LAST_DELAY)


class WorkerRef(NamedTuple):
    """Names one worker of one pool. The id is never reused, so a ref never means another."""

    id: int
    name: str


class WorkerRecord:
    """Everything the ledger knows about one worker.

    Only the ledger writes to it. The user's worker object and its runner are carried along and
    never touched here.
    """

    __slots__ = (
        "attention",
        "bit",
        "checks",
        "cooling_until",
        "error",
        "failed",
        "grace",
        "grace_at",
        "health",
        "hints_missing",
        "id",
        "idle_since",
        "limit_at",
        "listed",
        "losses",
        "made",
        "max_age",
        "max_attempts_per_task",
        "max_tasks",
        "name",
        "needs_rebuild",
        "needs_reset",
        "opened_at",
        "pause_reason",
        "pause_told",
        "quotas",
        "rebuild_at",
        "ref",
        "resume_at",
        "retired",
        "run_seconds",
        "runner",
        "runs",
        "runs_at_open",
        "served",
        "state",
        "stop",
        "suspect",
        "tags",
        "task",
        "throttled",
        "tier",
        "watch_at",
        "weight",
        "wish",
        "worker",
    )

    def __init__(self, id: int, name: str, worker: Any, quotas: tuple[Any, ...]) -> None:
        self.id = id
        self.name = name
        self.ref = WorkerRef(id, name)
        #: This worker's place in every bitmask; the roster gives it one.
        self.bit = 0
        #: None until the factory has made it.
        self.worker = worker
        #: True for a worker from the factory.
        self.made = False
        self.runner: Any = None
        self.tags: frozenset[str] = frozenset()
        #: Those of its tags that the roster lists it under.
        self.listed: frozenset[str] = frozenset()
        self.weight = 1.0
        self.tier = 0
        self.max_tasks: int | None = None
        self.max_age: float | None = None
        self.max_attempts_per_task: int | None = None
        #: True when it can say whether its resource is still good.
        self.checks = False
        #: All quotas to debit for a run here: the worker's own, then the pool's.
        self.quotas = quotas

        self.state = WorkerState.STARTING
        self.wish = WorkerWish.RUN
        self.pause_reason: str | None = None
        #: The task it holds; set exactly while RESERVED or BUSY.
        self.task: Task | None = None
        #: Why the attempt in progress was told to stop, if it was.
        self.stop: Stop | None = None
        #: When to look again whether a stopped attempt has unwound, and how long to wait then.
        self.grace_at: float | None = None
        self.grace = 0.0
        #: When the attempt in progress must be cut off, and when the agenda next looks.
        self.limit_at: float | None = None
        self.watch_at: float | None = None
        self.cooling_until = 0.0
        self.idle_since = 0.0
        self.resume_at: float | None = None
        #: Throttles in a row for which the service gave no time.
        self.hints_missing = 0
        #: What the breaker knows of it; None without one.
        self.health: Health | None = None
        #: True when a run that succeeds has to be looked at, for one of these two.
        self.suspect = False

        self.needs_reset = False
        self.needs_rebuild = False
        self.rebuild_at: float | None = None
        #: True once the pause hook has run and the resume hook has not.
        self.pause_told = False
        #: True when it must not come back: removed, or lost for good.
        self.retired = False
        #: True when something has to be looked at before it takes the next task.
        self.attention = False
        #: Rebuilds in a row that failed.
        self.losses = 0
        self.error: BaseException | None = None
        self.opened_at = 0.0
        self.runs_at_open = 0

        self.served = 0
        self.failed = 0
        self.throttled = 0
        self.runs = 0
        self.run_seconds = 0.0

    def embody(self, worker: Any, traits: Traits, common: tuple[Any, ...]) -> None:
        """Stand for `worker` from now on. `common` are the pool's quotas."""
        self.worker = worker
        if traits.name is not None:
            self.name = traits.name
            self.ref = WorkerRef(self.id, traits.name)
        self.quotas = traits.quotas + common
        self.tags, self.weight, self.tier = traits.tags, traits.weight, traits.tier
        self.max_tasks, self.max_age = traits.max_tasks, traits.max_age
        self.max_attempts_per_task = traits.max_attempts_per_task
        self.checks = traits.checks

    def take_up_quotas(self, now: float) -> None:
        """Begin to use its quotas; cool with those that share one, if a service has refused it."""
        for quota in self.quotas:
            quota.begin(now)
            self.cooling_until = max(self.cooling_until, quota.cooling_until)

    def quota_share(self, now: float) -> float:
        """The smallest share of any quota that is left, 1.0 without a quota."""
        share = 1.0
        for quota in self.quotas:
            for dimension, left in quota.left(now).items():
                largest = quota.largest(dimension)
                if largest > 0.0 and largest != inf:
                    share = min(share, left / largest)
        return share

    def until(self, cost: Cost, now: float) -> float:
        """Seconds until all of its quotas could grant `cost`, if nobody takes from them."""
        longest = 0.0
        for quota in self.quotas:
            longest = max(longest, quota.until(cost, now))
        return longest

    def has_room(self, cost: Cost, now: float) -> bool:
        """True when all of its quotas could grant `cost` now."""
        for quota in self.quotas:  # noqa: SIM110 - asked before every start, and a loop is cheaper
            if quota.until(cost, now) > 0.0:
                return False
        return True

    def try_take(self, cost: Cost, now: float) -> bool:
        """Debit all of its quotas if they have room for `cost`; else none, and return False."""
        if not self.has_room(cost, now):
            return False
        for quota in self.quotas:
            quota.take(cost, now)
        return True

    def affords(self, cost: Cost) -> bool:
        """True when its quotas could ever grant `cost`."""
        return all(
            amount <= quota.largest(dimension)
            for quota in self.quotas
            for dimension, amount in cost
        )

    @property
    def alive(self) -> bool:
        """False once it can never again take a task without being started anew."""
        return self.state is not WorkerState.STOPPED and not self.retired

    @property
    def routable(self) -> bool:
        """True when tasks may expect it to come free without an operator's help."""
        return (
            self.wish is WorkerWish.RUN
            and not self.retired
            and self.state is not WorkerState.STOPPED
            and (self.state is not WorkerState.FAILED or self.needs_rebuild)
        )
