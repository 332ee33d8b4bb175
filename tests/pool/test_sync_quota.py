"""What a service says is left: who has to heed it, for how long, and which of several holds."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from retrypool_async import Pool, QueueTimeout, Quota, ThreadWorker, Window, current_task
from retrypool_async._reported import Reported
from tests.pool.probe import Probe, now

WIDE = Window(100, per=60)


def says(*reports: dict[str, Any] | None) -> Any:
    """Reports what the service said, one run after the other; then no more."""
    left = list(reports)

    def does(data: Any) -> None:
        report = left.pop(0) if left else None
        if report is not None:
            current_task().sync_quota(**report)

    return does


async def run_all(pool: Pool[Any, Any], count: int, **options: Any) -> None:
    for task in [pool.submit(n, **options) for n in range(count)]:
        await task


async def test_no_more_is_taken_than_the_service_says_is_left() -> None:
    """Two more, then none before the reset; after it our own limit counts alone."""
    worker = Probe(does=says({"remaining": 2, "reset_after": 30}), quota=Quota(WIDE))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        assert pool.snapshot().workers[0].quota_left == {"requests": 2}
        await run_all(pool, 5)
    assert worker.starts == [0, 0, 0, 30, 30, 30]


async def test_what_the_limits_forbid_stays_forbidden() -> None:
    """Whatever the service says it would still grant."""
    worker = Probe(does=says({"remaining": 50, "reset_after": 5}), quota=Quota(Window(2, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3)
    assert worker.starts == [0, 0, 60]


async def test_within_one_window_the_smaller_report_holds_and_a_new_one_replaces_it() -> None:
    """Answers overtake each other. Origin: hikari-py/hikari PR#558."""

    async def does(report: tuple[float, float, float]) -> None:
        takes, remaining, reset_after = report
        await asyncio.sleep(takes)
        current_task().sync_quota(remaining=remaining, reset_after=reset_after, scope="quota")

    quota = Quota(WIDE)
    async with Pool([Probe(does=does, quota=quota) for _ in range(3)], debug=True) as pool:
        for report in ((1, 3, 59), (2, 5, 58.4), (3, 50, 117)):
            pool.submit(report)
        await asyncio.sleep(0.5)
        for left in (97, 3, 3, 50):
            assert pool.snapshot().workers[0].quota_left == {"requests": left}
            await asyncio.sleep(1)


@pytest.mark.parametrize(
    ("second", "at", "left"),
    [
        ((5, 50.0), 10, 2),  # the same window, an older answer
        ((1, 50.0), 10, 1),
        ((1, 50.9), 10, 1),  # the same: services round
        ((1, 49.1), 10, 1),
        ((9, 51.5), 10, 9),  # another one, which has begun
        ((0, 20.0), 10, 2),  # of a window that ended before this one began
        ((9, 60.0), 61, 9),  # the first has ended
        ((0, 60.0), 61, 0),
    ],
)
def test_which_report_holds(second: tuple[float, float], at: float, left: float) -> None:
    """After "3 left for 60 s" at 0, of which one has been taken."""
    reported = Reported()
    reported.sync(3, 60, 0)
    reported.take(1, 5)
    reported.sync(*second, at)
    assert reported.left(at) == left


def test_the_reset_does_not_creep_away() -> None:
    """Each report a little later than the one before is not for ever the same window."""
    reported = Reported()
    for at in range(10):
        reported.sync(10 + at, 5 + at * 0.5, at)
    assert reported.left(9) == 19


def test_what_was_taken_before_the_report_is_not_given_back_to_it() -> None:
    """The service has counted it; what was taken after it is corrected as usual."""
    reported = Reported()
    reported.take(5, 0)
    reported.sync(10, 60, 1)
    reported.refund(5, 0)
    reported.settle(5, 50, 0, 2)
    assert reported.left(2) == 10
    reported.take(4, 2)
    reported.settle(4, 1, 2, 3)
    reported.settle(1, 6, 2, 3)
    assert reported.left(3) == 4
    reported.refund(9, 2)
    assert reported.left(3) == 10
    assert (reported.until(11, 3), reported.until(11, 61)) == (58, 0)


async def test_tasks_that_wait_start_when_a_report_lets_them() -> None:
    """A new window that began earlier than was said."""

    async def does(data: Any) -> None:
        if data == "first":
            current_task().sync_quota(remaining=0, reset_after=60, scope="quota")
        elif data == "second":
            await asyncio.sleep(10)
            current_task().sync_quota(remaining=9, reset_after=60, scope="quota")

    quota = Quota(WIDE)
    a, b = Probe("a", does=does, quota=quota), Probe("b", does=does, quota=quota)
    async with Pool([a, b], debug=True) as pool:
        pool.submit("second", worker="b")
        await pool.submit("first", worker="a")
        await pool.submit("third", worker="a")
    assert a.starts == [0, 10]


async def test_who_has_not_started_yet_is_judged_again_after_a_report() -> None:
    """A worker was promised to it in the same turn."""

    def does(data: Any) -> None:
        if data == "first":
            pool.submit("second", worker="b")
            current_task().sync_quota(remaining=0, reset_after=30, scope="quota")

    quota = Quota(WIDE)
    a, b = Probe("a", does=does, quota=quota), Probe("b", does=does, quota=quota)
    async with Pool([a, b], debug=True) as pool:
        await pool.submit("first", worker="a")
        await pool.join()
    assert (a.starts, b.starts) == ([0], [30])


@pytest.mark.parametrize(
    ("scope", "starts"), [("worker", [0, 0, 0, 0]), ("quota", [0, 30, 30, 30])]
)
async def test_a_report_concerns_the_quotas_a_worker_has_to_itself(
    scope: str, starts: list[float]
) -> None:
    """Those that it shares, the pool's among them, only if it says so."""
    shared = Quota(WIDE)
    report = {"remaining": 0, "reset_after": 30, "scope": scope}
    a, b = Probe("a", does=says(report), quota=shared), Probe("b", quota=shared)
    async with Pool([a, b], debug=True) as pool:
        await pool.submit(0, worker="a")
        for name in "abb":
            await pool.submit(0, worker=name)
    assert sorted(a.starts + b.starts) == starts

    lone = Probe(does=says(report))
    async with Pool([lone], quota=Quota(WIDE), debug=True) as pool:
        began = now()
        await run_all(pool, 4)
    assert [start - began for start in lone.starts] == starts


async def test_a_workers_own_quota_is_held_back_and_others_go_on() -> None:
    """Beside one that it shares."""
    account = Quota(WIDE)
    a = Probe("a", does=says({"remaining": 0, "reset_after": 30}), quota=[Quota(WIDE), account])
    b = Probe("b", quota=[Quota(WIDE), account])
    async with Pool([a, b], debug=True) as pool:
        await pool.submit(0, worker="a")
        await run_all(pool, 3)
        with pytest.raises(QueueTimeout) as refused:
            await pool.submit(0, worker="a", queue_timeout=0)
    assert (a.starts, b.starts) == ([0], [0, 0, 0])
    assert refused.value.next_available == 30


async def test_each_dimension_has_its_own_reports() -> None:
    """Those that no quota limits are of no interest."""
    worker = Probe(
        does=says(
            {"dimension": "tokens", "remaining": 10, "reset_after": 20},
            {"dimension": "pages", "remaining": 0, "reset_after": 20},
        ),
        quota=Quota(WIDE, tokens=Window(1000, per=60)),
    )
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 4, cost={"tokens": 5})
        await pool.submit(0)
        await pool.submit(0, cost={"tokens": 5})
    assert worker.starts == [0, 0, 0, 20, 20, 20]


async def test_what_the_service_said_outlives_a_change_of_quota() -> None:
    """The new quota is told."""
    worker = Probe("w", does=says({"remaining": 1, "reset_after": 30}), quota=Quota(WIDE))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        pool.set_quota("w", Quota(Window(50, per=60)))
        await run_all(pool, 2)
    assert worker.starts == [0, 0, 30]


@pytest.mark.parametrize(
    "odd",
    [
        {"remaining": -1, "reset_after": 9},
        {"remaining": float("nan"), "reset_after": 9},
        {"remaining": "0", "reset_after": 9},
        {"remaining": False, "reset_after": 9},
        {"remaining": 0, "reset_after": -1},
        {"remaining": 0, "reset_after": float("inf")},
        {"remaining": 0, "reset_after": "9"},
        {"remaining": 0, "reset_after": timedelta(-1)},
        {"remaining": 0, "reset_after": 1_764_000_000},
        {"dimension": ["requests"], "remaining": 0, "reset_after": 9},
    ],
)
async def test_an_odd_report_is_none_with_a_warning(
    odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A time of day given for a span is one: nobody waits for years."""
    worker = Probe(does=says(odd), quota=Quota(WIDE))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 2)
    assert worker.starts == [0, 0]
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "sync_quota" in warning.getMessage()


async def test_nothing_said_is_nothing_heard(caplog: pytest.LogCaptureFixture) -> None:
    """A header that is not there; an odd scope is the usual one, with a warning."""
    worker = Probe(
        does=says(
            {"remaining": None, "reset_after": 9},
            {"remaining": 0, "reset_after": None},
            {"remaining": 0, "reset_after": 9, "scope": "galaxy"},
        ),
        quota=Quota(WIDE),
    )
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 4)
    assert worker.starts == [0, 0, 0, 9]
    assert [record.getMessage() for record in caplog.records] == [
        "sync_quota scope must be 'worker' or 'quota'; taken as 'worker'"
    ]


async def test_a_report_after_the_end_of_its_attempt_is_too_late() -> None:
    """It may be about what has long been reset."""
    contexts: list[Any] = []
    worker = Probe(does=lambda data: contexts.append(current_task()), quota=Quota(WIDE))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        contexts[0].sync_quota(remaining=0, reset_after=60)
        await pool.submit(0)
    assert worker.starts == [0, 0]


@pytest.mark.parametrize("broken", [False, True])
async def test_a_limiter_of_ones_own_is_told_if_it_can_be(broken: bool) -> None:
    """And what it says is heeded, be it that it fails."""
    told: list[tuple[float, float, float]] = []

    class Own:
        capacity = 9.0

        def until(self, amount: float, now: float) -> float:
            return 0.0

        def take(self, amount: float, now: float) -> None: ...

        def refund(self, amount: float, at: float) -> None: ...

        def left(self, now: float) -> float:
            return 9.0

        def sync(self, remaining: float, reset_after: float, now: float) -> None:
            told.append((remaining, reset_after, now))
            if broken:
                raise OSError

    worker = Probe(does=says({"remaining": 0, "reset_after": 7}), quota=Quota(Own()))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 2)
    assert told == [(0, 7, 0)]
    assert worker.starts == [0, 7]


@pytest.mark.real_time
async def test_a_thread_reports_too() -> None:
    """It is heard before the next task starts."""

    def blocking(data: int) -> None:
        current_task().sync_quota(remaining=0, reset_after=3600)

    worker = ThreadWorker(blocking, quota=Quota(WIDE))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        assert pool.snapshot().workers[0].quota_left == {"requests": 0}
