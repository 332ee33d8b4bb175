"""The witness is worth something only if it notices what is wrong.

The pool's own recount of its books is off here: the witness has to notice from outside.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from retrypool_async import TaskHandle
from retrypool_async._dispatch import Dispatch
from retrypool_async._engine import Engine
from retrypool_async._record import WorkerRecord
from retrypool_async._runner import Runner
from retrypool_async._staff import Staff
from retrypool_async._states import WorkerWish
from retrypool_async._supervisor import Supervisor
from tests.chaos.driver import live

Plant = Callable[[pytest.MonkeyPatch], None]


def a_reserved_worker_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A promised worker is left on the free list."""
    reserve = Dispatch._reserve

    def planted(self: Dispatch, record: WorkerRecord, *rest: Any) -> None:
        reserve(self, record, *rest)
        self.roster.set_free(record)

    monkeypatch.setattr(Dispatch, "_reserve", planted)


def a_refund_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A withdrawn promise keeps its permits."""

    def planted(self: Dispatch, task: Any) -> None:
        task.debit = None

    monkeypatch.setattr(Dispatch, "_refund", planted)


def the_end_of_a_cooldown_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a cooldown undoes the operator's pause."""
    attend = Staff._attend

    def planted(self: Staff, record: WorkerRecord, now: float) -> None:
        if record.wish is WorkerWish.PAUSE and 0.0 < record.cooling_until <= now:
            record.wish = WorkerWish.RUN
        attend(self, record, now)

    monkeypatch.setattr(Staff, "_attend", planted)


def a_stop_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancellation meant for one attempt is left for the next."""

    async def planted(self: Runner) -> None:
        self._interrupts = 0

    monkeypatch.setattr(Runner, "_absorb", planted)


def nothing_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cut-off attempt left in the resource is met by the next."""
    attend = Staff._attend

    def planted(self: Staff, record: WorkerRecord, now: float) -> None:
        record.needs_reset = False
        attend(self, record, now)

    monkeypatch.setattr(Staff, "_attend", planted)


def nothing_is_swept_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that ends with the pool open leaves handles pending."""
    monkeypatch.setattr(Engine, "sweep", lambda self: None)


def a_wait_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only looked takes the task along."""
    wait = TaskHandle.wait

    async def planted(self: TaskHandle[Any], timeout: float | None = None) -> bool:
        ended = False
        try:
            ended = await wait(self, timeout)
        finally:
            if not ended:
                self.cancel()
        return ended

    monkeypatch.setattr(TaskHandle, "wait", planted)


def a_closing_is_cancelled_with_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half closed, for ever."""

    async def planted(self: Supervisor, closer: asyncio.Task[Any]) -> Any:
        return await closer

    monkeypatch.setattr(Supervisor, "wait_closed", planted)


#: Each fault, and within how many lives it is to be noticed.
FAULTS: list[tuple[Plant, int]] = [
    (a_reserved_worker_stays_free, 20),
    (a_refund_is_forgotten, 100),
    (the_end_of_a_cooldown_resumes, 500),
    (a_stop_is_not_taken_back, 300),
    (nothing_is_reset, 50),
    (nothing_is_swept_up, 100),
    (a_wait_cancels, 50),
    (a_closing_is_cancelled_with_its_caller, 100),
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("plant", "lives"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_the_witness_notices(plant: Plant, lives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each planted fault breaks a promise within some random lives."""
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="repeat: python -m"):
        for seed in range(lives):
            live(seed, debug=False)
    gc.collect()  # the wreck reports itself here, and not in another test
