"""Calendar days: which it is, what a stepping clock does to it, and who waits for the next."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from retrypool_async import Bucket, CostTooLarge, Daily, Pool, Quota, Window
from retrypool_async._meters import DailyMeter
from retrypool_async._task import ONE_REQUEST
from retrypool_async.testing import VirtualLoop
from tests.pool.probe import Probe, now

HOUR, DAY = 3600.0, 86_400.0
BERLIN = ZoneInfo("Europe/Berlin")


def posix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class Clock:
    """A wall clock that shows what it is set to."""

    def __init__(self, text: str = "2026-03-01T12:00+00:00") -> None:
        self.now = posix(text)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def loop_at() -> Any:
    """Sets the calendar of the loop that runs the test."""

    def set_to(text: str) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.epoch = posix(text) - loop.time()

    return set_to


@pytest.mark.parametrize(
    ("daily", "wall", "start", "end"),
    [
        (Daily(1), "2026-05-10T00:00+00:00", "2026-05-10T00:00+00:00", "2026-05-11T00:00+00:00"),
        (Daily(1), "2026-05-10T23:59+00:00", "2026-05-10T00:00+00:00", "2026-05-11T00:00+00:00"),
        (
            Daily(1, at=time(7, 30)),
            "2026-05-10T07:29+00:00",
            "2026-05-09T07:30+00:00",
            "2026-05-10T07:30+00:00",
        ),
        (
            Daily(1, tz=timezone(timedelta(hours=-8))),
            "2026-05-10T07:59+00:00",
            "2026-05-09T08:00+00:00",
            "2026-05-10T08:00+00:00",
        ),
        (
            Daily(1, at=time(22), tz=timezone(timedelta(hours=14))),
            "2026-05-10T08:00+00:00",
            "2026-05-10T08:00+00:00",
            "2026-05-11T08:00+00:00",
        ),
        # The clocks go forward, then back: days of 23 and of 25 hours.
        (
            Daily(1, tz=BERLIN),
            "2026-03-29T12:00+02:00",
            "2026-03-29T00:00+01:00",
            "2026-03-30T00:00+02:00",
        ),
        (
            Daily(1, tz=BERLIN),
            "2026-10-25T12:00+01:00",
            "2026-10-25T00:00+02:00",
            "2026-10-26T00:00+01:00",
        ),
        # 2:30 is skipped, so the reset is as much later.
        (
            Daily(1, at=time(2, 30), tz=BERLIN),
            "2026-03-29T12:00+02:00",
            "2026-03-29T03:30+02:00",
            "2026-03-30T02:30+02:00",
        ),
    ],
)
def test_a_day_lasts_from_one_reset_to_the_next(
    daily: Daily, wall: str, start: str, end: str
) -> None:
    """In its own zone, through changes of the clocks."""
    assert daily.around(posix(wall)) == (posix(start), posix(end))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"limit": 0}, ValueError, "Daily limit"),
        ({"limit": True}, TypeError, "Daily limit"),
        ({"limit": float("nan")}, ValueError, "Daily limit"),
        ({"limit": 1, "at": "07:30"}, TypeError, "Daily at"),
        ({"limit": 1, "at": 7}, TypeError, "Daily at"),
        ({"limit": 1, "at": time(7, tzinfo=UTC)}, ValueError, "Daily at"),
        ({"limit": 1, "tz": "UTC"}, TypeError, "Daily tz"),
        ({"limit": 1, "tz": 3600}, TypeError, "Daily tz"),
    ],
)
def test_a_bad_day_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """At once, with the field named."""
    with pytest.raises(error, match=message):
        Daily(**arguments)


def test_what_a_day_allows_is_granted_once() -> None:
    """However it is spread, until the reset."""
    clock = Clock()
    meter = DailyMeter(Daily(10), clock)
    meter.take(6, 0)
    assert (meter.left(0), meter.until(4, 0), meter.until(5, 0)) == (4, 0, 12 * HOUR)
    clock.now += 12 * HOUR - 1
    assert meter.until(5, 12 * HOUR - 1) == 1
    clock.now += 1
    assert (meter.until(5, 12 * HOUR), meter.left(12 * HOUR)) == (0, 10)


def test_a_refund_counts_for_the_day_it_was_taken_in_only() -> None:
    """What was taken yesterday is over."""
    clock = Clock()
    meter = DailyMeter(Daily(10), clock)
    meter.take(6, 0)
    meter.refund(2, 0)
    assert meter.left(0) == 6
    clock.now += DAY
    meter.take(5, DAY)
    meter.refund(4, 0)
    assert meter.left(DAY) == 5
    meter.refund(4, DAY)
    assert meter.left(DAY) == 9


@pytest.mark.parametrize("back", [1.0, 600.0, DAY])
def test_a_clock_that_is_put_back_over_a_reset_grants_nothing(back: float) -> None:
    """The same reset does not count twice; the next one does."""
    clock = Clock()
    meter = DailyMeter(Daily(10), clock)
    meter.take(10, 0)
    clock.now += 12 * HOUR
    meter.take(10, 12 * HOUR)
    clock.now -= back
    assert meter.left(12 * HOUR) == 0
    assert meter.until(1, 12 * HOUR) == DAY + back
    clock.now += back
    assert meter.left(12 * HOUR) == 0
    clock.now += DAY
    assert meter.left(36 * HOUR) == 10


def test_a_clock_that_was_far_ahead_by_mistake_is_believed_no_longer() -> None:
    """Nobody waits for a day of next year; nor is anything granted for the mistake."""
    clock = Clock()
    meter = DailyMeter(Daily(10), clock)
    clock.now += 365 * DAY
    meter.take(10, 0)
    clock.now -= 365 * DAY
    assert meter.until(1, 0) == 12 * HOUR


async def test_a_task_waits_for_the_reset_to_the_instant(loop_at: Any) -> None:
    """Two a day, five tasks, from 22:00 on."""
    loop_at("2026-05-10T22:00+00:00")
    worker = Probe(quota=Quota(Daily(2)))
    async with Pool([worker], debug=True) as pool:
        for task in [pool.submit(n) for n in range(5)]:
            await task
    midnight = 2 * HOUR
    assert worker.starts == pytest.approx(
        [0, 0, midnight, midnight, midnight + DAY], abs=1e-5, rel=0
    )


async def test_a_day_and_a_window_hold_together(loop_at: Any) -> None:
    """Three a day, one per ten seconds; shared by two workers, by the clock of California."""
    loop_at("2026-05-10T06:59:45+00:00")
    quota = Quota(
        requests=[Daily(3, tz=ZoneInfo("America/Los_Angeles")), Window(1, per=10)],
        tokens=Daily(1000),
    )
    workers = [Probe(quota=quota) for _ in range(2)]
    async with Pool(workers, debug=True) as pool:
        with pytest.raises(CostTooLarge):
            pool.submit(0, cost={"tokens": 1001})
        for task in [pool.submit(n) for n in range(6)]:
            await task
    starts = sorted(start for worker in workers for start in worker.starts)
    assert starts == pytest.approx([0, 10, 20, 30, 40, DAY + 15], abs=1e-5, rel=0)


async def test_a_wall_clock_put_back_makes_who_waits_wait_on(loop_at: Any) -> None:
    """And put forward, it is noticed at the next look."""
    loop_at("2026-05-10T23:59:00+00:00")
    worker = Probe(quota=Quota(Daily(1)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        waiting = pool.submit(1)
        await asyncio.sleep(30)
        loop_at("2026-05-10T23:59:00+00:00")
        await waiting
        assert worker.starts == pytest.approx([0, 90], abs=1e-5, rel=0)
        loop_at("2026-05-12T00:00:00+00:00")
        await pool.submit(2)
        assert worker.starts[2] == pytest.approx(90, abs=1e-5, rel=0)


async def test_usage_carries_over_to_and_from_a_day(loop_at: Any) -> None:
    """By amount; between two days with what may still be given back."""
    loop_at("2026-05-10T12:00+00:00")
    first, bucket, last = Quota(Daily(5)), Quota(Bucket(5, per=DAY)), Quota(Daily(9))
    first.take((("requests", 3.0),), now())
    last.carry_over(first, now())
    assert last.left(now()) == {"requests": 6}
    last.refund(ONE_REQUEST, now())
    assert last.left(now()) == {"requests": 7}
    bucket.carry_over(last, now())
    assert bucket.left(now()) == {"requests": 3}
