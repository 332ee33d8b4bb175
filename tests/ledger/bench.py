"""What tests of the ledger need: its settings, workers and tasks, and a hand to play the engine."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from retrypool_async import AttemptOutcome, Quota, TaskState
from retrypool_async._ledger import Ledger
from retrypool_async._ready import RouteKey, wishes
from retrypool_async._record import WorkerRecord
from retrypool_async._ruling import Again, Ending, Ruling
from retrypool_async._settings import Settings
from retrypool_async._task import ONE_REQUEST, Cost, Task, TaskOptions

if TYPE_CHECKING:
    from collections.abc import Iterable


def pool_settings(**changes: Any) -> Settings:
    """The settings of a small pool."""
    values: dict[str, Any] = {
        "name": "bench",
        "max_queue": None,
        "affinity_wait": 5.0,
        "lane_weights": {},
        "no_workers": "wait",
        "max_quota_wait": None,
        "dead_limit": 10,
        "history_limit": 20,
        "start_timeout": 5.0,
        "stop_timeout": 5.0,
        "check_idle": 1.0,
        "check_timeout": 5.0,
        "stop_grace": 2.0,
        "hook_timeout": 5.0,
        "shutdown_timeout": None,
        "max_retry_after": 100.0,
        "breaker": None,
        "retry_budget": None,
        "max_throttles": 10,
        "max_worker_losses": 3,
        "max_snoozes": 10,
        "throttle_cooldown": 1.0,
        "hint_jitter": 0.0,
        "classify": None,
        "secrets": (),
        "rng": random.Random(0),
        "debug": False,
    }
    return Settings(**{**values, **changes})


def cost_of(requests: float = 1.0, **others: float) -> Cost:
    """A cost as `Pool.submit` hands it to the ledger."""
    if requests == 1.0 and not others:
        return ONE_REQUEST
    return tuple(sorted({"requests": requests, **others}.items()))


def new_record(ledger: Ledger, *quotas: Quota, tags: Iterable[str] = ()) -> WorkerRecord:
    """The record of a worker that the ledger does not know yet."""
    number = ledger.roster.next_id
    ledger.roster.next_id += 1
    record = WorkerRecord(number, f"w{number}", object(), quotas)
    record.bit = 1 << number  # for tests without a ledger, which gives it another
    record.tags = frozenset(tags)
    return record


def new_task(
    now: float = 0.0,
    cost: Cost = ONE_REQUEST,
    *,
    require: Iterable[str] = (),
    data: Any = None,
    **options: Any,
) -> tuple[Task, RouteKey]:
    """A task, and the route it takes at first."""
    chosen = TaskOptions(require=frozenset(require), **options)
    return Task(None, data, chosen, cost, None, now), wishes(chosen)


class Bench:
    """A ledger, with short names for what the engine and the runners do to it."""

    def __init__(self, **changes: Any) -> None:
        self.ledger = Ledger(pool_settings(**changes))
        self.now = 0.0

    def worker(self, *quotas: Quota, tags: Iterable[str] = ()) -> WorkerRecord:
        """Add a worker and open it."""
        record = new_record(self.ledger, *quotas, tags=tags)
        self.ledger.add(record, self.now)
        self.ledger.opened(record, None, self.now)
        return record

    def submit(self, cost: float | Cost = 1.0, **options: Any) -> Task:
        amounts = cost if isinstance(cost, tuple) else cost_of(cost)
        task, key = new_task(self.now, amounts, **options)
        self.ledger.submit(task, key, self.now)
        return task

    def begin(self, record: WorkerRecord) -> Task:
        """Start what was promised to the worker."""
        task = record.task
        assert task is not None
        assert self.ledger.begin(record, task, self.now)
        return task

    def busy(self, record: WorkerRecord) -> Task:
        """Occupy a free worker with a task of its own."""
        task = self.submit(worker=record.id)
        assert self.begin(record) is task
        return task

    def succeed(self, record: WorkerRecord) -> Task | None:
        assert record.task is not None
        return self.ledger.succeed(record, record.task, "value", self.now)

    def fail(
        self,
        record: WorkerRecord,
        plan: Again | Ending,
        *,
        outcome: AttemptOutcome = AttemptOutcome.ERROR,
        cut_off: bool = False,
        **more: Any,
    ) -> Task | None:
        assert record.task is not None
        ruling = Ruling(outcome=outcome, error=ValueError("no"), task=plan, **more)
        return self.ledger.fail(record, record.task, ruling, self.now, cut_off=cut_off)

    def tick(self, now: float) -> None:
        """Let time pass, carrying out what falls due on the way, each at its time."""
        while self.ledger.agenda.next_at <= now:
            self.now = max(self.now, self.ledger.agenda.next_at)
            self.ledger.tick(self.now)
        self.now = now

    def order(self, record: WorkerRecord, amount: int) -> list[Task]:
        """Run `amount` tasks on a worker, one after the other, and return them."""
        done: list[Task] = []
        while len(done) < amount:
            assert record.task is not None, f"nothing after {[task.data for task in done]}"
            if record.task.state is TaskState.RESERVED:
                self.begin(record)
            done.append(record.task)
            self.succeed(record)
        return done
