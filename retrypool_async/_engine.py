"""The engine: the only caller of the ledger, and the only reader of the clock.

Everything that happens (a submit, the end of an attempt, a timer, an operator's command) is one
step of the ledger, after which the engine carries out what the ledger left in its outbox.
Nothing polls: one timer is armed, for the earliest time at which anything falls due.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop  # pyright: ignore[reportPrivateUsage]
from contextlib import suppress
from contextvars import Context, copy_context
from math import inf
from typing import TYPE_CHECKING, Any

from ._books import Effect
from ._errors import PoolClosed
from ._explain import explain
from ._handle import TaskHandle
from ._hooks import Subscription
from ._rehearsal import Rehearsal
from ._reports import Settlement
from ._snapshot import Snapshot, take_snapshot
from ._states import (
    FINAL_STATES,
    AttemptOutcome,
    Order,
    Stop,
    TaskState,
    WorkerState,
)
from ._steps import cut_own_frames
from ._task import Task
from ._twin import actual
from ._waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._elastic import Elastic
    from ._forecast import Forecast
    from ._ready import RouteKey
    from ._record import WorkerRecord
    from ._reports import Allowance
    from ._task import Cost, TaskOptions
    from ._worker import Traits

logger = logging.getLogger("retrypool_async")

#: What tasks share whose submitters have set nothing: attempts and hooks run in copies of it.
NO_VARIABLES = Context()

ERROR = AttemptOutcome.ERROR  # looked up once: most failures are of this kind


class Engine(Waiting):
    """Makes things happen, for one run of one pool on one event loop."""

    # -- submitting ----------------------------------------------------------------------------

    def submit(
        self, data: Any, options: TaskOptions, cost: Cost, key: RouteKey, origin: int | None
    ) -> TaskHandle[Any]:
        """Hand a new task to the ledger. Raises what that raises."""
        if _get_running_loop() is not self.loop:
            self.call_time()  # says what is wrong
        clock = self._time
        now = clock()
        if now < self._not_before:
            now = self._not_before
        task: TaskHandle[Any] = TaskHandle(
            self, data, options, cost, copy_context() or NO_VARIABLES, now
        )
        if origin is not None:
            task.origin = origin
        if options.on_done is not None:
            task.callbacks = [options.on_done]
        ledger = self.ledger
        try:
            ledger.submit(task, key, now)
        except BaseException:
            self.carry_out()  # what a refused task has set going concerns others
            raise
        if options.on_queued is not None:
            self.observers.call("on_queued", options.on_queued, task, task.context)
        if ledger.outbox or ledger.elastic is not None or ledger.agenda.next_at < self._armed_at:
            self.carry_out()
        return task

    # -- what runners report -------------------------------------------------------------------

    @property
    def ending(self) -> bool:
        """True once the event loop, not the pool, is putting an end to everything."""
        return self.ending_check()

    def employ(self, elastic: Elastic) -> None:
        """From now on, keep the number of workers within bounds."""
        self.ledger.employ(elastic, self.now())
        self.carry_out()

    def equip(self, record: WorkerRecord, worker: Any, traits: Traits) -> None:
        """The factory has made a worker. Raises `WorkerRemoved` when it is wanted no more."""
        self.ledger.equip(record, worker, traits, self.now())
        self.carry_out()

    def opened(self, record: WorkerRecord, error: BaseException | None) -> None:
        self.ledger.opened(record, error, self.now())
        self._resize()
        self.carry_out()

    def begin(self, record: WorkerRecord, task: Task) -> bool:
        clock = self._time
        now = clock()
        if now < self._not_before:
            now = self._not_before
        ledger = self.ledger
        if not ledger.begin(record, task, now):
            self.carry_out()
            return False
        if task.options.on_running is not None:
            self._announce_run(task)
        if ledger.outbox or ledger.agenda.next_at < self._armed_at:
            self.carry_out()
        # A callback may have withdrawn the task.
        return record.task is task

    def _announce_run(self, task: Task) -> None:
        self.observers.call("on_running", task.options.on_running, task, task.context)

    def succeeded(self, record: WorkerRecord, task: Task, value: Any, go_on: bool) -> Task | None:
        clock = self._time
        now = clock()
        if now < self._not_before:
            now = self._not_before
        ledger = self.ledger
        if record.task is not task:
            task = actual(task)
            if record.task is not task:
                return self._late(record, now)
        following = ledger.succeed(record, task, value, now, go_on)
        if task.waiters is not None:
            self._wake(task)
        self._catch_up()
        if task.callbacks is not None:
            self._call_back(task)
        task.context = None
        if go_on and following is not None and following.options.on_running is not None:
            self._announce_run(following)
        return following

    def failed(
        self, record: WorkerRecord, task: Task, error: BaseException, go_on: bool
    ) -> Task | None:
        now = self.now()
        ledger = self.ledger
        if record.task is not task:
            task = actual(task)
            if record.task is not task:
                return self._late(record, now)
        if record.stop is not None or self.ending_check():
            ruling = ledger.stopped_ruling(task, record.stop)
        else:
            cut_own_frames(error)
            policy = self._policy(task)
            wait = self._judge.usual_wait(task, record, error, policy)
            if wait is not None:
                self._log_failure(task, record, ERROR, error)
                following = ledger.retry_later(record, task, error, wait, now, go_on)
                self._catch_up()
                if go_on and following is not None and following.options.on_running is not None:
                    self._announce_run(following)
                return following
            ruling = self._judge.rule(task, record, error, policy, now)
            if ruling.outcome is AttemptOutcome.THROTTLED:
                self._log_throttle(task, record, ruling.cool_for)
            else:
                self._log_failure(task, record, ruling.outcome, ruling.error)
        following = ledger.fail(record, task, ruling, now)
        self.carry_out()
        return following

    def _catch_up(self) -> None:
        """Carry out what the end of an attempt has left to be done: mostly nothing."""
        ledger = self.ledger
        if (
            ledger.outbox
            or self._conditions
            or ledger.elastic is not None
            or ledger.agenda.next_at < self._armed_at
        ):
            self.carry_out()

    def _late(self, record: WorkerRecord, now: float) -> Task | None:
        """The code of an attempt that was cut off has ended; what it says does not count."""
        self.stuck_workers.discard(record.name)
        following = self.ledger.unwound(record, now)
        self.carry_out()
        return following

    def _log_failure(
        self,
        task: Task,
        record: WorkerRecord,
        outcome: AttemptOutcome,
        error: BaseException | None,
    ) -> None:
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                "task %d on %s: %s (%s)",
                task.id,
                record.name,
                outcome.name,
                type(error).__name__,
                extra={"pool": self.settings.name, "worker": record.name, "task": task.id},
            )

    def _log_throttle(self, task: Task, record: WorkerRecord, cool_for: float | None) -> None:
        if record.state is not WorkerState.COOLING:
            logger.warning(
                "worker %s throttled, cools for %.3g s",
                record.name,
                cool_for,
                extra={"pool": self.settings.name, "worker": record.name, "task": task.id},
            )

    def attended(self, record: WorkerRecord, order: Order, error: BaseException | None) -> None:
        self.stuck_workers.discard(record.name)
        self.ledger.attended(record, order, error, self.now())
        self.carry_out()

    def stuck(self, record: WorkerRecord) -> None:
        self.ledger.stuck(record, self.now())
        self.carry_out()

    def broken(self, record: WorkerRecord, error: BaseException) -> None:
        self.ledger.broken(record, error, self.now())
        self.carry_out()

    def teardown_failed(self, record: WorkerRecord, error: BaseException) -> None:
        self.failed_teardowns.append((record.name, error))

    def gone(self, record: WorkerRecord) -> None:
        self.stuck_workers.discard(record.name)
        self.ledger.ending = self.ledger.ending or self.ending
        self.ledger.gone(record, self.now())
        self.carry_out()

    # -- for handles ---------------------------------------------------------------------------

    def awaiter_gave_up(self, task: Task, future: asyncio.Future[None]) -> None:
        """Somebody awaiting a task awaits it no more. The last one takes the task along."""
        if task.waiters is not None and future in task.waiters:
            task.waiters.remove(future)
            if not task.waiters and not task.options.detach:
                self.cancel(task)

    def cancel(self, task: Task) -> bool:
        if task.state in FINAL_STATES:
            return False
        withdrawn = self.ledger.cancel(task, self.call_time())
        self.carry_out()
        return withdrawn

    async def wait_for_end(self, task: Task, timeout: float | None) -> None:
        """Wait for a task's end without being one of those whose cancellation counts."""
        future: asyncio.Future[None] = self.loop.create_future()
        if task.waiters is None:
            task.waiters = []
        task.waiters.append(future)
        try:
            # A wait that is bounded ends in any case, so it cannot be in vain.
            await self.listen(future, task if timeout is None else None, timeout)
        finally:
            if task.waiters is not None and future in task.waiters:
                task.waiters.remove(future)

    async def reached(self, task: TaskHandle[Any], state: TaskState) -> bool:
        if not isinstance(state, TaskState):
            raise TypeError(f"state must be a TaskState, got {type(state).__name__}")
        if task.state is state or any(move.new is state for move in task.history):
            return True
        if task.state in FINAL_STATES:
            return False
        future: asyncio.Future[bool] = self.loop.create_future()
        self._reached.setdefault(task, []).append((state, future))
        self._watch()
        try:
            await self.listen(future, task)
            return future.result()
        finally:
            waiting = self._reached.get(task, [])
            if (state, future) in waiting:
                waiting.remove((state, future))
            if not waiting:
                self._reached.pop(task, None)
            self._watch()

    def add_done_callback(self, task: Task, callback: Callable[[Any], object]) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        if task.state in FINAL_STATES:
            if self.loop.is_closed():
                self.observers.call("on_done", callback, task, None)
            else:
                self.loop.call_soon(self.observers.call, "on_done", callback, task, None)
        elif task.callbacks is None:
            task.callbacks = [callback]
        else:
            task.callbacks.append(callback)

    def remaining(self, task: Task) -> float | None:
        limits: list[float] = []
        if task.deadline is not None:
            limits.append(task.deadline)
        if task.options.attempt_timeout is not None and task.state is TaskState.RUNNING:
            limits.append(task.started_at + task.options.attempt_timeout)
        return max(min(limits) - self.now(), 0.0) if limits else None

    def hear(self, task: Task, run: int, report: Settlement | Allowance) -> None:
        """Take down what an attempt reports. It may call from a thread of its own."""
        if _get_running_loop() is not self.loop:
            with suppress(RuntimeError):  # the loop has been closed, and with it all books
                self.loop.call_soon_threadsafe(self.hear, task, run, report)
            return
        task = actual(task)
        if isinstance(report, Settlement):
            self.ledger.settle(task, run, report, self.now())
        else:
            self.ledger.sync(task, run, report, self.quotas, self.now())
        self.carry_out()

    def forecast(self, options: TaskOptions, cost: Cost, key: RouteKey) -> Forecast:
        """When and where a task would start that was submitted now. Raises what that would."""
        now = self.call_time()
        rehearsal = Rehearsal(self.ledger, now)
        rehearsal.submit(Task(None, None, options, cost, None, now), key, now)
        return rehearsal.forecast()

    def explain(self, task: Task) -> str:
        return explain(self.ledger, task, self.now())

    def subscribe(self) -> Subscription:
        """Start listening to events."""
        subscription = Subscription(self._unsubscribe)
        self.observers.subscriptions.append(subscription)
        self._watch()
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self.observers.subscriptions:
            self.observers.subscriptions.remove(subscription)
        self._watch()

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.ledger, self.quotas, self.now())

    # -- the end -------------------------------------------------------------------------------

    def shut(self) -> None:
        """Take no more tasks."""
        self.open = False
        self._check_conditions()

    def sweep(self) -> None:
        """Settle whatever is left, however the pool came to its end.

        Runs when the supervisor is gone: normally there is nothing left, but the loop may have
        ended with the pool open. Waiters are woken only while the loop can still run them.
        """
        self.open = False
        ledger, now = self.ledger, self.now()
        error = PoolClosed("the pool ended before the task was done")
        ledger.ending = True
        for record in list(ledger.roster.workers.values()):
            task = record.task
            if task is not None and task.state is TaskState.RUNNING:
                ruling = ledger.stopped_ruling(task, Stop.CLOSE)
                ledger.fail(record, task, ruling, now, cut_off=True)
        ledger.end_waiting(error, now)
        for record in ledger.roster.workers.values():
            record.runner.dispose()
        for effect, subject, _ in ledger.outbox:
            if effect is Effect.SETTLED and not self.loop.is_closed():
                self._settled(subject)
        ledger.outbox.clear()
        for subscription in self.observers.subscriptions:
            subscription.end()
        for waiting in self._reached.values():
            for _, future in waiting:
                if not future.done():
                    future.set_result(False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_at = -inf  # nothing is armed any more
        self._check_conditions()
