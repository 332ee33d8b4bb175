"""The ledger machine is worth something only if it notices what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from retrypool_async import InvariantBroken
from retrypool_async._books import Books
from retrypool_async._budget import Retries
from retrypool_async._dispatch import Dispatch
from retrypool_async._holds import Holds
from retrypool_async._lane import Lane
from retrypool_async._meters import WindowMeter
from retrypool_async._outcomes import Outcomes
from retrypool_async._roster import Roster
from retrypool_async._router import Search
from retrypool_async._staff import Staff
from retrypool_async._states import TaskState, WorkerState, WorkerWish
from retrypool_async._waiters import Waiters
from tests.ledger.test_ledger_machine import (
    AttemptLimitMachine,
    BreakerMachine,
    HoldMachine,
    LedgerMachine,
    QueueMachine,
)

if TYPE_CHECKING:
    from retrypool_async._heads import Key
    from retrypool_async._ready import Route
    from retrypool_async._record import WorkerRecord
    from retrypool_async._task import Cost, Task

Plant = pytest.MonkeyPatch


def skip_reserved(plant: Plant) -> None:
    """A worker that is promised to a task stays on the free list."""
    reserve = Dispatch._reserve

    def planted(self: Dispatch, record: WorkerRecord, *rest: Any) -> None:
        reserve(self, record, *rest)
        self.roster.set_free(record)

    plant.setattr(Dispatch, "_reserve", planted)


def forget_refund(plant: Plant) -> None:
    """A promise that is taken back is counted as refunded, and its permits stay used."""

    def planted(self: Dispatch, task: Task) -> None:
        if task.debit is not None:
            task.debit = None
            self.refunded += 1

    plant.setattr(Dispatch, "_refund", planted)


def resume_on_cooldown_end(plant: Plant) -> None:
    """A worker that has cooled is put to work, paused or not."""
    attend = Staff._attend

    def planted(self: Staff, record: WorkerRecord, now: float) -> None:
        cooled = record.state is WorkerState.COOLING and record.cooling_until <= now
        if cooled and record.wish is WorkerWish.PAUSE:
            record.wish = WorkerWish.RUN
        attend(self, record, now)

    plant.setattr(Staff, "_attend", planted)


def settle_twice(plant: Plant) -> None:
    """The end of a task is announced a second time."""
    settle = Books._settle

    def planted(self: Books, *rest: Any) -> None:
        settle(self, *rest)
        self.outbox.append(self.outbox[-1])

    plant.setattr(Books, "_settle", planted)


def keep_every_place(plant: Plant) -> None:
    """A retry goes back to the place it had, before what has become ready since."""
    requeue = Dispatch._requeue

    def planted(self: Dispatch, *rest: Any, front: bool = False, **_: bool) -> None:
        requeue(self, *rest, front=front, keep_place=True)

    plant.setattr(Dispatch, "_requeue", planted)


def expire_early(plant: Plant) -> None:
    """A window forgets what it granted a little too soon."""
    until = WindowMeter.until

    def planted(self: WindowMeter, amount: float, now: float) -> float:
        return until(self, amount, now + 0.1 * self.per)

    plant.setattr(WindowMeter, "until", planted)


def leave_the_dead_in_line(plant: Plant) -> None:
    """A task that has ended is still handed out."""

    def planted(self: Lane) -> Key | None:
        if self.heap:
            return self.heap[0][0]
        return (0.0, self.fifo[0].order) if self.fifo else None

    plant.setattr(Lane, "head_key", planted)


def hold_nothing(plant: Plant) -> None:
    """Small tasks may take what a large one waits for."""
    hold = Search.hold

    def planted(self: Search, *rest: Any) -> None:
        hold(self, *rest)
        self.holds = Holds()
        self._closed.clear()
        self._shut = 0

    plant.setattr(Search, "hold", planted)


def hold_from_everybody(plant: Plant) -> None:
    """A task that takes nothing of what is held has to wait as well."""

    def planted(self: Holds, quotas: Any, cost: Cost, now: float) -> bool:
        return self.concern(quotas)

    plant.setattr(Holds, "bar", planted)


def put_nothing_by(plant: Plant) -> None:
    """Of the dimensions that a task does not wait for, others may take what it needs."""
    keep = Holds.keep

    def planted(self: Holds, *rest: Any) -> Any:
        result = keep(self, *rest)
        for kept in self._kept.values():
            for dimension, amount in list(kept.items()):
                if amount < inf:
                    del kept[dimension]
        return result

    plant.setattr(Holds, "keep", planted)


def leave_nobody_alone(plant: Plant) -> None:
    """A worker is not kept for a task that may not go where its quota is used meanwhile."""
    plant.setattr(Roster, "all_in", lambda self, mask, quota: True)


def come_too_late(plant: Plant) -> None:
    """Who waits with others for quota is looked at later than it has some."""
    next_at = Waiters.next_at.fget
    assert next_at is not None

    def planted(self: Waiters) -> float | None:
        when = next_at(self)
        return None if when is None else when + 10.0

    plant.setattr(Waiters, "next_at", property(planted))


def let_them_overtake(plant: Plant) -> None:
    """A task that waits for its retry loses its turn to the next of its key."""
    moved = Books._moved

    def planted(self: Books, task: Task, new: TaskState, *rest: Any) -> None:
        moved(self, task, new, *rest)
        if new is TaskState.SCHEDULED and task.options.order_key is not None:
            following = self.sequences.leave(task)
            self.sequences.join(task)
            self.sequences.put_in_play(task)
            if following is not None:
                self.turns.append(following)

    plant.setattr(Books, "_moved", planted)


def forget_who_tried(plant: Plant) -> None:
    """A bounced task may go straight back to the worker it comes from."""

    set_mask = Dispatch._set_mask

    def planted(self: Dispatch, route: Route, now: float) -> None:
        set_mask(self, route, now)
        route.mask = self.roster.eligible(route.key.require, route.key.worker)

    plant.setattr(Dispatch, "_set_mask", planted)


def eject_everybody(plant: Plant) -> None:
    """The share of workers that breakers may keep out is not looked at."""
    plant.setattr(Outcomes, "_may_eject", lambda self, record, breaker: True)


def lose_a_retry(plant: Plant) -> None:
    """A retry that succeeds keeps its place in the budget."""
    plant.setattr(Retries, "end", lambda self, past: None)


def forget_what_was_spent(plant: Plant) -> None:
    """With a new round, a worker that allows no more attempts may be tried as well."""
    requeue = Dispatch._requeue

    def planted(self: Dispatch, task: Task, *rest: Any, **options: Any) -> None:
        task.tried_mask = 0
        requeue(self, task, *rest, **options)

    plant.setattr(Dispatch, "_requeue", planted)


#: Each fault with what the machine says of it.
FAULTS: list[tuple[Callable[[Plant], None], str]] = [
    (skip_reserved, "was before|idle and wanted|not where it should be"),
    (forget_refund, "refused to begin|could run|was before"),
    (resume_on_cooldown_end, "not what the operator said|may not start anything"),
    (settle_twice, "settled twice"),
    (expire_early, "promised beyond a quota"),
    (leave_the_dead_in_line, "but ended|refused to begin"),
    (let_them_overtake, "overtook one of its order key|out of order"),
    (forget_who_tried, "back to a worker it has tried"),
]


#: Those of breakers.
BREAKER_FAULTS: list[tuple[Callable[[Plant], None], str]] = [
    (eject_everybody, "out beyond the cap"),
    (lose_a_retry, "retries under way"),
]

#: That of limits on attempts.
LIMIT_FAULTS: list[tuple[Callable[[Plant], None], str]] = [
    (forget_what_was_spent, "does not want|back to a worker it has tried|may go back"),
]


#: Those of one long queue.
HOLD_FAULTS: list[tuple[Callable[[Plant], None], str]] = [
    (hold_nothing, "took what was held for another"),
    (hold_from_everybody, "could run|was before"),
    (put_nothing_by, "took what was held for another"),
    (leave_nobody_alone, "took what was held for another"),
]

QUEUE_FAULTS: list[tuple[Callable[[Plant], None], str]] = [
    (come_too_late, "could run"),
    (keep_every_place, "was before"),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("machine", "fault", "notice"),
    [
        pytest.param(machine, fault, notice, id=fault.__name__)
        for machine, faults in (
            (LedgerMachine, FAULTS),
            (BreakerMachine, BREAKER_FAULTS),
            (HoldMachine, HOLD_FAULTS),
            (QueueMachine, QUEUE_FAULTS),
            (AttemptLimitMachine, LIMIT_FAULTS),
        )
        for fault, notice in faults
    ],
)
def test_the_machine_notices(
    machine: type[LedgerMachine], fault: Callable[[Plant], None], notice: str, monkeypatch: Plant
) -> None:
    """Each planted fault breaks what must hold, within some hundreds of short lives."""
    fault(monkeypatch)
    with pytest.raises((AssertionError, InvariantBroken), match=notice):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=4000,
                stateful_step_count=40,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
