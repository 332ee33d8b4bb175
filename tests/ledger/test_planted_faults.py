"""The ledger machine is worth something only if it notices what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from retrypool_async._books import Books
from retrypool_async._dispatch import Dispatch
from retrypool_async._ready import Lane
from retrypool_async._roster import WorkerRecord
from retrypool_async._staff import Staff
from retrypool_async._states import WorkerWish
from tests.ledger.test_machine import LedgerMachine


def skip_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A promised worker stays on the free list."""
    reserve = Dispatch._reserve

    def planted(self: Dispatch, record: WorkerRecord, *rest: Any) -> None:
        reserve(self, record, *rest)
        self.roster.set_free(record)

    monkeypatch.setattr(Dispatch, "_reserve", planted)


def forget_refund(monkeypatch: pytest.MonkeyPatch) -> None:
    """A withdrawn promise keeps its permits."""

    def planted(self: Dispatch, task: Any) -> None:
        task.debit = None

    monkeypatch.setattr(Dispatch, "_refund", planted)


def resume_on_cooldown_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a cooldown undoes a pause."""
    attend = Staff._attend
    paused: set[int] = set()
    pause = Staff.pause

    def remembers(self: Staff, record: Any, *rest: Any) -> None:
        if record is not None:
            paused.add(id(record))
        pause(self, record, *rest)

    def planted(self: Staff, record: WorkerRecord, now: float) -> None:
        if 0.0 < record.cooling_until <= now and record.wish is WorkerWish.PAUSE:
            record.wish = WorkerWish.RUN
            record.pause_reason = "planted"
        attend(self, record, now)
        assert not (id(record) in paused and record.pause_reason == "planted"), "pause undone"

    monkeypatch.setattr(Staff, "pause", remembers)
    monkeypatch.setattr(Staff, "_attend", planted)


def settle_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled task is announced a second time."""
    settle = Books._settle

    def planted(self: Books, task: Any, *rest: Any) -> None:
        settle(self, task, *rest)
        self.outbox.append(self.outbox[-1])

    monkeypatch.setattr(Books, "_settle", planted)


def leave_the_dead_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that has ended is still handed out."""

    def planted(self: Lane) -> Any:
        if self.heap:
            return self.heap[0][0]
        return (0.0, self.fifo[0].order) if self.fifo else None

    monkeypatch.setattr(Lane, "head_key", planted)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "plant",
    [
        skip_reserved,
        forget_refund,
        resume_on_cooldown_end,
        settle_twice,
        leave_the_dead_in_line,
    ],
)
def test_the_machine_notices(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planted fault breaks an invariant within a few hundred short lives."""
    plant(monkeypatch)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - an assertion, or a group of them
        run_state_machine_as_test(
            LedgerMachine,
            settings=settings(
                max_examples=4000,
                stateful_step_count=40,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
