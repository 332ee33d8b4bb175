"""Quotas as the running pool keeps them: exact times, nothing early, nothing wasted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

from retrypool_async import (
    Bucket,
    CostTooLarge,
    FailureAction,
    Hooks,
    Pool,
    QueueFull,
    QueueTimeout,
    Quota,
    RetryPolicy,
    TaskMoved,
    TaskState,
    Throttled,
    Window,
)
from retrypool_async._dispatch import Dispatch
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes


async def run_all(pool: Pool[Any, Any], count: int, **options: Any) -> None:
    """Submit so many tasks in one tick and wait for all."""
    for handle in [pool.submit(n, **options) for n in range(count)]:
        await handle


def started(*workers: Probe) -> list[float]:
    """When attempts began, over all the workers."""
    return sorted(start for worker in workers for start in worker.starts)


# -- one worker ------------------------------------------------------------------------------------


async def test_a_window_of_one_starts_one_task_per_span() -> None:
    """Five submits in one tick see one permit, not five. Origin: BerriAI/litellm#2994."""
    worker = Probe(quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 5)
    assert worker.starts == [0, 60, 120, 180, 240]


async def test_tokens_are_debited_at_the_start_not_at_the_answer() -> None:
    """The third of three costs of 400 waits for 200 to leak. Origin: BerriAI/litellm#5783."""
    worker = Probe(does=takes(1), quota=Quota(tokens=Bucket(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3, cost={"tokens": 400})
    assert worker.starts == pytest.approx([0, 1, 12], abs=1e-6)
    assert worker.starts[2] >= 12 - 1e-6


async def test_the_first_worker_with_quota_takes_the_task() -> None:
    """Never one that has none; without waiting it is refused. Origin: BerriAI/litellm#1289."""
    workers = [Probe(n, quota=Quota(Window(1, per=60))) for n in "ab"]
    async with Pool(workers, debug=True) as pool:
        for n in range(2):
            await pool.submit(n)
        third = pool.submit(2)
        with pytest.raises(QueueTimeout) as refused:
            await pool.submit(3, queue_timeout=0)
        assert refused.value.next_available == 60
        await third
    assert started(*workers) == [0, 0, 60]


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
    """Five submits 10 ms apart against two per 10 s. Origin: mjpieters/aiolimiter#298."""
    worker = Probe(quota=Quota(limit))
    async with Pool([worker], debug=True) as pool:
        handles = []
        for n in range(5):
            handles.append(pool.submit(n))
            await asyncio.sleep(0.01)
        for handle in handles:
            await handle
    assert worker.starts == pytest.approx(starts, abs=1e-6)


async def test_waiters_are_served_in_the_order_of_submission() -> None:
    """A bucket of one per six seconds. Origin: mjpieters/aiolimiter#200."""
    order: list[object] = []
    worker = Probe(does=order.append, quota=Quota(Bucket(1, per=6)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 10)
    assert order == list(range(10))
    assert worker.starts == pytest.approx([6 * n for n in range(10)], abs=1e-6)


async def test_a_task_that_waits_holds_nothing() -> None:
    """Blocked on tokens, it has taken no request. Origin: vutran1710/PyrateLimiter#189."""
    worker = Probe(quota=Quota(requests=Window(5, per=60), tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit("a", cost={"tokens": 100})
        second = pool.submit("b", cost={"tokens": 100})
        await asyncio.sleep(30)
        assert pool.snapshot().workers[0].quota_left == {"requests": 4, "tokens": 0}
        await second
    assert worker.starts == [0, 60]


async def test_several_limits_on_one_dimension_all_hold(caplog: pytest.LogCaptureFixture) -> None:
    """One per 7 s and five per 60 s. Origin: vutran1710/PyrateLimiter#184."""
    worker = Probe(quota=Quota(requests=[Window(1, per=7), Window(5, per=60)]))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 10)
    assert worker.starts == [0, 7, 14, 21, 28, 60, 67, 74, 81, 88]
    # No error: the wait from 28 to 60 is worth a warning, and that is all.
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_task_waits_for_the_scarcest_of_its_dimensions() -> None:
    """Whichever is last to have room; a dimension it does not use does not matter."""
    quota = Quota(requests=Window(2, per=10), tokens=Bucket(60, per=60), pages=Window(1, per=500))
    worker = Probe(quota=quota)
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0, cost={"tokens": 60, "pages": 1})
        await pool.submit(1, cost={"tokens": 5})
        await pool.submit(2, cost={"tokens": 10})
        await pool.submit(3, cost={"requests": 0, "tokens": 10})
        await pool.submit(4, cost={"pages": 1})
    assert worker.starts == pytest.approx([0, 5, 15, 25, 500], abs=1e-6)


async def test_a_cost_that_no_worker_could_grant_is_refused_at_submit() -> None:
    """1500 tokens fit the larger of two; 2500 fit none. Origin: ax-llm/ax PR#631."""
    small = Probe("small", quota=Quota(tokens=Bucket(1000, per=60)))
    large = Probe("large", quota=Quota(tokens=Bucket(2000, per=60)))
    async with Pool([small, large], debug=True) as pool:
        await pool.submit("x", cost={"tokens": 1500})
        with pytest.raises(CostTooLarge) as refused:
            pool.submit("x", cost={"tokens": 2500})
        with pytest.raises(CostTooLarge):
            pool.submit("x", cost={"tokens": 1500}, worker="small")
    assert (small.starts, large.starts) == ([], [0])
    assert (refused.value.dimension, refused.value.largest) == ("tokens", 2000)


async def test_a_failed_try_adds_nothing_to_the_level() -> None:
    """However often the router looks, 200 of 1000 start at 6 s. Origin: litellm#18953."""
    worker = Probe(quota=Quota(tokens=Bucket(1000, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit("a", cost={"tokens": 900})
        await asyncio.sleep(0.1)
        waiting = pool.submit("b", cost={"tokens": 200})
        for _ in range(50):
            pool.submit("c", cost={"tokens": 900}, queue_timeout=0)
            await asyncio.sleep(0.01)
        await waiting
    assert worker.starts == pytest.approx([0, 6], abs=1e-6)


async def test_a_window_counts_from_the_start_of_an_attempt() -> None:
    """Slow calls are bound by the worker alone. Origin: David-Desmaisons/RateLimiter#35."""
    worker = Probe(does=takes(5), quota=Quota(Window(1, per=2)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3)
    assert worker.starts == [0, 5, 10]


async def test_idle_time_does_not_pile_up_permits() -> None:
    """After an hour a bucket of five holds five. Origin: udoprog/leaky-bucket PR#30."""
    worker = Probe(quota=Quota(Bucket(5, per=1)))
    async with Pool([worker], debug=True) as pool:
        await asyncio.sleep(3600)
        await run_all(pool, 20)
    expected = [3600.0] * 5 + [3600 + 0.2 * n for n in range(1, 16)]
    assert worker.starts == pytest.approx(expected, abs=1e-6)


async def test_waiting_for_quota_is_no_failure() -> None:
    """No back-off, no attempt. Origin: taskforcesh/bullmq#1302."""
    worker = Probe(quota=Quota(Bucket(2, per=1)))
    async with Pool([worker], retry=RetryPolicy.fixed(300), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        for task in tasks:
            await task
        assert now() == pytest.approx(4, abs=1e-6)
        assert {task.attempt_count for task in tasks} == {1}


async def test_want_of_quota_never_kills_a_task() -> None:
    """A thousand tasks, one after the other, none dead. Origin: mlflow/mlflow#11694."""
    worker = Probe(quota=Quota(tokens=Bucket(1000, per=1)))
    async with Pool([worker]) as pool:
        for task in [pool.submit(n, cost={"tokens": 100}) for n in range(1000)]:
            await task
        assert now() == pytest.approx(99, abs=1e-3)
        assert pool.snapshot().dead == 0


async def test_retries_spend_quota_like_first_attempts() -> None:
    """The later of back-off and quota. Origin: celery/celery#4349."""
    worker = Probe(does=in_turn(ValueError(), "ok"), quota=Quota(Window(1, per=10)))
    async with Pool([worker], retry=RetryPolicy.fixed(1), debug=True) as pool:
        await pool.submit(1)
    assert worker.starts == [0, 10]


@pytest.mark.parametrize("per", [1.0, 0.1, 1 / 3, 7.3])
async def test_a_retry_at_the_very_border_of_a_window_does_not_spin(per: float) -> None:
    """A hundred starts at exact multiples, a few looks each. Origin: PyrateLimiter PR#289."""

    class Counting:
        """One per span, and how often it was asked."""

        capacity = 1.0

        def __init__(self) -> None:
            self.free_at = 0.0
            self.looks = 0

        def until(self, amount: float, now: float) -> float:
            self.looks += 1
            return max(self.free_at - now, 0.0)

        def take(self, amount: float, now: float) -> None:
            self.free_at = now + per

        def refund(self, amount: float, at: float) -> None: ...

        def left(self, now: float) -> float:
            return 1.0

    limiter = Counting()
    counted, plain = Probe(quota=Quota(limiter)), Probe(quota=Quota(Window(1, per=per)))
    async with Pool([counted]) as pool:
        await run_all(pool, 100)
    async with Pool([plain]) as pool:
        began = now()
        await run_all(pool, 100)
    assert limiter.looks <= 5 * 100
    assert plain.starts == pytest.approx([began + per * n for n in range(100)], abs=1e-6)


async def test_few_looks_are_taken_at_a_line_that_waits_for_quota(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three for each start, though the work takes no time. Origin: PyrateLimiter PR#289."""
    looks: list[float] = []
    plan = Dispatch._plan

    def counted(self: Dispatch, at: float) -> None:
        looks.append(at)
        plan(self, at)

    worker = Probe(quota=Quota(Window(1, per=1)))
    async with Pool([worker], debug=True) as pool:
        monkeypatch.setattr(Dispatch, "_plan", counted)
        await run_all(pool, 5)
    assert worker.starts == [0, 1, 2, 3, 4]
    assert len(looks) <= 3 * 5


async def test_at_the_very_border_of_a_window_a_task_starts_without_waiting() -> None:
    """It need not be told to wait for that. Origin: vutran1710/PyrateLimiter PR#289."""
    worker = Probe(quota=Quota(Window(1, per=1)))
    async with Pool([worker], debug=True) as pool:
        for second in range(5):
            await pool.submit(second, queue_timeout=0)
            with pytest.raises(QueueTimeout):
                await pool.submit(second, queue_timeout=0)
            await asyncio.sleep(1)
    assert worker.starts == [0, 1, 2, 3, 4]


async def test_steps_of_the_wall_clock_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour back, then two forward. Origin: tomasbasham/ratelimit#11."""
    real = time.time

    def jumping() -> float:
        return real() + (0 if now() < 10 else -3600 if now() < 20 else 7200)

    monkeypatch.setattr(time, "time", jumping)
    worker = Probe(quota=Quota(Bucket(1, per=6)))
    async with Pool([worker], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        for task in tasks:
            await task
        assert all(attempt.duration >= 0 for task in tasks for attempt in task.attempts)
        assert all(min(task.times) >= 0 for task in tasks)
    assert worker.starts == pytest.approx([6 * n for n in range(10)], abs=1e-6)


async def test_a_window_holds_over_any_span_whatever_the_mixture_of_costs() -> None:
    """Never more than 100 within any ten seconds."""
    spent: list[tuple[float, float]] = []
    worker = Probe(quota=Quota(tokens=Window(100, per=10)))
    worker.does = lambda cost: spent.append((now(), cost))
    async with Pool([worker], debug=True) as pool:
        for n in range(60):
            cost = float(n * 37 % 90 + 1)
            pool.submit(cost, cost={"tokens": cost})
            await asyncio.sleep(n % 3 * 0.7)
        await pool.join()
    for at, _ in spent:
        assert sum(cost for start, cost in spent if at <= start < at + 10 - 1e-6) <= 100


async def test_fractions_and_nothing_are_costs_too() -> None:
    """Half a request, and a request that is free."""
    worker = Probe(quota=Quota(Window(1, per=10)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3, cost=0.5)
        await run_all(pool, 5, cost=0)
    assert worker.starts == [0, 0, 10, 10, 10, 10, 10, 10]


async def test_the_pool_can_work_out_the_cost_itself() -> None:
    """From the data, where the task says nothing."""
    worker = Probe(quota=Quota(tokens=Window(10, per=60)))
    async with Pool([worker], cost=lambda text: {"tokens": len(text)}, debug=True) as pool:
        await pool.submit("12345678")
        await pool.submit("1234")
        await pool.submit("1234", cost={"tokens": 0})
    assert worker.starts == [0, 60, 60]


async def test_nothing_is_given_back_for_an_attempt_that_failed() -> None:
    """The service has counted it."""
    worker = Probe(does=fails(), quota=Quota(Window(2, per=10)))
    once = RetryPolicy.fixed(0, attempts=1)
    async with Pool([worker], retry=once, debug=True) as pool:
        for n in range(4):
            await pool.submit(n).wait()
    assert worker.starts == [0, 0, 10, 10]


async def test_a_task_that_is_withdrawn_before_it_starts_gives_its_permit_back() -> None:
    """Its worker was reserved and its quota debited."""
    worker = Probe(quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        withdrawn = pool.submit(1)
        withdrawn.cancel()
        await pool.submit(2)
    assert worker.starts == [0]


async def test_a_waiter_that_is_cancelled_leaves_its_place() -> None:
    """The next one starts when the window moves, and only two permits were used."""
    worker = Probe(quota=Quota(Window(1, per=10)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1)
        second, third = pool.submit(2), pool.submit(3)
        await asyncio.sleep(5)
        second.cancel()
        await third
    assert worker.starts == [0, 10]


async def test_a_full_queue_refuses_at_once() -> None:
    """Three start, five wait, two are refused. Origin: udoprog/leaky-bucket#34."""
    worker = Probe(quota=Quota(Bucket(3, per=0.3)))
    refused = []
    async with Pool([worker], max_queue=5, debug=True) as pool:
        for n in range(10):
            try:
                pool.submit(n)
            except QueueFull:
                refused.append((n, now()))
            await settle()
        await pool.join()
    assert refused == [(8, 0), (9, 0)]
    assert worker.starts == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-6)


async def test_room_in_the_queue_is_never_lost() -> None:
    """However its tasks end, whoever takes the dead ones out, and whatever was refused."""
    actions = {"drop": FailureAction.DROP, "dead": FailureAction.DEAD}

    def work(data: str) -> None:
        if data in actions:
            raise ValueError

    hooks = Hooks(on_failure=lambda failed: actions[failed.task.data])
    async with Pool([Probe("w", does=work)], hooks=hooks, max_queue=3, debug=True) as pool:
        for _ in range(3):
            tasks = [pool.submit(data) for data in ("drop", "dead", "value", "value")]
            with pytest.raises(QueueFull):
                pool.submit("value")
            tasks[-1].cancel()
            await pool.join()
            assert len(pool.dead.pull_all()) == 1


async def test_a_cooldown_and_a_quota_both_hold() -> None:
    """Whichever is longer."""
    worker = Probe(does=in_turn(Throttled(15), "ok"), quota=Quota(Window(1, per=10)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3)
    assert worker.starts == [0, 15, 25, 35]


# -- shared by several workers ---------------------------------------------------------------------


async def test_a_shared_bucket_serves_its_workers_fairly() -> None:
    """Twenty on five a second: the k-th at (k - 4) / 5. Origin: sidekiq/sidekiq#5315."""
    quota = Quota(Bucket(5, per=1))
    workers = [Probe(quota=quota) for _ in range(20)]
    when: dict[int, float] = {}
    for worker in workers:
        worker.does = lambda n: when.update({n: now()})
    async with Pool(workers, debug=True) as pool:
        await run_all(pool, 20)
    expected = [0.0] * 5 + [0.2 * k for k in range(1, 16)]
    assert [when[n] for n in range(20)] == pytest.approx(expected, abs=1e-6)


async def test_one_quota_object_is_shared_and_equal_ones_are_not() -> None:
    """Ten a minute, once or twice. Origin: hashicorp/aws-sdk-go-base#915."""
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


async def test_one_description_in_two_quotas_is_two_limits() -> None:
    """The state sits in the quota."""
    window = Window(1, per=60)
    workers = [Probe(quota=Quota(window)) for _ in range(2)]
    async with Pool(workers, debug=True) as pool:
        await run_all(pool, 4)
    assert started(*workers) == [0, 0, 60, 60]


async def test_a_pool_wide_quota_holds_over_all_workers() -> None:
    """Two per ten seconds for three workers."""
    workers = [Probe() for _ in range(3)]
    async with Pool(workers, quota=Quota(Window(2, per=10)), debug=True) as pool:
        await run_all(pool, 6)
    assert started(*workers) == [0, 0, 10, 10, 20, 20]


async def test_own_shared_and_pool_wide_limits_are_debited_together_or_not_at_all() -> None:
    """A start that one of them forbids takes nothing from the others."""
    account = Quota(tokens=Window(100, per=30))
    a = Probe("a", quota=[Quota(Window(1, per=10)), account])
    b = Probe("b", quota=[Quota(Window(1, per=10)), account])
    async with Pool([a, b], quota=Quota(Window(3, per=25)), debug=True) as pool:
        await run_all(pool, 6, cost={"tokens": 40})
        # Two at once; 20 tokens are left, so at 10 s nobody has spent his own request.
    assert started(a, b) == [0, 0, 30, 30, 60, 60]


async def test_a_limiter_of_a_foreign_kind_is_really_debited() -> None:
    """So that other code may use the same one."""
    limiter = AsyncLimiter(4, 8)
    worker = Probe(quota=Quota(limiter))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 3)
        assert limiter.has_capacity(1)
        assert not limiter.has_capacity(2)
        await limiter.acquire()
        await pool.submit(3)
    assert worker.starts == pytest.approx([0, 0, 0, 2], abs=1e-6)


# -- a large task among small ones -----------------------------------------------------------------


async def test_a_large_task_is_not_starved_by_small_ones() -> None:
    """It holds the worker that will fit it first; another worker goes on with the rest."""
    when: dict[object, float] = {}
    big = Probe("big", quota=Quota(tokens=Window(100, per=60)))
    other = Probe("other", quota=Quota(tokens=Window(50, per=60)))
    big.does = other.does = lambda data: when.update({data: now()})
    async with Pool([big, other], debug=True) as pool:
        pool.submit("first", cost={"tokens": 40}, worker="big")
        pool.submit("large", cost={"tokens": 100})
        for n in range(10):
            pool.submit(n, cost={"tokens": 10})
        await pool.join()
    assert when["large"] == 60
    assert [when[n] for n in range(5)] == [0] * 5
    assert big.starts == [0, 60]


async def test_a_stream_of_small_tasks_does_not_starve_a_large_one() -> None:
    """One a second for two minutes, on the only worker."""
    when: dict[object, float] = {}
    worker = Probe(quota=Quota(tokens=Bucket(60, per=60)))
    worker.does = lambda data: when.update({data: now()})
    async with Pool([worker], debug=True) as pool:
        for n in range(120):
            pool.submit(n, cost={"tokens": 5})
            if n == 20:
                pool.submit("large", cost={"tokens": 60})
            await asyncio.sleep(1)
        # Before it are 21 small ones, 105 tokens: the last starts at 45, 60 s later it has leaked.
        assert when["large"] == pytest.approx(105, abs=1e-3)
        await pool.close("cancel")


@pytest.mark.parametrize("scope", ["shared", "pool"])
async def test_others_who_share_the_quota_do_not_starve_a_large_task(scope: str) -> None:
    """It is pinned to an idle worker; a busy one has a long row of small tasks."""
    when: dict[object, float] = {}

    async def work(data: object) -> None:
        when[data] = now()
        await asyncio.sleep(1)

    quota = Quota(tokens=Window(100, per=60))
    own, wide = (quota, None) if scope == "shared" else (None, quota)
    a, b = Probe("a", does=work, quota=own), Probe("b", does=work, quota=own)
    async with Pool([a, b], quota=wide, debug=True) as pool:
        pool.submit("first", cost={"tokens": 10}, worker="b")
        pool.submit("large", cost={"tokens": 100}, worker="a")
        for n in range(60):
            pool.submit(n, cost={"tokens": 5}, worker="b")
        await pool.join()
    assert when["large"] == 60
    assert when[0] == 120


async def test_a_large_task_holds_only_what_it_waits_for() -> None:
    """Tasks that use another dimension pass it."""
    when: dict[object, float] = {}
    worker = Probe(
        quota=[Quota(tokens=Window(100, per=60)), Quota(pages=Window(5, per=60))],
        does=lambda data: when.update({data: now()}),
    )
    other = Probe(
        quota=[Quota(pages=Window(5, per=60))], does=lambda data: when.update({data: now()})
    )
    async with Pool([worker, other], debug=True) as pool:
        pool.submit("first", cost={"tokens": 90}, worker=pool.workers()[0])
        await settle()
        pool.submit("large", cost={"tokens": 50}, worker=pool.workers()[0])
        pool.submit("page", cost={"pages": 1})
        await pool.join()
    assert when == {"first": 0, "page": 0, "large": 60}


# -- changed while it runs -------------------------------------------------------------------------


async def test_what_a_large_task_no_longer_waits_for_is_free_at_once() -> None:
    """It waits on for its worker's own quota; what all share has room long before."""
    scarce = Probe(name="scarce", quota=Quota(Window(1, per=10)))
    other = Probe(name="other")
    async with Pool([scarce, other], quota=Quota(Window(2, per=1)), debug=True) as pool:
        for worker in ("scarce", "other") * 2:
            pool.submit(worker, worker=worker)
        await pool.join()
    assert (scarce.starts, other.starts) == ([0, 10], [0, 1])


async def test_a_changed_quota_carries_usage_over() -> None:
    """Two used of two; three allowed now: one more at once, the next when the window moves."""
    worker = Probe("w", quota=Quota(Window(2, per=60)))
    async with Pool([worker], debug=True) as pool:
        await run_all(pool, 2)
        pool.set_quota("w", Quota(Window(3, per=60)))
        await run_all(pool, 2)
    assert worker.starts == [0, 0, 0, 60]


@pytest.mark.parametrize(
    ("old", "new", "starts_at"),
    [
        (Window(1, per=60), Window(1, per=20), 20),
        (Window(1, per=60), Window(2, per=60), 5),
        (Window(1, per=60), Bucket(1, per=10), 15),
        (Bucket(1, per=60), Window(1, per=10), 15),
        (Window(1, per=20), Window(1, per=60), 60),
        (Bucket(1, per=60), Bucket(1, per=6), 10.5),
    ],
)
async def test_a_waiting_task_wakes_at_the_time_the_new_quota_says(
    old: Any, new: Any, starts_at: float
) -> None:
    """One used at 0, changed at 5."""
    worker = Probe("w", quota=Quota(old))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        waiting = pool.submit(1)
        await asyncio.sleep(5)
        pool.set_quota("w", Quota(new))
        await waiting
    assert worker.starts == pytest.approx([0, starts_at], abs=1e-6)


async def test_usage_is_carried_over_for_each_dimension() -> None:
    """What was used of one says nothing of another; a new one begins unused."""
    worker = Probe("w", quota=Quota(requests=Window(9, per=60), tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0, cost={"tokens": 70})
        new = Quota(tokens=Window(200, per=60), pages=Window(3, per=60), requests=Window(4, per=60))
        pool.set_quota("w", new)
        left = {"tokens": 130, "pages": 3, "requests": 3}
        assert pool.snapshot().workers[0].quota_left == left


async def test_lifting_a_quota_starts_what_waits() -> None:
    """At once; and putting one on holds from then."""
    worker = Probe("w", quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(3)]
        await asyncio.sleep(5)
        pool.set_quota("w", None)
        for task in tasks:
            await task
        pool.set_quota("w", Quota(Window(1, per=60)))
        await run_all(pool, 2)
    assert worker.starts == [0, 5, 5, 5, 65]


async def test_a_shared_quota_changes_for_all_who_share_it() -> None:
    """By way of any of them."""
    quota = Quota(Window(1, per=60))
    workers = [Probe(name, quota=quota) for name in "ab"]
    async with Pool(workers, debug=True) as pool:
        await pool.submit(0)
        pool.set_quota("b", Quota(Window(3, per=60)))
        await run_all(pool, 3)
    assert started(*workers) == [0, 0, 0, 60]


async def test_a_waiting_task_that_no_longer_fits_ends_at_once() -> None:
    """It would wait for ever; one that runs goes on."""
    worker = Probe("w", does=takes(5), quota=Quota(tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        running = pool.submit(0, cost={"tokens": 80})
        waiting = pool.submit(1, cost={"tokens": 80})
        await asyncio.sleep(1)
        pool.set_quota("w", Quota(tokens=Window(50, per=60)))
        with pytest.raises(CostTooLarge):
            await waiting
        assert now() == 1
        assert await running == 0


async def test_a_refused_change_leaves_the_old_quota_in_force() -> None:
    """Nothing is half done."""
    worker = Probe("w", quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        waiting = pool.submit(1)
        for bad in (5, "fast", [Quota(Window(1, per=1)), None]):
            with pytest.raises(TypeError):
                pool.set_quota("w", bad)  # type: ignore[arg-type]
        await waiting
    assert worker.starts == [0, 60]


async def test_a_run_promised_under_the_old_quota_counts_for_the_new() -> None:
    """It has not started when the quota comes, so it is the new quota's first."""
    worker = Probe("w")
    async with Pool([worker], debug=True) as pool:
        first = pool.submit(1)
        pool.set_quota("w", Quota(Window(1, per=10)))
        second = pool.submit(2)
        await first
        await second
        assert worker.starts == [0, 10]


@pytest.mark.parametrize("how", ["cancel", "pause"])
async def test_a_promise_withdrawn_after_a_change_of_quota_costs_nothing(how: str) -> None:
    """Neither quota has seen a run."""
    worker = Probe("w", quota=Quota(Window(1, per=3)))
    async with Pool([worker], debug=True) as pool:
        task = pool.submit(1)
        pool.set_quota("w", Quota(Window(1, per=3)))
        if how == "cancel":
            task.cancel()
            task = pool.submit(2)
        else:
            pool.pause()
            pool.resume()
        await task
        assert worker.starts == [0]


async def test_a_full_queue_of_none_takes_no_task_that_must_wait_for_quota() -> None:
    """Though the worker is free, and nobody else waits."""
    worker = Probe("w", quota=Quota(Window(1, per=10)))
    async with Pool([worker], max_queue=0, debug=True) as pool:
        await pool.submit(1)
        events = pool.events()
        with pytest.raises(QueueFull):
            pool.submit(2)
        await asyncio.sleep(10)
        assert await pool.submit(3) == 3
    moves = [event.old for event in [e async for e in events] if isinstance(event, TaskMoved)]
    assert moves.count(TaskState.CREATED) == 1, "told of a task that does not exist"


async def test_workers_that_come_and_go_bring_no_fresh_allowance() -> None:
    """Two starts in ten seconds for the pool, however often its workers change."""
    pool = Pool([Probe("a")], quota=Quota(Window(2, per=10)), debug=True)
    starts: list[float] = []
    async with pool:
        for n in range(6):
            pool.submit(n, on_running=lambda _: starts.append(now()))
        for name in ("b", "c"):
            await pool.add(Probe(name))
            pool.pause(name)
            pool.resume(name)
            await asyncio.sleep(1)
            await pool.remove(name)
        await pool.join()
    assert starts == [0, 0, 10, 10, 20, 20]


async def test_a_held_quota_is_free_as_soon_as_it_has_room() -> None:
    """Though the task that held it waits on for another quota, and nothing else happens."""
    a, b = Probe("a"), Probe("b", quota=Quota(Window(1, per=5)))
    async with Pool([a, b], quota=Quota(Window(1, per=3)), debug=True) as pool:
        for worker in ("b", "b", None):
            pool.submit(worker, worker=worker)
    assert (a.starts, b.starts) == ([3], [0, 6])
