"""The beat of the engine: after every step of the ledger, do what it left to be done.

Nothing polls: one timer is armed, for the earliest time at which anything falls due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from collections import deque
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any

from ._attempt import Attempt
from ._books import Effect
from ._dead import DeadTask, DeadTasks
from ._handle import TaskHandle
from ._hooks import Hooks, Observers
from ._judge import Judge
from ._ledger import Ledger
from ._moves import BreakerMoved, Event, TaskMoved, WorkersMissing
from ._states import (
    FINAL_STATES,
    AttemptOutcome,
    BreakerState,
    TaskState,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._quota import Quota
    from ._record import WorkerRecord
    from ._retry import RetryPolicy
    from ._router import Strategy
    from ._settings import Settings
    from ._task import Task

logger = logging.getLogger("retrypool_async")

#: Attempts that never wait, which all workers together may make in one turn of the loop; and
#: the least for each, so that turning the loop is not most of the work of many workers.
ATTEMPTS_PER_TURN, LEAST_SLICE = 512, 4


class Pulse:
    """Reads the clock, steps the ledger when something falls due, and empties its outbox."""

    def __init__(
        self,
        settings: Settings,
        *,
        strategy: Strategy,
        retry: RetryPolicy,
        hooks: Hooks,
        metadata: dict[str, Any],
        quotas: tuple[Quota, ...],
        resubmit: Callable[[DeadTask], TaskHandle[Any]],
        make: Callable[[WorkerRecord], Awaitable[None]],
        pool: object,
    ) -> None:
        self.settings = settings
        self.ledger = Ledger(settings, strategy)
        self.retry = retry
        self.hooks = hooks
        self.observers = Observers(hooks, settings.hook_timeout)
        self.dead = DeadTasks(settings.dead_limit, resubmit)
        self.quotas = quotas
        self._metadata = metadata
        self._judge = Judge(settings, self.ledger, hooks, pool)
        #: Set while tasks are taken.
        self.open = False
        #: The loop it runs on; bound by `start`, for good.
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]
        self._time: Callable[[], float] = None  # type: ignore[assignment]
        self._timer: asyncio.TimerHandle | None = None
        #: What the timer runs in: it must not keep the request alive that happened to arm it.
        self._no_context = Context()
        self._armed_at = inf
        #: The latest time a timer was due. A loop whose clock is coarse may fire early by its
        #: own reading; time never goes back for the ledger.
        self._not_before = -inf
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._reached: dict[Task, list[tuple[TaskState, asyncio.Future[bool]]]] = {}
        self.stuck_workers: set[str] = set()
        self.failed_teardowns: deque[tuple[str, BaseException]] = deque(maxlen=100)
        # What runners read of their desk.
        self.slice = ATTEMPTS_PER_TURN
        self.stop_grace = settings.stop_grace
        self.start_timeout = settings.start_timeout
        self.stop_timeout = settings.stop_timeout
        self.check_timeout = settings.check_timeout
        self.make = make
        # Set by the supervisor.
        self.ending_check: Callable[[], bool] = lambda: False
        self.launch: Callable[[WorkerRecord], None] = lambda record: None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind to the running loop."""
        self.loop = loop
        # The loop's own clock, without the detour over its method where that adds nothing.
        plain = type(loop).time is asyncio.BaseEventLoop.time
        self._time = time.monotonic if plain else loop.time
        self.hooks.attach(self._watch)
        self.open = True

    def _watch(self) -> None:
        self.ledger.observed = bool(
            self.hooks.watching or self.observers.subscriptions or self._reached
        )

    def now(self) -> float:
        """The time that the books go by."""
        if self._time is None:
            return 0.0
        now = self._time()
        return now if now > self._not_before else self._not_before

    def call_time(self) -> float:
        """The time, for what somebody asks for from outside.

        Raises:
            RuntimeError: on another event loop, or in another thread, than the pool runs on.
        """
        if _get_running_loop() is not self.loop and self.loop and not self.loop.is_closed():
            raise RuntimeError(
                "the pool runs on another event loop; from another thread use "
                "pool.submit_threadsafe, and loop.call_soon_threadsafe for all else"
            )
        return self.now()

    def _arm(self) -> None:
        when = self.ledger.agenda.next_at
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_at = when
        if when != inf:
            self._timer = self.loop.call_at(when, self._fire, context=self._no_context)

    def _fire(self) -> None:
        self._timer = None
        self._not_before = max(self._not_before, self._armed_at)
        self._armed_at = inf
        self.ledger.tick(self.now())
        self.carry_out()

    def carry_out(self) -> None:
        """Do what the ledger has left in its outbox, and see to the timer and to who waits."""
        ledger = self.ledger
        outbox = ledger.outbox
        if ledger.turns:
            ledger.take_turns(self.now())
        if ledger.elastic is not None and not self.ending_check():  # there is a host for more
            ledger.review(self.now())
        while outbox:  # taken out one by one: hooks and callbacks may lead back into this loop
            effect, subject, detail = outbox.popleft()
            if effect is Effect.ASSIGN or effect is Effect.ORDER:
                subject.runner.deliver(detail)
            elif effect is Effect.SETTLED:
                self._settled(subject)
            elif effect is Effect.EVENT:
                self._tell(subject)
            elif effect is Effect.INTERRUPT:
                subject.runner.interrupt()
            elif effect is Effect.LAUNCH:
                self.launch(subject)
            elif effect is Effect.OVERDUE:
                # Not at once: an attempt that ends at this very instant counts as in time. What
                # wakes it may be behind this timer in this turn of the loop, and then it takes
                # its last step behind the first of these two calls in the next.
                self.loop.call_soon(self.loop.call_soon, self._cut_off, subject, detail)
            elif effect is Effect.BREAKER:
                self._breaker_moved(subject, detail)
            elif effect is Effect.MISSING:
                self._workers_missing(subject)
            elif effect is Effect.LONG_WAIT:
                self._waits_long(subject, detail)
            elif effect is Effect.STUCK:
                self._stuck(subject)
            elif effect is Effect.DEADLOCK:
                if not subject.bell.done():
                    subject.bell.set_result(detail)
            else:
                self._resize()
        if ledger.agenda.next_at < self._armed_at:
            self._arm()
        if self._conditions:
            self._check_conditions()
        if self.settings.debug:
            ledger.check()

    def _resize(self) -> None:
        workers = max(1, len(self.ledger.roster.workers))
        self.slice = max(LEAST_SLICE, ATTEMPTS_PER_TURN // workers)

    def _cut_off(self, record: WorkerRecord, task: Task) -> None:
        """An attempt has reached a limit, and had a turn of the loop in which to end."""
        now = self.now()
        if record.task is not task or task.state is not TaskState.RUNNING:
            return
        if task.deadline is None or task.deadline > now:
            if record.stop is not None:
                return  # told to stop already, and in its grace
            if record.limit_at is None or record.limit_at > now:
                return  # another attempt of the same task, started since
        ruling = self._judge.timed_out(task, record, self._policy(task), now)
        self.ledger.fail(record, task, ruling, now, cut_off=True)
        self.carry_out()

    def _policy(self, task: Task) -> RetryPolicy:
        return task.options.retry or self.retry

    def _stuck(self, record: WorkerRecord) -> None:
        self.stuck_workers.add(record.name)
        logger.warning(
            "worker %s ignores being stopped and is out of use until its code ends", record.name
        )

    def _breaker_moved(self, record: WorkerRecord, event: BreakerMoved) -> None:
        opened = event.new is BreakerState.OPEN
        logger.log(
            logging.WARNING if opened else logging.INFO,
            "worker %s: breaker %s: %s",
            record.name,
            event.new.name,
            event.reason,
            extra={"pool": self.settings.name, "worker": record.name},
        )
        self._tell(event)

    def _workers_missing(self, event: WorkersMissing) -> None:
        logger.warning("tasks wait and no worker is there", extra={"pool": self.settings.name})
        self._tell(event)

    def _waits_long(self, task: Task, seconds: float) -> None:
        logger.warning(
            "task %d waits for quota for another %.3g s; this is said once",
            task.id,
            seconds,
            extra={"pool": self.settings.name, "task": task.id},
        )

    def _settled(self, task: Task) -> None:
        """A task has ended in any way but success."""
        error = task.value
        if error is not None and task.attempt_count:
            _note(error, f"attempt {task.attempt_count} on {task.holder.name}")
        if task.state is TaskState.DEAD:
            self._record_death(task)
        if task.waiters is not None:
            self._wake(task)
        if task.callbacks is not None:
            self._call_back(task)
        task.context = None
        past = task.past
        if past is not None:
            past.retry_state = None

    def _record_death(self, task: Task) -> None:
        handle: Any = task
        dead = DeadTask(
            id=task.id,
            data=task.data,
            reason=task.reason,
            error=task.value,
            attempts=handle.attempts,
            attempt_count=task.attempt_count,
            throttles=handle.throttles,
            history=handle.history,
            times=handle.times,
            metadata=dict(self.metadata_of(task)),
            origin=getattr(task, "origin", None),
            cost=task.cost,
            options=task.options,
        )
        self.dead.add(dead)
        logger.error(
            "task %d died: %s (%s)",
            task.id,
            task.reason.value,
            type(task.value).__name__,
            extra={
                "pool": self.settings.name,
                "task": task.id,
                "worker": None if handle.worker is None else handle.worker.name,
                "reason": task.reason.name,
            },
        )
        self.observers.call("on_dead", self.hooks.on_dead, dead, task.context)

    def _wake(self, task: Task) -> None:
        waiters, task.waiters = task.waiters, None
        for future in waiters or ():
            if not future.done():
                future.set_result(None)

    def _call_back(self, task: Task) -> None:
        callbacks, task.callbacks = task.callbacks or [], None
        for callback in callbacks:
            self.observers.call("on_done", callback, task, task.context)

    def _tell(self, event: Event) -> None:
        if isinstance(event, TaskMoved) and event.task in self._reached:
            self._check_reached(event.task, event.new)
        self.observers.tell(event)

    def _check_reached(self, task: Task, new: TaskState) -> None:
        for state, future in self._reached.get(task, []):
            if not future.done() and (state is new or new in FINAL_STATES):
                future.set_result(state is new)

    def metadata_of(self, task: Task) -> dict[str, Any]:
        notes = getattr(task, "notes", None)
        if notes is None:
            notes = task.notes = {**self._metadata, **(task.options.metadata or {})}
        return notes

    def last_attempt(self, task: Task) -> Attempt:
        """The attempt that has ended last."""
        if task.state is not TaskState.SUCCEEDED:
            return task.ended_attempts()[-1]
        return Attempt(
            task.run_count, task.holder.name, task.started_at, task.ended_at, AttemptOutcome.OK
        )

    def _check_conditions(self) -> None:
        for condition, future in self._conditions:
            if not future.done() and condition():
                future.set_result(None)


def _note(error: BaseException, note: str) -> None:
    """Add a note once: one error object may be raised for several tasks."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
