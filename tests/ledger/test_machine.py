"""A Hypothesis machine against the ledger alone: no event loop, no runner, time as a number."""

from __future__ import annotations

import random
from typing import Any
from unittest.mock import Mock

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from retrypool_async import (
    Bucket,
    Quota,
    RetryPoolError,
    TaskState,
    Window,
    WorkerState,
    WorkerWish,
)
from retrypool_async._books import Effect
from retrypool_async._ledger import Ledger
from retrypool_async._ready import ANY_WORKER, RouteKey
from retrypool_async._roster import WorkerRecord
from retrypool_async._ruling import Again, Ending, Ruling
from retrypool_async._settings import Settings
from retrypool_async._states import AttemptOutcome, EndReason, Order
from retrypool_async._task import ONE_REQUEST, Task, TaskOptions
from retrypool_async._waits import Wait


def pool_settings(**changes: Any) -> Settings:
    """The settings of a small pool."""
    values: dict[str, Any] = {
        "name": "machine",
        "max_queue": None,
        "no_workers": "wait",
        "dead_limit": 10,
        "history_limit": 20,
        "start_timeout": 5.0,
        "stop_timeout": 5.0,
        "stop_grace": 2.0,
        "hook_timeout": 5.0,
        "shutdown_timeout": None,
        "max_retry_after": 100.0,
        "max_throttles": 10,
        "max_worker_losses": 3,
        "max_snoozes": 10,
        "throttle_cooldown": 1.0,
        "secrets": (),
        "rng": random.Random(0),
        "debug": False,
    }
    return Settings(**{**values, **changes})


class LedgerMachine(RuleBasedStateMachine):
    """Plays the engine and the runners: does what the outbox says, at times of its own choosing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ledger = Ledger(pool_settings())
        self.tasks: list[Task] = []
        self.settled: list[Task] = []
        self.orders: dict[int, Order] = {}  # what a worker's runner is busy with
        self.unwinding: set[int] = set()  # workers whose attempt was cut off and still runs
        self.overdue: list[tuple[WorkerRecord, Task]] = []
        self.starts: dict[int, list[tuple[float, float]]] = {}
        self.limits: dict[int, tuple[float, float]] = {}
        self.refunds_possible = False
        self.add(None)
        self.open_all()

    # -- the engine's part ---------------------------------------------------------------------

    def drain(self) -> None:
        ledger = self.ledger
        while ledger.outbox:
            effect, subject, detail = ledger.outbox.popleft()
            if effect is Effect.ORDER:
                assert subject.id not in self.orders, "two orders at once"
                self.orders[subject.id] = detail
            elif effect is Effect.SETTLED:
                assert subject not in self.settled, "settled twice"
                self.settled.append(subject)
            elif effect is Effect.OVERDUE:
                self.overdue.append((subject, detail))

    def done(self) -> None:
        self.drain()
        for record, task in self.overdue:
            if record.task is task and task.state is TaskState.RUNNING:
                self.fail(
                    record, task, Ending(reason=EndReason.TIMEOUT, error=TimeoutError()), True
                )
        self.overdue.clear()
        self.drain()

    def fail(self, record: WorkerRecord, task: Task, plan: Any, cut_off: bool, **more: Any) -> None:
        outcome = more.pop("outcome", AttemptOutcome.ERROR)
        ruling = Ruling(outcome=outcome, error=ValueError("no"), task=plan, **more)
        following = self.ledger.fail(record, task, ruling, self.now, cut_off=cut_off)
        if cut_off:
            self.unwinding.add(record.id)
        if following is not None:
            assert following.state is TaskState.RESERVED

    def workers(self, *states: WorkerState) -> list[WorkerRecord]:
        return [
            record
            for record in self.ledger.roster.workers.values()
            if not states or record.state in states
        ]

    def open_all(self) -> None:
        for record in self.workers(WorkerState.STARTING):
            self.ledger.opened(record, None, self.now)
        self.done()

    def pick(self, data: st.DataObject, items: list[Any]) -> Any:
        return data.draw(st.sampled_from(items))

    def running(self) -> list[WorkerRecord]:
        return [r for r in self.workers(WorkerState.BUSY) if r.task is not None]

    # -- rules: tasks --------------------------------------------------------------------------

    @rule(
        amount=st.sampled_from([0.0, 1.0, 1.0, 1.0, 2.0, 5.0]),
        tag=st.sampled_from([None, None, "a", "b"]),
        priority=st.sampled_from([0.0, 0.0, 1.0, -1.0]),
        aging=st.sampled_from([None, None, 2.0]),
        pinned=st.sampled_from([None, None, None, 0, 1]),
        timeout=st.sampled_from([None, None, 0.0, 3.0]),
        queue_timeout=st.sampled_from([None, None, 0.0, 2.0]),
        attempt_timeout=st.sampled_from([None, None, 1.5]),
    )
    def submit(
        self,
        amount: float,
        tag: str | None,
        priority: float,
        aging: float | None,
        pinned: int | None,
        timeout: float | None,
        queue_timeout: float | None,
        attempt_timeout: float | None,
    ) -> None:
        require = frozenset() if tag is None else frozenset({tag})
        options = TaskOptions(
            priority=priority,
            aging=aging,
            require=require,
            worker=pinned,
            timeout=timeout,
            queue_timeout=queue_timeout,
            attempt_timeout=attempt_timeout,
        )
        cost = ONE_REQUEST if amount == 1.0 else (("requests", amount),)
        key = ANY_WORKER
        if require or pinned is not None or aging is not None:
            key = RouteKey(require, pinned, 0, aging)
        task = Task(None, "data", options, cost, None, self.now)
        before = self.ledger.submitted
        try:
            self.ledger.submit(task, key, self.now)
        except RetryPoolError:
            assert self.ledger.submitted == before, "refused, but recorded"
        else:
            self.tasks.append(task)
        self.done()

    @precondition(lambda self: self.workers(WorkerState.RESERVED))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        record = self.pick(data, self.workers(WorkerState.RESERVED))
        task = record.task
        assert task is not None
        # It may come too late: past the task's deadline, or for the window it was promised.
        late = task.deadline is not None and task.deadline <= self.now
        promised = task.debit is None or task.debit[1] == self.now
        begun = self.ledger.begin(record, task, self.now)
        assert begun or late or not promised
        assert record.wish is WorkerWish.RUN
        assert record.cooling_until <= self.now
        assert not self.ledger.paused
        self.done()

    @precondition(lambda self: self.running())
    @rule(data=st.data(), go_on=st.booleans())
    def succeed(self, data: st.DataObject, go_on: bool) -> None:
        record = self.pick(data, self.running())
        task = record.task
        following = self.ledger.succeed(record, task, "value", self.now, go_on)
        assert task not in self.settled
        self.settled.append(task)
        if following is not None:
            expected = TaskState.RUNNING if go_on else TaskState.RESERVED
            assert following.state is expected
        self.done()

    @precondition(lambda self: self.running())
    @rule(
        data=st.data(),
        delay=st.sampled_from([0.0, 0.0, 1.0]),
        how=st.sampled_from(["plain", "front", "keep_place", "same_worker", "elsewhere", "end"]),
        blame=st.sampled_from(["task", "task", "throttle", "quota", "rebuild", "retire"]),
        cut_off=st.booleans(),
    )
    def attempt_fails(
        self, data: st.DataObject, delay: float, how: str, blame: str, cut_off: bool
    ) -> None:
        record = self.pick(data, self.running())
        plan: Again | Ending = Ending(reason=EndReason.ATTEMPTS, error=ValueError())
        if how != "end":
            plan = Again(delay=delay, **({} if how == "plain" else {how: True}))
        more: dict[str, Any] = {}
        if blame in ("throttle", "quota"):
            scope = "worker" if blame == "throttle" else "quota"
            more = {"outcome": AttemptOutcome.THROTTLED, "counted": False, "cool_for": 2.0}
            more["cool_scope"] = scope
        elif blame in ("rebuild", "retire"):
            more = {"outcome": AttemptOutcome.WORKER_LOST, "counted": False, "worker": blame}
        self.fail(record, record.task, plan, cut_off, **more)
        self.done()

    @precondition(lambda self: self.unwinding)
    @rule(data=st.data())
    def unwind(self, data: st.DataObject) -> None:
        record_id = self.pick(data, sorted(self.unwinding))
        self.unwinding.discard(record_id)
        record = self.ledger.roster.workers.get(record_id)
        if record is not None:
            self.ledger.unwound(record, self.now)
        self.done()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = self.pick(data, self.tasks[-8:])
        ended = task.has_ended()
        assert self.ledger.cancel(task, self.now) is not ended
        self.done()

    @precondition(lambda self: any(r.stop is not None and r.task for r in self.workers()))
    @rule(data=st.data())
    def stopped_attempt_unwinds(self, data: st.DataObject) -> None:
        record = self.pick(data, [r for r in self.workers() if r.stop is not None and r.task])
        ruling = self.ledger.stopped_ruling(record.task, record.stop)
        self.ledger.fail(record, record.task, ruling, self.now)
        self.done()

    # -- rules: workers ------------------------------------------------------------------------

    @precondition(lambda self: len(self.ledger.roster.workers) < 4)
    @rule(
        quota=st.sampled_from([None, ("window", 2, 3.0), ("window", 1, 1.0), ("bucket", 3, 2.0)]),
        tags=st.sampled_from([(), ("a",), ("a", "b")]),
        share=st.booleans(),
        max_tasks=st.sampled_from([None, None, 2]),
    )
    def add_worker(
        self, quota: Any, tags: tuple[str, ...], share: bool, max_tasks: int | None
    ) -> None:
        self.add(quota, tags, share, max_tasks)

    def add(
        self,
        quota: Any,
        tags: tuple[str, ...] = (),
        share: bool = False,
        max_tasks: int | None = None,
    ) -> None:
        quotas: tuple[Quota, ...] = ()
        present = [q for r in self.workers() for q in r.quotas]
        if share and present:
            quotas = (present[0],)
        elif quota is not None:
            kind, limit, per = quota
            limiter = Window(limit, per=per) if kind == "window" else Bucket(limit, per=per)
            quotas = (Quota(limiter),)
        roster = self.ledger.roster
        record = WorkerRecord(roster.next_id, f"w{roster.next_id}", object(), quotas)
        roster.next_id += 1
        record.tags, record.max_tasks = frozenset(tags), max_tasks
        self.ledger.add(record, self.now)
        self.done()

    @precondition(lambda self: self.workers(WorkerState.STARTING))
    @rule(data=st.data(), fails=st.sampled_from([False, False, True]))
    def worker_opens(self, data: st.DataObject, fails: bool) -> None:
        record = self.pick(data, self.workers(WorkerState.STARTING))
        self.ledger.opened(record, OSError() if fails else None, self.now)
        self.done()

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), fails=st.sampled_from([False, False, True]))
    def order_carried_out(self, data: st.DataObject, fails: bool) -> None:
        record_id = self.pick(data, sorted(self.orders))
        order = self.orders.pop(record_id)
        record = self.ledger.roster.workers[record_id]
        if order is Order.CLOSE:
            self.ledger.gone(record, self.now)
        else:
            self.ledger.attended(record, order, OSError() if fails else None, self.now)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), until=st.sampled_from([None, None, 1.0]))
    def pause(self, data: st.DataObject, until: float | None) -> None:
        record = self.pick(data, [*self.workers(), None])
        end = None if until is None else self.now + until
        self.ledger.pause(record, "why", end, self.now)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        self.ledger.resume(self.pick(data, [*self.workers(), None]), self.now)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.5, 3.0]), clear=st.booleans())
    def cool(self, data: st.DataObject, seconds: float, clear: bool) -> None:
        record = self.pick(data, self.workers())
        if clear:
            self.ledger.clear_cooldown(record, self.now)
        else:
            self.ledger.cooldown(record, self.now + seconds, self.now)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), force=st.booleans())
    def remove(self, data: st.DataObject, force: bool) -> None:
        self.ledger.remove(self.pick(data, self.workers()), self.now, force=force)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        record = self.pick(data, self.workers())
        self.orders.pop(record.id, None)
        self.unwinding.discard(record.id)
        self.ledger.gone(record, self.now)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), limit=st.sampled_from([1, 4]))
    def set_quota(self, data: st.DataObject, limit: int) -> None:
        record = self.pick(data, self.workers())
        self.ledger.set_quotas(record, (Quota(Window(limit, per=2)),), (), self.now)
        self.done()

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), tags=st.sampled_from(["", "a", "ab"]))
    def set_tags(self, data: st.DataObject, tags: str) -> None:
        self.ledger.set_tags(self.pick(data, self.workers()), frozenset(tags), self.now)
        self.done()

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def begin_wait(self, data: st.DataObject) -> None:
        task = self.pick(data, self.running()).task
        target = self.pick(data, [t for t in self.tasks if not t.has_ended()])
        assert task is not None
        # Whether it is in vain after this step, or any later one, the audit says.
        self.ledger.begin_wait(Wait(task, target, Mock(done=lambda: False)), self.now)
        self.done()

    @rule(limit=st.sampled_from([None, None, 1, 2]))
    def set_concurrency(self, limit: int | None) -> None:
        self.ledger.set_concurrency(limit, self.now)
        self.done()

    # -- rules: time and the end ---------------------------------------------------------------

    @rule(step=st.sampled_from([0.1, 0.5, 1.0, 4.0]))
    def time_passes(self, step: float) -> None:
        end = self.now + step
        while self.ledger.agenda.next_at <= end:
            self.now = max(self.now, self.ledger.agenda.next_at)
            self.ledger.tick(self.now)
            self.done()
        self.now = end

    def teardown(self) -> None:
        ledger = self.ledger
        ledger.end_all(RetryPoolError("end"), self.now)
        self.done()
        ledger.abandon_running(RetryPoolError("end"), self.now)
        self.done()
        assert ledger.live == 0
        assert len(self.settled) == ledger.submitted
        assert not list(ledger.unfinished())
        ledger.check()

    # -- invariants ----------------------------------------------------------------------------

    @invariant()
    def the_books_balance(self) -> None:
        self.ledger.check()
        assert len(self.settled) == sum(task.has_ended() for task in self.tasks)
        assert self.ledger.submitted == len(self.tasks)

    @invariant()
    def nobody_idles_beside_work_it_has_quota_for(self) -> None:
        ledger = self.ledger
        if ledger.paused or ledger.concurrency is not None:
            return
        ready = list(ledger.ready)
        for record in ledger.roster.idle.values():
            for task in ready:
                options = task.options
                if (
                    options.require <= record.tags
                    and options.worker in (None, record.id)
                    and not task.tried & record.bit
                    and all(q.until(task.cost, self.now) == 0.0 for q in record.quotas)
                ):
                    # The only excuse: an earlier task waits for the very quota this would use.
                    assert any(self._holds(other, task, record) for other in ready), (record, task)

    def _holds(self, other: Task, task: Task, record: WorkerRecord) -> bool:
        return other is not task and any(
            quota.until(other.cost, self.now) > 0.0 for quota in record.quotas
        )

    @invariant()
    def windows_hold(self) -> None:
        for record in self.workers():
            for quota in record.quotas:
                for dimension, left in quota.left(self.now).items():
                    assert left >= 0.0, (record.name, dimension, left)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=250,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
