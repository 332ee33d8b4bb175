"""Quotas as the running pool keeps them: exact times, nothing early, nothing wasted."""

from __future__ import annotations

import asyncio

import pytest
from aiolimiter import AsyncLimiter

from retrypool_async import Bucket, CostTooLarge, Pool, QueueFull, QueueTimeout, Quota, Window
from tests.pool.probe import Probe, now, takes


async def run_all(pool: Pool[object, object], count: int, **options: object) -> None:
    handles = [pool.submit(n, **options) for n in range(count)]  # type: ignore[arg-type]
    for handle in handles:
        await handle


async def test_a_window_of_one_starts_one_task_per_span() -> None:
    """Five submits in one tick see one permit, not five."""
    worker = Probe(quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 5)
    assert worker.starts == [0, 60, 120, 180, 240]


async def test_tokens_are_debited_at_the_start_not_at_the_answer() -> None:
    """The third of three costs of 400 waits until 200 have leaked from a bucket of 1000."""
    worker = Probe(does=takes(1), quota=Quota(tokens=Bucket(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3, cost={"tokens": 400})
    assert worker.starts == pytest.approx([0, 1, 12], abs=1e-6)


async def test_the_first_worker_with_quota_takes_the_task() -> None:
    """Two windows of one: the third task waits for the earliest, and never less."""
    workers = [Probe(n, quota=Quota(Window(1, per=60))) for n in "ab"]
    async with Pool(workers, debug=True) as pool:
        await run_all(pool, 3)
    assert sorted(workers[0].starts + workers[1].starts) == [0, 0, 60]


@pytest.mark.parametrize(
    ("limit", "starts"),
    [
        (Window(2, per=10), [0, 0.01, 10, 10.01, 20]),
        (Bucket(2, per=10), [0, 0.01, 5, 10, 15]),
        (AsyncLimiter(2, 10), [0, 0.01, 5, 10, 15]),
    ],
    ids=["window", "bucket", "aiolimiter"],
)
async def test_a_window_is_strict_and_a_bucket_lets_a_burst_through(
    limit: Window, starts: list[float]
) -> None:
    """Five submits 10 ms apart against two per ten seconds."""
    worker = Probe(quota=Quota(limit))
    async with Pool([worker], debug=True) as pool:
        handles = []
        for n in range(5):
            handles.append(pool.submit(n))
            await asyncio.sleep(0.01)
        for handle in handles:
            await handle
    assert worker.starts == pytest.approx(starts, abs=1e-6)


async def test_equal_tasks_start_in_the_order_of_submission() -> None:
    """A bucket of one per six seconds serves first come, first served."""
    order: list[object] = []
    worker = Probe(does=order.append, quota=Quota(Bucket(1, per=6)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 10)
    assert order == list(range(10))
    assert worker.starts == pytest.approx([6 * n for n in range(10)], abs=1e-6)


async def test_a_task_that_waits_holds_nothing() -> None:
    """Blocked on tokens, it has taken no request."""
    worker = Probe(quota=Quota(requests=Window(5, per=60), tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit("a", cost={"tokens": 100})
        second = pool.submit("b", cost={"tokens": 100})
        await asyncio.sleep(30)
        assert pool.snapshot().workers[0].quota_left == {"requests": 4, "tokens": 0}
        await second
    assert worker.starts == [0, 60]


async def test_several_limits_on_one_dimension_all_hold() -> None:
    """One per 7 s and five per 60 s."""
    worker = Probe(quota=Quota(requests=[Window(1, per=7), Window(5, per=60)]))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 10)
    assert worker.starts == [0, 7, 14, 21, 28, 60, 67, 74, 81, 88]


async def test_a_cost_that_no_worker_could_grant_is_refused_at_submit() -> None:
    """1500 tokens fit the larger of two; 2500 fit none, and the error says what would."""
    small = Probe("small", quota=Quota(tokens=Bucket(1000, per=60)))
    large = Probe("large", quota=Quota(tokens=Bucket(2000, per=60)))
    async with Pool([small, large], debug=True) as pool:
        await pool.submit("x", cost={"tokens": 1500})
        with pytest.raises(CostTooLarge) as refused:
            pool.submit("x", cost={"tokens": 2500})
    assert (small.starts, large.starts) == ([], [0])
    assert refused.value.largest == 2000


async def test_a_failed_try_adds_nothing_to_the_level() -> None:
    """However often the router looks, 200 of 1000 start when 100 have leaked."""
    worker = Probe(quota=Quota(tokens=Bucket(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit("a", cost={"tokens": 900})
        waiting = pool.submit("b", cost={"tokens": 200})
        for _ in range(50):
            pool.submit("c", cost={"tokens": 900}, queue_timeout=0)
        await waiting
    assert worker.starts == pytest.approx([0, 6], abs=1e-6)


async def test_a_window_counts_from_the_start_of_an_attempt() -> None:
    """Slow calls on an exclusive worker are bound by the worker alone."""
    worker = Probe(does=takes(5), quota=Quota(Window(1, per=2)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3)
    assert worker.starts == [0, 5, 10]


async def test_a_shared_bucket_serves_its_workers_fairly() -> None:
    """Twenty workers on five per second: the k-th task starts at (k - 4) / 5."""
    quota = Quota(Bucket(5, per=1))
    workers = [Probe(quota=quota) for _ in range(20)]
    async with Pool(workers, debug=True) as pool:
        await run_all(pool, 20)
    starts = sorted(start for worker in workers for start in worker.starts)
    assert starts == pytest.approx([0] * 5 + [0.2 * k for k in range(1, 16)], abs=1e-6)


async def test_one_quota_object_is_shared_and_equal_ones_are_not() -> None:
    """Ten per minute, once or twice."""
    shared = Quota(Window(10, per=60))
    together = [Probe(quota=shared) for _ in range(2)]
    apart = [Probe(quota=Quota(Window(10, per=60))) for _ in range(2)]
    for workers, expected in ((together, 10), (apart, 20)):
        async with Pool(workers, debug=True) as pool:
            for n in range(30):
                pool.submit(n)
            await asyncio.sleep(59)
            assert sum(len(worker.starts) for worker in workers) == expected
            await pool.close("cancel")


async def test_a_pool_wide_quota_holds_over_all_workers() -> None:
    """Two per ten seconds for three workers."""
    workers = [Probe() for _ in range(3)]
    async with Pool(workers, quota=Quota(Window(2, per=10)), debug=True) as pool:
        await run_all(pool, 6)
    assert sorted(s for w in workers for s in w.starts) == [0, 0, 10, 10, 20, 20]


async def test_idle_time_does_not_pile_up_permits() -> None:
    """After an hour a bucket of five still holds five."""
    worker = Probe(quota=Quota(Bucket(5, per=1)))
    async with Pool([worker], debug=True) as pool:
        await asyncio.sleep(3600)
        await run_all(pool, 8)
    assert worker.starts == pytest.approx([3600] * 5 + [3600.2, 3600.4, 3600.6], abs=1e-6)


async def test_a_large_task_is_not_starved_by_small_ones() -> None:
    """It holds the worker that will fit it first; another worker goes on with the rest."""
    started: dict[object, float] = {}
    big = Probe("big", quota=Quota(tokens=Window(100, per=60)))
    other = Probe("other", quota=Quota(tokens=Window(50, per=60)))
    big.does = other.does = lambda data: started.update({data: now()})
    async with Pool([big, other], debug=True) as pool:
        pool.submit("first", cost={"tokens": 40}, worker="big")
        pool.submit("large", cost={"tokens": 100})
        for n in range(10):
            pool.submit(n, cost={"tokens": 10})
        await pool.join()
    assert started["large"] == 60
    assert [started[n] for n in range(5)] == [0] * 5
    assert big.starts == [0, 60]


async def test_changing_a_quota_carries_usage_over() -> None:
    """Two used of two; three allowed now: one more at once, the next when the window moves."""
    worker = Probe("w", quota=Quota(Window(2, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 2)
        pool.set_quota("w", Quota(Window(3, per=60)))
        await run_all(pool, 2)
    assert worker.starts == [0, 0, 0, 60]


async def test_queue_timeout_zero_starts_now_or_says_when() -> None:
    """As a web service needs it for its Retry-After."""
    worker = Probe(quota=Quota(Window(1, per=40)))
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit("x", queue_timeout=0) == "x"
        with pytest.raises(QueueTimeout) as refused:
            await pool.submit("y", queue_timeout=0)
        assert (refused.value.reason, refused.value.retry_after) == ("quota", 40)
        assert now() == 0


async def test_a_full_queue_refuses_at_once() -> None:
    """Three start, five wait, the last two are refused."""
    worker = Probe(quota=Quota(Bucket(3, per=0.3)))
    refused = 0
    async with Pool([worker], max_queue=5, debug=True) as pool:
        for n in range(10):
            try:
                pool.submit(n)
            except QueueFull:
                refused += 1
            await asyncio.sleep(0)
        await pool.join()
    assert refused == 2
    assert len(worker.starts) == 8


async def test_a_cancelled_waiter_leaves_its_place_and_its_permit() -> None:
    """The next one starts when the window moves, and only two permits were used."""
    worker = Probe(quota=Quota(Window(1, per=10)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1)
        second, third = pool.submit(2), pool.submit(3)
        await asyncio.sleep(5)
        second.cancel()
        await third
    assert worker.starts == [0, 10]
