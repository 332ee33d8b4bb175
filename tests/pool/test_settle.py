"""True use against the estimate: what is given back, what is owed, and who starts because of it."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from retrypool_async import (
    Bucket,
    Daily,
    Pool,
    Quota,
    RetryPolicy,
    TaskContext,
    ThreadWorker,
    Throttled,
    Window,
    current_task,
)
from tests.pool.probe import Probe, now


def uses(*reports: dict[str, Any], takes: float = 0.0) -> Any:
    """Runs for some seconds, and then reports, one run after the other."""
    left = list(reports)

    async def does(data: Any) -> Any:
        await asyncio.sleep(takes)
        if left:
            current_task().settle(**left.pop(0))
        return data

    return does


async def submit_in_turn(pool: Pool[Any, Any], *costs: float) -> None:
    """Submit at once, in this order; wait for all."""
    for task in [pool.submit(n, cost={"tokens": cost}) for n, cost in enumerate(costs)]:
        await task


@pytest.mark.parametrize(
    ("report", "second"),
    [
        ({}, 60),
        ({"tokens": None}, 60),
        ({"tokens": 900}, 60),
        ({"tokens": 100}, 5),
        ({"tokens": 0}, 5),
        ({"tokens": 1900}, 60),
    ],
)
async def test_without_a_report_the_estimate_stands(report: dict[str, Any], second: float) -> None:
    """None is no report; nothing used is one. Origin: BerriAI/litellm#34728."""
    worker = Probe(does=uses(report, takes=5), quota=Quota(tokens=Window(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        await submit_in_turn(pool, 900, 900)
    assert worker.starts == [0, second]


@pytest.mark.parametrize(
    ("limit", "starts"),
    [
        # 200 over from the first; the second may start when that is out of the window.
        (Window(1000, per=60), [0, 60]),
        # At 5 s it has leaked to 1200 - 83; 100 more fit when it is at 900, another 13 s later.
        (Bucket(1000, per=60), [0, 18]),
        (Daily(1000), [0, 86_400]),
    ],
)
async def test_what_was_used_beyond_the_estimate_delays_the_next_start(
    limit: Window | Bucket | Daily, starts: list[float]
) -> None:
    """It is debited although there was no room for it. Origin: BerriAI/litellm#34728."""
    worker = Probe(does=uses({"tokens": 1200}, takes=5), quota=Quota(tokens=limit))
    async with Pool([worker], debug=True) as pool:
        await submit_in_turn(pool, 100, 100)
    assert worker.starts == pytest.approx(starts, abs=1e-5)


async def test_a_refund_starts_the_first_in_line_that_fits_at_that_instant() -> None:
    """On another worker, while the attempt that reported goes on."""

    async def reports_half_way(data: Any) -> None:
        await asyncio.sleep(4)
        current_task().settle(tokens=300)
        await asyncio.sleep(6)

    quota = Quota(tokens=Window(1000, per=60))
    first = Probe("first", does=reports_half_way, quota=quota)
    others = [Probe(name, quota=quota) for name in ("second", "third")]
    async with Pool([first, *others], debug=True) as pool:
        pool.submit("a", cost={"tokens": 900}, worker="first")
        large = pool.submit("b", cost={"tokens": 600})
        small = pool.submit("c", cost={"tokens": 100}, priority=-1)
        # The large one holds the quota, so the small one waits behind it, though it would fit.
        await large
        assert now() == 4
        await small
        assert now() == 4
        await pool.join()
        assert now() == 10


async def test_who_has_not_started_yet_is_judged_again_after_an_overrun() -> None:
    """A worker was promised to it in the same turn; what both would use is too much."""

    async def does(data: Any) -> None:
        if data == "first":
            await asyncio.sleep(4)
            pool.submit("second", cost={"tokens": 100}, worker="b")
            current_task().settle(tokens=950)

    quota = Quota(tokens=Window(1000, per=60))
    a, b = Probe("a", does=does, quota=quota), Probe("b", does=does, quota=quota)
    async with Pool([a, b], debug=True) as pool:
        await pool.submit("first", cost={"tokens": 100}, worker="a")
        await pool.join()
    assert (a.starts, b.starts) == ([0], [60])


async def test_a_partial_refund_moves_the_start_that_waits() -> None:
    """From the end of the window to when the rest of the bucket has leaked."""
    worker = Probe(does=uses({"tokens": 400}, takes=6), quota=Quota(tokens=Bucket(600, per=60)))
    async with Pool([worker], debug=True) as pool:
        await submit_in_turn(pool, 600, 600)
    # 400 at 0 leak away at 10 a second.
    assert worker.starts == pytest.approx([0, 40], abs=1e-6)


async def test_the_last_report_before_the_end_holds() -> None:
    """As if it had been the only one, up or down; None takes nothing back."""

    async def streams(data: Any) -> None:
        task = current_task()
        for used in (50, 700, 1500, 300, None, 300):
            task.settle(tokens=used)
            left = pool.snapshot().workers[0].quota_left["tokens"]
            assert left == (700 if used is None else max(1000 - used, 0))
            await asyncio.sleep(1)

    worker = Probe(does=streams, quota=Quota(tokens=Window(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0, cost={"tokens": 100})
        assert pool.snapshot().workers[0].quota_left["tokens"] == 700


async def test_each_attempt_is_settled_by_itself() -> None:
    """A report is for the attempt that made it; one that comes after its end is for none."""
    contexts: list[TaskContext] = []

    def does(data: Any) -> None:
        contexts.append(current_task())
        if len(contexts) == 1:
            contexts[0].settle(tokens=10)
            raise ValueError
        contexts[0].settle(tokens=0)
        assert pool.snapshot().workers[0].quota_left["tokens"] == 590

    worker = Probe(does=does, quota=Quota(tokens=Window(1000, per=60)))
    async with Pool([worker], retry=RetryPolicy.fixed(1), debug=True) as pool:
        await pool.submit(0, cost={"tokens": 400})
        for context in contexts:
            context.settle(tokens=0)
        assert pool.snapshot().workers[0].quota_left["tokens"] == 590


async def test_an_attempt_that_was_cut_off_reports_no_more() -> None:
    """It was settled with its estimate when its time was up."""

    async def stubborn(data: Any) -> None:
        task = current_task()
        try:
            await asyncio.sleep(9)
        finally:
            task.settle(tokens=0)

    worker = Probe(does=stubborn, quota=Quota(tokens=Window(1000, per=60)))
    once = RetryPolicy.fixed(0, attempts=1)
    async with Pool([worker], retry=once, debug=True) as pool:
        await pool.submit(0, cost={"tokens": 400}, attempt_timeout=1).wait()
        assert pool.snapshot().workers[0].quota_left["tokens"] == 600


async def test_a_refused_request_that_cost_nothing_can_be_given_back() -> None:
    """Reported before the verdict is raised."""
    tries = iter((True, False))

    def does(data: Any) -> None:
        if next(tries):
            current_task().settle(requests=0, tokens=0)
            raise Throttled(5)

    worker = Probe(does=does, quota=Quota(Window(1, per=60), tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0, cost={"tokens": 100})
    assert worker.starts == [0, 5]


async def test_a_dimension_can_be_settled_that_was_not_estimated() -> None:
    """It was taken for none of it. What no quota limits is of no interest."""
    worker = Probe(does=uses({"tokens": 100, "pages": 7}), quota=Quota(tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        await pool.submit(1, cost={"tokens": 1})
    assert worker.starts == [0, 60]


async def test_all_quotas_that_were_debited_are_settled() -> None:
    """The worker's own, the shared, and the pool's."""
    account = Quota(tokens=Window(1000, per=60))
    workers = [
        Probe(name, does=uses({"tokens": 100}), quota=[Quota(tokens=Window(500, per=60)), account])
        for name in "ab"
    ]
    async with Pool(workers, quota=Quota(tokens=Bucket(2000, per=60)), debug=True) as pool:
        await pool.submit(0, cost={"tokens": 400}, worker="a")
        first, second = pool.snapshot().workers
        assert (first.quota_left, second.quota_left) == ({"tokens": 400}, {"tokens": 500})
        assert account.left(now()) == {"tokens": 900}
        assert pool.snapshot().quota_left == pytest.approx({"tokens": 1900})


@pytest.mark.parametrize(
    "odd", [-1, float("nan"), float("inf"), 10**400, True, "12", timedelta(1), [1]]
)
async def test_an_odd_report_is_none_with_a_warning(
    odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempt has done its work, so it does not fail for it; the sound half counts."""
    worker = Probe(
        does=uses({"tokens": odd, "pages": 1}),
        quota=Quota(tokens=Window(100, per=60), pages=Window(9, per=60)),
    )
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit("done", cost={"tokens": 40, "pages": 5}) == "done"
        assert pool.snapshot().workers[0].quota_left == {"tokens": 60, "pages": 8}
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "settle tokens" in warning.getMessage()


@pytest.mark.parametrize("after", [Window(1000, per=60), Bucket(1000, per=60)])
async def test_what_a_replaced_quota_was_charged_is_settled_with_its_successor(
    after: Window | Bucket,
) -> None:
    """But only in the dimensions that both limit."""

    async def does(data: Any) -> None:
        await asyncio.sleep(0)
        pool.set_quota("w", Quota(tokens=after, pages=Window(9, per=60)))
        pool.set_quota("w", Quota(tokens=after, pages=Window(9, per=60)))
        current_task().settle(tokens=100, pages=0)

    worker = Probe("w", does=does, quota=Quota(tokens=type(after)(2000, per=60)))
    async with Pool([worker], debug=True, quota=Quota(pages=Window(99, per=60))) as pool:
        await pool.submit(0, cost={"tokens": 700, "pages": 5})
        left = pool.snapshot().workers[0].quota_left
        assert left == pytest.approx({"tokens": 900, "pages": 9})


async def test_a_quota_that_is_in_force_for_others_keeps_what_they_have_used() -> None:
    """When a worker joins those who share it, its own usage comes on top."""
    shared = Quota(requests=Window(5, per=60), tokens=Daily(50))
    a, b = Probe("a", quota=shared), Probe("b", quota=Quota(Window(5, per=60), tokens=Daily(60)))
    async with Pool([a, b], debug=True) as pool:
        for name in "aab":
            await pool.submit(0, worker=name, cost={"tokens": 4})
        pool.set_quota("b", shared)
        assert shared.left(now()) == {"requests": 2, "tokens": 38}


@pytest.mark.parametrize("limit", [Window, Daily])
async def test_a_quota_that_comes_back_into_force_counts_nothing_twice(limit: Any) -> None:
    """By day and by night, say."""
    args = {"per": 600} if limit is Window else {}
    day, night = Quota(limit(9, **args)), Quota(limit(5, **args))
    async with Pool([Probe("w", quota=day)], debug=True) as pool:
        for quota in (night, day, night, day):
            await pool.submit(0)
            pool.set_quota("w", quota)
        assert day.left(now()) == {"requests": 5}


class Purse:
    """A limiter of the user's own, without a word for settling."""

    def __init__(self) -> None:
        self.capacity = 1000.0
        self.calls: list[tuple[Any, ...]] = []

    def until(self, amount: float, now: float) -> float:
        return 0.0

    def take(self, amount: float, now: float) -> None:
        self.calls.append(("take", amount, now))

    def refund(self, amount: float, at: float) -> None:
        self.calls.append(("refund", amount, at))

    def left(self, now: float) -> float:
        return 1000.0


class SettlingPurse(Purse):
    """One that has."""

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        self.calls.append(("settle", estimate, used, at, now))


class BrokenPurse(Purse):
    """One that has, and fails."""

    def settle(self, estimate: float, used: float, at: float, now: float) -> None:
        raise OSError


async def test_a_limiter_of_ones_own_is_told_if_it_can_be() -> None:
    """Else it is asked to refund or to take; one that fails is logged and harms nobody."""
    purses = Purse(), SettlingPurse(), BrokenPurse()

    async def does(data: Any) -> str:
        for used in (30, 50):
            await asyncio.sleep(1)
            current_task().settle(cents=used)
        return "done"

    worker = Probe(does=does, quota=Quota(cents=list(purses)))
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit(0, cost={"cents": 40}) == "done"
    taken = ("take", 40, 0)
    assert purses[0].calls == [taken, ("refund", 10, 0), ("take", 20, 2)]
    assert purses[1].calls == [taken, ("settle", 40, 30, 0, 1), ("settle", 30, 50, 0, 2)]
    assert purses[2].calls == [taken]


@pytest.mark.real_time
async def test_a_thread_reports_too() -> None:
    """Before the attempt has ended, as long as the function has not returned."""

    def blocking(data: int) -> int:
        current_task().settle(tokens=data)
        return data

    worker = ThreadWorker(blocking, quota=Quota(tokens=Window(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        for used in (100, 200):
            await pool.submit(used, cost={"tokens": 600})
        assert pool.snapshot().workers[0].quota_left["tokens"] == 700
