"""What was seen of a running pool, counted by eye, and held against what was promised.

Nothing here asks the pool how it is doing, except to compare the answer with its own count. The
workers report what is done to them, the driver reports what it asks for, and the witness
objects when the two do not go together.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from retrypool_async import (
    Bounce,
    Bucket,
    Forecast,
    Pool,
    PoolClosed,
    Quota,
    QuotaTimeout,
    RetryPoolError,
    Snooze,
    TaskHandle,
    TaskState,
    Throttled,
    Verdict,
    Window,
    WorkerLost,
)

if TYPE_CHECKING:
    from tests.chaos.workers import ChaosWorker

#: Times closer than this are the same instant: the virtual loop itself steps by a nanosecond.
INSTANT = 1e-6


def now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return inf  # the loop is over


@dataclass(eq=False)
class Job:
    """One submit: what was asked for, and what was seen of it."""

    number: int
    kind: str
    cost: Mapping[str, float] = field(default_factory=lambda: {"requests": 1.0})
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    bounces: bool = False
    #: Seconds from the start of an attempt to its hedge, at the least; None if it has none.
    hedge: float | None = None
    #: Seconds that an attempt may take before it does what its kind does.
    slow: float = 0.0
    #: The worker it is pinned to.
    pin: ChaosWorker | None = None
    handle: TaskHandle[Any] | None = None
    accepted_at: float = 0.0
    runs: list[Run] = field(default_factory=list["Run"])
    #: When it may run again, if that is known exactly, and why it may not before.
    due: float | None = None
    #: Runs after which an attempt was certainly spent.
    failures: int = 0
    #: Workers that it has been told to leave; those that it must not go back to for as long as
    #: the staff is as it was then.
    left: set[ChaosWorker] = field(default_factory=set["ChaosWorker"])
    tried: set[ChaosWorker] = field(default_factory=set["ChaosWorker"])
    tried_at: float = 0.0
    tried_epoch: int = -1
    #: The time from which on somebody wants it cancelled; and whether only somebody may.
    cancelled_at: float = inf
    may_be_cancelled: bool = False
    #: Attempts that were certainly spent on each worker.
    spent_on: Counter[ChaosWorker] = field(default_factory=Counter["ChaosWorker"])
    dropped: bool = False
    ends: int = 0
    outcome: str = ""
    error: BaseException | None = None
    value: object = None

    @property
    def deadline(self) -> float:
        limit: float = self.options.get("timeout", inf)
        return self.accepted_at + limit

    @property
    def start_by(self) -> float:
        limit: float = self.options.get("queue_timeout", inf)
        return self.accepted_at + limit

    def latest(self) -> list[Run]:
        """The runs that may be in progress: the last, and the one that it hedges."""
        return self.runs[-1:] if self.hedge is None else self.runs[-2:]

    def held(self) -> int:
        """How many workers may have it."""
        assert self.handle is not None
        in_progress = sum(run.ended is None for run in self.latest())
        return in_progress or int(self.handle.state is TaskState.RESERVED)

    def __repr__(self) -> str:
        return f"job {self.number} ({self.kind}, {self.options})"


@dataclass(eq=False)
class Run:
    """One call of `run`."""

    job: Job
    worker: ChaosWorker
    started: float
    #: The pool has cancelled it, as its own code noticed.
    interrupted: bool = False
    #: Its code cancels itself, so that a cancellation says nothing about the pool.
    cancels_itself: bool = False
    #: When the pool has to take the job off it, whatever its code does, and when it may.
    limit: float = inf
    cut_off_at: float = inf
    ended: float | None = None
    error: BaseException | None = None
    value: object = None

    def hit(self) -> None:
        """Its code has been cancelled."""
        self.interrupted |= not self.cancels_itself

    def goes_on(self, at: float) -> bool:
        """True while it is in progress, and nothing can have been done to end it."""
        stopped = self.interrupted or at > self.cut_off_at - INSTANT
        return self.ended is None and not stopped and not self.job.ends


class Budget:
    """A quota, and every start that was charged to it."""

    def __init__(self, limits: Mapping[str, Window | Bucket]) -> None:
        self.limits = limits
        self.quota = Quota(**limits)
        #: Whoever comes to share it must not start before, and may be expected to start after.
        self.cools_until = self.has_cooled_by = 0.0
        self._starts: list[tuple[float, Mapping[str, float]]] = []
        #: Of each bucket: how full it was, and when.
        self._levels: dict[str, tuple[float, float]] = {}

    def replaced_by(self, limits: Mapping[str, Window | Bucket], at: float) -> Budget:
        """A budget of the same dimensions that goes on from the use of this one."""
        successor = Budget(limits)
        successor._starts = list(self._starts)
        successor.cools_until, successor.has_cooled_by = self.cools_until, self.has_cooled_by
        successor._levels = {
            name: (self._level(name, limit, at), at)
            for name, limit in self.limits.items()
            if isinstance(limit, Bucket)
        }
        return successor

    def charge(self, cost: Mapping[str, float], at: float) -> None:
        for name, limit in self.limits.items():
            if isinstance(limit, Bucket):
                self._levels[name] = (self._level(name, limit, at) + cost.get(name, 0.0), at)
        self._starts.append((at, cost))

    def exceeded_by(self, cost: Mapping[str, float], at: float) -> bool:
        """True when a cost that has just been charged was more than was left."""
        return any(
            self._used(name, limit, at, -1e-8) > limit.limit + 1e-6
            for name, limit in self.limits.items()
            if cost.get(name)
        )

    def limits_both(self, one: Mapping[str, float], other: Mapping[str, float]) -> bool:
        """True when two costs take from one of its dimensions."""
        return any(one.get(name) and other.get(name) for name in self.limits)

    def has_room(self, cost: Mapping[str, float], at: float) -> bool:
        """True when there is, beyond doubt, room for a cost."""
        return all(
            self._used(name, limit, at, INSTANT) + cost[name] <= limit.limit - 1e-6
            if isinstance(limit, Bucket)
            else self._used(name, limit, at, INSTANT) + cost[name] <= limit.limit
            for name, limit in self.limits.items()
            if cost.get(name)
        )

    def _used(self, name: str, limit: Window | Bucket, at: float, slack: float) -> float:
        if isinstance(limit, Bucket):
            return self._level(name, limit, at)
        return sum(
            cost.get(name, 0.0)
            for started, cost in self._starts
            if started > at - limit.per - slack
        )

    def _level(self, name: str, limit: Bucket, at: float) -> float:
        level, when = self._levels.get(name, (0.0, at))
        return max(0.0, level - (at - when) * limit.limit / limit.per)


class Witness:
    """Collects what must not be."""

    def __init__(self, grace: float, throttle_cooldown: float) -> None:
        self.grace, self.throttle_cooldown = grace, throttle_cooldown
        self.broken: list[str] = []
        self.trace: list[tuple[Any, ...]] = []
        self.jobs: list[Job] = []
        self.workers: list[ChaosWorker] = []
        self.paused_until = 0.0
        self.concurrency: int | None = None
        #: The longest wait of the pool's retry policy if it is always the same, and its attempts.
        self.delay: float | None = None
        self.attempts: int | None = None
        #: Counts what is done to workers: as long as it stands still, so do their prospects.
        self.epoch = 0
        self.closing = self.closed = False
        self.max_quota_wait: float | None = None

    def demand(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(f"at {now():.6f}: {what}")

    # -- tasks ---------------------------------------------------------------------------------

    def accepted(self, handle: TaskHandle[Any]) -> None:
        job: Job = handle.data
        self.demand(job.handle is None, f"{job} is accepted twice")
        job.handle, job.accepted_at = handle, now()
        self.jobs.append(job)
        self.trace.append((now(), "accepted", job.number))
        if handle.done():
            self._settled(handle)
        else:
            handle.add_done_callback(self._settled)

    def _settled(self, handle: TaskHandle[Any]) -> None:
        job: Job = handle.data
        job.ends += 1
        self.demand(job.ends == 1, f"{job} settles {job.ends} times")
        try:
            job.value = handle.result()
            job.outcome = "succeeded"
        except BaseException as error:
            job.error = error
            if isinstance(error, (asyncio.CancelledError, PoolClosed)):
                job.outcome = "cancelled"
            else:
                job.outcome = "dropped" if job.dropped else "dead"
        self.trace.append((now(), job.outcome, job.number, type(job.error).__name__))
        if job.outcome == "succeeded":
            is_last = any(job.value is run.value for run in job.latest())
            self.demand(is_last, f"{job} succeeds with what its last run did not return")
        elif job.outcome == "cancelled":
            asked = job.may_be_cancelled or job.cancelled_at < inf
            self.demand(asked or self.closing, f"{job} is cancelled, and nobody asked for it")
        else:
            own = isinstance(job.error, RetryPoolError)
            raised = any(job.error is run.error for run in job.runs)
            self.demand(own or raised, f"{job} ends with {job.error!r}, which nobody raised")
            if isinstance(job.error, QuotaTimeout):
                self._ends_for_quota(job, job.error, now())

    def _ends_for_quota(self, job: Job, error: QuotaTimeout, at: float) -> None:
        """Quota alone must have kept it waiting, and for too long."""
        assert job.handle is not None
        waited, wait = job.handle.times.quota, error.next_available or 0.0
        limit = inf if self.max_quota_wait is None else self.max_quota_wait
        self.demand(waited + wait > limit, f"{job} ends, and could have waited for quota")
        if any(other.handle and other.handle.state is TaskState.RESERVED for other in self.jobs):
            return  # what those will use is not charged here yet
        for worker in self.workers:
            might = worker.is_free(at) and self._suits(worker, job) and worker not in job.left
            room = all(budget.has_room(job.cost, at) for budget in worker.budgets)
            self.demand(not (might and room), f"{job} ends for quota, which {worker.name} has")

    def is_told(self, forecast: Forecast, cost: Mapping[str, float], tags: Sequence[str]) -> None:
        """What is forecast of a task with these wishes, when nothing can happen at this instant."""
        at = now()
        if forecast.waiting_for == "nothing":
            assert forecast.worker is not None
            name = forecast.worker.name
            chosen = next(worker for worker in self.workers if worker.name == name)
            self.demand(chosen.in_use is None and chosen.is_open, f"{name} is not free")
            return
        if forecast.start_in is None:
            return  # a worker that has rested may have to check its resource first
        alone = all(job.ends or job.held() for job in self.jobs)
        if alone and self.paused_until <= at - INSTANT and self.concurrency is None:
            for worker in self.workers:
                might = worker.is_free(at) and {*tags} <= {*worker.tags}
                room = all(budget.has_room(cost, at) for budget in worker.budgets)
                self.demand(not (might and room), f"{worker.name} could take what gets {forecast}")

    # -- attempts ------------------------------------------------------------------------------

    def begins(self, worker: ChaosWorker, job: Job) -> Run:
        at = now()
        limit = min(at + job.options.get("attempt_timeout", inf), job.deadline)
        run = Run(job, worker, at, limit=limit, cut_off_at=limit)
        self.trace.append((at, "starts", job.number, worker.name))
        self._worker_may_start(worker, job, at)
        self._job_may_start(worker, job, at)
        job.runs.append(run)
        worker.last_run = run
        worker.reset_since = False
        job.due = None
        if self.concurrency is not None:
            atwork = len(self._at_work())
            self.demand(atwork <= self.concurrency, f"{atwork} attempts at once")
        for budget in worker.budgets:
            budget.charge(job.cost, at)
            self.demand(
                not budget.exceeded_by(job.cost, at), f"{worker.name} exceeds a quota with {job}"
            )
        return run

    def _worker_may_start(self, worker: ChaosWorker, job: Job, at: float) -> None:
        who = f"{worker.name} starts {job}"
        self.demand(worker.in_use is None, f"{who} during {worker.in_use}")
        self.demand(worker.is_open, f"{who} while closed")
        self.demand(not worker.needs_reset, f"{who} without a reset after a cut-off")
        self.demand(not worker.leaving, f"{who} after it was told to leave")
        self.demand(at >= worker.paused_until - INSTANT, f"{who} while paused")
        self.demand(at >= worker.cools_until - INSTANT, f"{who} while cooling")
        self.demand(at >= self.paused_until - INSTANT, f"{who} while the pool is paused")
        self.demand(not self.closed, f"{who} after the close")

    def _job_may_start(self, worker: ChaosWorker, job: Job, at: float) -> None:
        self.demand(job.handle is not None, f"{job} starts before it is accepted")
        self.demand(not job.ends, f"{job} starts after its end")
        self.demand(at < job.deadline, f"{job} starts at its deadline or later")
        if not job.runs:
            self.demand(at <= job.start_by + INSTANT, f"{job} starts after its queue_timeout")
        others = [run for run in job.runs if run.goes_on(at)]
        if job.hedge is None:
            self.demand(not others, f"{job} runs twice at once")
        else:
            self.demand(len(others) <= 1, f"{job} runs {len(others) + 1} times at once")
            for run in others:
                early = at < run.started + job.hedge - INSTANT
                self.demand(not early, f"{job} is hedged at {at}, run at {run.started}")
        if job.due is not None:
            self.demand(at >= job.due - INSTANT, f"{job} starts early: due at {job.due:.6f}")
        if self.attempts is not None:
            self.demand(job.failures < self.attempts, f"{job} has no attempt left")
        self.demand(self._suits(worker, job), f"{job} starts on {worker.name}, which it must not")
        most = worker.max_attempts_per_task
        allowed = most is None or job.spent_on[worker] < most
        self.demand(allowed, f"{job} starts on {worker.name}, which has seen enough of it")
        if worker in job.tried and job.tried_epoch == self.epoch:
            fresh = [
                other.name
                for other in self.workers
                if self._suits(other, job)
                and other not in job.left
                and other.is_open
                and not other.leaving
                and other.paused_until < job.tried_at - INSTANT
                and all(budget.has_room(job.cost, inf) for budget in other.budgets)
            ]
            self.demand(not fresh, f"{job} is back on {worker.name} before {fresh}")

    def _suits(self, worker: ChaosWorker, job: Job) -> bool:
        required = job.options.get("require", ())
        required = {required} if isinstance(required, str) else set(required)
        return required <= set(worker.tags) and job.pin in (None, worker)

    def ends(self, run: Run, value: object, error: BaseException | None) -> None:
        at, job, worker = now(), run.job, run.worker
        run.ended, run.value, run.error = at, value, error
        self.trace.append((at, "ends", job.number, worker.name, type(error).__name__))
        if isinstance(error, asyncio.CancelledError):
            run.hit()
            if job.bounces:
                self._stay_away(job, worker)
            elif worker.max_attempts_per_task is not None:
                job.left.add(worker)  # perhaps: it may have been the last that is allowed
        if run.interrupted:
            worker.misses_known = False
            if job.bounces or worker.max_attempts_per_task is not None:
                job.left.add(worker)  # perhaps: it may have swallowed the end of its time
            return  # what it says may not count
        if error is None:
            worker.misses, worker.misses_known = 0, True
        elif isinstance(error, Throttled):
            self._throttled(worker, error, at)
        elif isinstance(error, WorkerLost):
            self.staff_changes()
            worker.leaving |= error.args[0].endswith("for good")
        elif isinstance(error, Snooze):
            job.due = at + error.seconds
        elif isinstance(error, Bounce):
            self._stay_away(job, worker)
            self._spent(job, worker)
        elif isinstance(error, Exception) and not isinstance(error, Verdict):
            if any(other.ended is None for other in job.latest()):
                if job.bounces:
                    self._stay_away(job, worker)
                return  # its hedge goes on, or it was one
            job.failures += 1
            self._spent(job, worker)
            if self.delay is not None and not job.options.get("immediate"):
                job.due = at + self.delay
            if job.bounces:
                self._stay_away(job, worker)

    def _spent(self, job: Job, worker: ChaosWorker) -> None:
        """An attempt was spent for certain; if the worker allows no more, the job must leave it."""
        job.spent_on[worker] += 1
        if job.spent_on[worker] == worker.max_attempts_per_task:
            job.left.add(worker)

    def _stay_away(self, job: Job, worker: ChaosWorker) -> None:
        if job.tried_epoch != self.epoch:
            job.tried.clear()
        job.tried.add(worker)
        job.left.add(worker)
        job.tried_epoch = self.epoch
        job.tried_at = now()

    def _throttled(self, worker: ChaosWorker, error: Throttled, at: float) -> None:
        if error.retry_after is not None:
            shortest = longest = error.retry_after
            worker.misses, worker.misses_known = 0, True
        else:
            known = worker.misses if worker.misses_known else 0
            shortest = min(60.0, self.throttle_cooldown * 2.0**known)
            longest = shortest if worker.misses_known else 60.0
            worker.misses = known + 1
        shares = set(worker.budgets) if error.scope == "quota" else set[Budget]()
        for budget in shares:
            budget.cools_until = max(budget.cools_until, at + shortest)
            budget.has_cooled_by = max(budget.has_cooled_by, at + longest)
        for other in self.workers:
            if other is worker or shares & set(other.budgets):
                if other.has_joined:
                    other.cools_until = max(other.cools_until, at + shortest)
                other.has_cooled_by = max(other.has_cooled_by, at + longest)

    def waits(self, state: Any) -> float:
        """Part of a retry policy: the wait that it computed, remembered."""
        job: Job = state.args[0]
        seconds = (0.0, 0.5, 2.0)[(job.number + state.attempt_number) % 3]
        if not isinstance(state.outcome.exception(), Bounce) and not job.options.get("immediate"):
            job.due = now() + seconds
        return seconds

    def staff_changes(self) -> None:
        self.epoch += 1

    def _at_work(self) -> list[Run]:
        """The attempts in progress that nobody has stopped."""
        return [run for job in self.jobs for run in job.latest() if run.goes_on(now())]

    # -- when nothing can happen at this instant -------------------------------------------------

    def look(self, pool: Pool[Any, Any]) -> None:
        """Compare, at a moment at which everything that can happen now has happened."""
        at = now()
        live = [job for job in self.jobs if not job.ends]
        for job in live:
            self._is_in_time(job, at)
        self._books_agree(pool, live)
        if not self.closing:
            self._nobody_idles(live, at)

    def _is_in_time(self, job: Job, at: float) -> None:
        assert job.handle is not None
        state = job.handle.state
        late = at - INSTANT
        self.demand(late <= job.deadline, f"{job} lives past its timeout")
        self.demand(bool(job.runs) or late <= job.start_by, f"{job} waits past its queue_timeout")
        self.demand(late <= job.cancelled_at + self.grace, f"{job} does not end when cancelled")
        promised = state is TaskState.RESERVED and at < job.deadline
        self.demand(not promised, f"{job} has been promised a worker, and waits")
        if state is TaskState.SCHEDULED and job.due is not None:
            self.demand(late <= job.due, f"{job} sleeps past its due time")
        for last in job.latest():
            if last.interrupted or last.cut_off_at <= late:
                continue
            if last.ended is None:
                self.demand(last.cancels_itself or late <= last.limit, f"{job} runs past its limit")
            else:
                self.demand(last.error is not None, f"{job} returned and has not succeeded")

    def _books_agree(self, pool: Pool[Any, Any], live: Sequence[Job]) -> None:
        snapshot = pool.snapshot()
        counts = {"submitted": len(self.jobs)}
        for outcome in ("succeeded", "dead", "cancelled", "dropped"):
            counts[outcome] = sum(job.outcome == outcome for job in self.jobs)
        for name, count in counts.items():
            told = getattr(snapshot, name)
            self.demand(told == count, f"the pool counts {told} {name}, not {count}")
        waits = (TaskState.QUEUED, TaskState.RESERVED, TaskState.SCHEDULED)
        waiting = sum(snapshot.tasks[state] for state in waits)
        running = snapshot.tasks[TaskState.RUNNING]
        self.demand(
            waiting + running == len(live),
            f"the pool counts {waiting} waiting and {running} running, not {len(live)} in all",
        )
        at_work = self._at_work()
        in_progress = [run for job in live for run in job.latest() if run.ended is None]
        least, most = len({run.job for run in at_work}), len({run.job for run in in_progress})
        self.demand(
            least <= running <= most, f"the pool counts {running} running, not {least} to {most}"
        )
        fewest, hedges = len(at_work) - least, snapshot.hedges
        self.demand(
            fewest <= hedges <= len(in_progress) - most,
            f"the pool counts {hedges} hedges, not {fewest} to {len(in_progress) - most}",
        )

    def _nobody_idles(self, live: Sequence[Job], at: float) -> None:
        """No worker is free beside a job that it may run and has quota for.

        Unless an earlier job, which waits for quota, may hold that quota, or that worker.
        """
        if self.paused_until > at - INSTANT:
            return
        held = sum(job.held() for job in live)
        if self.concurrency is not None and held >= self.concurrency:
            return
        if any(job.handle and job.handle.state is TaskState.RESERVED for job in live):
            return  # promised past its deadline, which the next nanosecond ends
        idle = [worker for worker in self.workers if worker.is_free(at)]
        waiting = [job for job in live if job.handle and job.handle.state is TaskState.QUEUED]
        for worker in idle:
            for job in waiting:
                if not self._suits(worker, job) or worker in job.left:
                    continue
                if not all(budget.has_room(job.cost, at) for budget in worker.budgets):
                    continue
                if not self._is_held(worker, job, idle, waiting, at):
                    why = job.handle.explain() if job.handle else ""
                    self.demand(False, f"{worker.name} idles beside {job}: {why}")

    def _is_held(
        self,
        worker: ChaosWorker,
        job: Job,
        idle: Sequence[ChaosWorker],
        waiting: Sequence[Job],
        at: float,
    ) -> bool:
        for other in waiting:
            behind = other.options.get("priority", 0) < job.options.get("priority", 0)
            if other is job or (behind and "aging" not in other.options):
                continue
            for candidate in idle:
                if not self._suits(candidate, other) or all(
                    budget.has_room(other.cost, at) for budget in candidate.budgets
                ):
                    continue
                if candidate is worker or any(
                    budget in worker.budgets and budget.limits_both(job.cost, other.cost)
                    for budget in candidate.budgets
                ):
                    return True
        return False

    def loop_reports(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the loop would log."""
        self.demand(False, f"{context['message']}: {context.get('exception')!r}")

    # -- after the end ---------------------------------------------------------------------------

    def judge(self) -> None:
        """Everything is over."""
        for job in self.jobs:
            self.demand(job.ends == 1, f"{job} has settled {job.ends} times when all is over")
        for worker in self.workers:
            self.demand(not worker.is_open, f"{worker.name} was never closed")
            self.demand(worker.in_use is None, f"{worker.name} is still in {worker.in_use}")


@contextmanager
def quiet() -> Iterator[None]:
    """The pool's log records, thousands in one life, are not looked at here."""
    logger = logging.getLogger("retrypool_async")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False
