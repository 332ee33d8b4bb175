"""The three limits of time: of one attempt, of a task's whole life, and until its first start."""

from __future__ import annotations

import asyncio

import pytest

from retrypool_async import (
    AttemptOutcome,
    AttemptTimeout,
    Bounce,
    EndReason,
    Pool,
    QueueTimeout,
    Quota,
    RetryPolicy,
    Snooze,
    TaskTimeout,
    Throttled,
    Window,
    WorkerLost,
    WorkerState,
    current_task,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)
DOUBLING = RetryPolicy.exponential(1, max=60, attempts=None, jitter=0)


# -- attempt_timeout -------------------------------------------------------------------------------


async def test_attempts_have_a_limit_of_their_own() -> None:
    """Three attempts of twenty seconds. Origin: googleapis/google-cloud-python#6009."""
    worker = Probe(does=takes(1000))
    async with Pool([worker], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1, attempt_timeout=20)
        with pytest.raises(AttemptTimeout):
            await task
        assert now() == 60
        assert [attempt.duration for attempt in task.attempts] == [20, 20, 20]
        assert [a.outcome for a in task.attempts] == [AttemptOutcome.TIMEOUT] * 3


async def test_an_attempts_clock_does_not_run_in_the_queue() -> None:
    """Two tasks of 60 s on one worker, 70 s each. Origin: Netflix/Hystrix#1718."""
    async with Pool([Probe(does=takes(60))], attempt_timeout=70, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(2)]
        for end, task in zip((60, 120), tasks, strict=True):
            await task
            assert now() == end


async def test_an_attempts_clock_does_not_run_while_waiting_for_quota_or_backing_off() -> None:
    """One second for each attempt, though the task lives for twenty."""
    worker = Probe(does=in_turn(ValueError(), "ok"), quota=Quota(Window(1, per=10)))
    async with Pool([worker], retry=RetryPolicy.fixed(15), debug=True) as pool:
        await pool.submit(0)
        task = pool.submit(1, attempt_timeout=1)
        assert await task == "ok"


async def test_a_value_returned_at_the_very_limit_counts() -> None:
    """Whichever timer comes first."""
    async with Pool([Probe(does=takes(2))], retry=ONE, debug=True) as pool:
        for _ in range(20):
            assert await pool.submit(7, attempt_timeout=2) == 7
            assert await pool.submit(7, timeout=2) == 7


async def test_a_timed_out_attempt_is_retried_while_its_code_still_cleans_up() -> None:
    """The task goes to the other worker at once; the first is out of use until it is done."""

    async def slow_to_stop(data: object) -> object:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(3)

    a, b = Probe("a", does=slow_to_stop), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1, attempt_timeout=5)
        assert await task == 1
        assert (now(), [x.worker for x in task.attempts]) == (5, ["a", "b"])
        assert pool.snapshot().workers[0].state is WorkerState.RESETTING
        a.does = None
        await pool.submit(2, worker="a")
        assert now() == 8
    assert a.log == ["start", "stop", "start", "stop"]


async def test_an_attempt_may_be_shorter_than_the_task_that_holds_it() -> None:
    """The nearer of the two limits cuts it off."""
    worker = Probe(does=takes(1000))
    async with Pool([worker], retry=RetryPolicy.fixed(0, attempts=None), debug=True) as pool:
        task = pool.submit(1, attempt_timeout=4, timeout=10)
        with pytest.raises(TaskTimeout) as late:
            await task
        assert now() == 10
        assert [attempt.duration for attempt in task.attempts] == [4, 4, 2]
        assert late.value.attempts == 3
        assert isinstance(late.value.last_error, AttemptTimeout)


# -- timeout ---------------------------------------------------------------------------------------


async def test_one_long_attempt_is_cut_off_at_the_tasks_limit() -> None:
    """At 2 s of 5; the worker is free right after. Origin: litl/backoff#186."""
    worker = Probe(does=takes(5))
    async with Pool([worker], debug=True) as pool:
        task = pool.submit(1, timeout=2)
        with pytest.raises(TaskTimeout):
            await task
        assert (now(), len(task.attempts)) == (2, 1)
        worker.does = None
        await pool.submit(2)
        assert now() == 2


async def test_a_retry_that_would_come_too_late_ends_the_task_now() -> None:
    """Attempts at 0, 1 and 3; the next would be at 7, past 5. Origin: jd/tenacity PR#423."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=DOUBLING, debug=True) as pool:
        task = pool.submit(1, timeout=5)
        with pytest.raises(TaskTimeout) as late:
            await task
        assert now() == 3
        assert late.value.attempts == task.attempt_count == 3
        assert isinstance(late.value.last_error, ValueError)
        assert late.value.__cause__ is late.value.last_error
        assert late.value.waiting_for == "backoff"
        assert task.reason is EndReason.DEADLINE
    assert worker.starts == [0, 1, 3]


@pytest.mark.parametrize(("verdict", "attempts"), [(Bounce(), 1), (WorkerLost(), 0)])
async def test_an_attempt_that_ends_by_itself_at_the_deadline_is_in_the_report(
    verdict: Exception, attempts: int
) -> None:
    """Counted if it counts, and named as the last error."""

    async def until_the_deadline(data: object) -> None:
        await asyncio.sleep(2)
        raise verdict

    async with Pool([Probe(does=until_the_deadline), Probe("other")], debug=True) as pool:
        task = pool.submit(1, timeout=2)
        with pytest.raises(TaskTimeout, match="timeout of 2 s reached") as caught:
            await task
    assert now() == 2
    assert (caught.value.attempts, caught.value.last_error) == (attempts, verdict)


async def test_on_request_the_last_wait_is_cut_to_fit() -> None:
    """One more attempt before the deadline. Origin: googleapis/google-cloud-python PR#9873."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=DOUBLING, deadline="clip", debug=True) as pool:
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=5)
        assert 3 < now() < 5
    assert worker.starts[:3] == [0, 1, 3]
    assert len(worker.starts) == 4
    assert worker.starts[3] == now()


@pytest.mark.parametrize("deadline", ["end", "clip"])
async def test_no_attempt_starts_at_or_after_the_deadline(deadline: str) -> None:
    """Not even one that would start exactly then."""
    worker = Probe(does=fails())
    policy = RetryPolicy.fixed(1, attempts=None)
    async with Pool([worker], retry=policy, deadline=deadline, debug=True) as pool:
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=3)
        assert now() <= 3
    assert worker.starts[:3] == [0, 1, 2]
    assert max(worker.starts) < 3


@pytest.mark.parametrize("obstacle", ["busy", "quota", "cooling", "paused"])
async def test_nothing_starts_at_the_very_moment_of_its_deadline(obstacle: str) -> None:
    """Though the worker comes free just then."""
    worker = Probe("w", does=takes(5) if obstacle == "busy" else None)
    worker.quota = Quota(Window(1, per=5)) if obstacle == "quota" else None
    async with Pool([worker], debug=True) as pool:
        if obstacle == "cooling":
            pool.cooldown("w", 5)
        elif obstacle == "paused":
            pool.pause("w", until=5)
        else:
            pool.submit(0)
            await settle()
        worker.starts.clear()
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=5)
        assert (now(), worker.starts) == (5, [])
        assert await pool.submit(2) == 2


async def test_waiting_for_quota_goes_on_to_the_deadline() -> None:
    """Since somebody may give some back."""
    worker = Probe(quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        task = pool.submit(1, timeout=20)
        with pytest.raises(TaskTimeout) as late:
            await task
        assert now() == 20
        assert (late.value.waiting_for, late.value.attempts) == ("quota", 0)
        assert late.value.last_error is None
    assert worker.starts == [0]


@pytest.mark.parametrize(
    ("obstacle", "waiting_for"), [("busy", "busy"), ("paused", "paused"), ("pool", "paused")]
)
async def test_a_deadline_runs_while_nothing_can_start(obstacle: str, waiting_for: str) -> None:
    """Behind a busy worker, a paused one, or a paused pool."""
    worker = Probe("w", does=takes(100))
    async with Pool([worker], debug=True) as pool:
        if obstacle == "busy":
            pool.submit(0)
        else:
            pool.pause("w" if obstacle == "paused" else None)
        with pytest.raises(TaskTimeout) as late:
            await pool.submit(1, timeout=7)
        assert now() == 7
        assert late.value.waiting_for == waiting_for
        await pool.close("cancel")


async def test_a_deadline_runs_during_the_back_off() -> None:
    """A retry that is due in time but finds no free worker dies at the deadline."""
    worker = Probe("w", does=in_turn(ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(3), debug=True) as pool:
        task = pool.submit(1, timeout=10)
        await asyncio.sleep(1)
        worker.does = takes(100)
        pool.submit(2)
        with pytest.raises(TaskTimeout) as late:
            await task
        assert now() == 10
        assert isinstance(late.value.last_error, ValueError)
        assert late.value.attempts == 1
        await pool.close("cancel")


async def test_a_timeout_of_zero_lets_nothing_start() -> None:
    """Zero means zero; another task is not disturbed."""
    worker = Probe()
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=0)
        assert now() == pytest.approx(0, abs=1e-6)
        assert await pool.submit(2) == 2
    assert len(worker.starts) == 1


async def test_throttles_do_not_stretch_the_deadline_nor_count_as_attempts() -> None:
    """Refused each second; the next call would be at 8, past 7.5. Origin: bullmq#1571."""
    worker = Probe(does=fails(Throttled(1)))
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(TaskTimeout) as late:
            await pool.submit(1, timeout=7.5)
        assert now() == 7
        assert late.value.attempts == 0
        assert isinstance(late.value.last_error, Throttled)


async def test_the_pools_limits_hold_where_a_task_sets_none() -> None:
    """A task may set its own, or lift one with None."""
    worker = Probe(does=takes(8))
    async with Pool([worker], timeout=5, retry=ONE, debug=True) as pool:
        with pytest.raises(TaskTimeout):
            await pool.submit(1)
        assert now() == 5
        await pool.submit(2, timeout=None)
        await pool.submit(3, timeout=9)
        assert now() == 21


# -- queue_timeout ---------------------------------------------------------------------------------


async def test_a_task_that_does_not_start_in_time_leaves_the_queue() -> None:
    """At 10 s with no attempt; the running one goes on. Origin: flyteorg/flyte#1149."""
    async with Pool([Probe(does=takes(60))], debug=True) as pool:
        first, second = pool.submit("a"), pool.submit("b", queue_timeout=10)
        with pytest.raises(QueueTimeout):
            await second
        assert (now(), second.attempts) == (10, ())
        assert await first == "a"
        assert now() == 60


async def test_time_between_attempts_is_not_queue_time() -> None:
    """The limit is on the first start only."""
    worker = Probe(does=in_turn(ValueError(), ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(30), debug=True) as pool:
        assert await pool.submit(1, queue_timeout=1) == "ok"
        assert now() == 60


@pytest.mark.parametrize(
    ("obstacle", "reason", "next_available"),
    [
        ("busy", "busy", None),
        ("cooling", "cooling", 898),
        ("quota", "quota", 38),
        ("paused", "paused", None),
        ("pool", "paused", None),
    ],
)
async def test_a_queue_timeout_says_what_was_missing(
    obstacle: str, reason: str, next_available: float | None
) -> None:
    """And when that would have come. Origin: vladkens/twscrape PR#317."""
    quota = Quota(Window(1, per=40)) if obstacle == "quota" else None
    worker = Probe("w", does=takes(9) if obstacle == "busy" else None, quota=quota)
    async with Pool([worker], debug=True) as pool:
        if obstacle == "cooling":
            pool.cooldown("w", 900)
        elif obstacle in ("paused", "pool"):
            pool.pause("w" if obstacle == "paused" else None)
        else:
            pool.submit(0)
        with pytest.raises(QueueTimeout) as late:
            await pool.submit(1, queue_timeout=2)
        assert now() == 2
        assert (late.value.reason, late.value.next_available) == (reason, next_available)
        assert late.value.retry_after == late.value.next_available
        await pool.close("cancel")


async def test_a_queue_timeout_without_workers_says_so() -> None:
    """It waits no longer than asked, whatever the pool's patience."""
    async with Pool([], no_workers="wait", debug=True) as pool:
        with pytest.raises(QueueTimeout) as late:
            await pool.submit(1, queue_timeout=2)
        assert (now(), late.value.reason, late.value.next_available) == (2, "no workers", None)


async def test_queue_timeout_zero_starts_now_or_says_when() -> None:
    """As a web service needs it for its Retry-After. Origin: boto/botocore#3179."""
    worker = Probe(quota=Quota(Window(1, per=40)))
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit("x", queue_timeout=0) == "x"
        with pytest.raises(QueueTimeout) as refused:
            await pool.submit("y", queue_timeout=0)
        assert (refused.value.reason, refused.value.retry_after) == ("quota", 40)
        assert now() == 0
    assert worker.starts == [0]


async def test_the_soonest_of_several_workers_is_named() -> None:
    """By the time until one of them could have taken the task."""
    workers = [Probe(name, quota=Quota(Window(1, per=60))) for name in "ab"]
    async with Pool(workers, debug=True) as pool:
        for n in range(2):
            await pool.submit(n)
        pool.cooldown("a", 90)
        with pytest.raises(QueueTimeout) as refused:
            await pool.submit(2, queue_timeout=0)
        assert refused.value.next_available == 60
        assert [worker.starts for worker in workers] == [[0], [0]]


# -- remaining -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, None),
        ({"attempt_timeout": 5}, 4),
        ({"timeout": 5}, 2),
        ({"attempt_timeout": 5, "timeout": 60}, 4),
        ({"attempt_timeout": 50, "timeout": 7}, 4),
        ({"queue_timeout": 3}, None),
    ],
)
async def test_an_attempt_can_ask_how_long_it_has(
    limits: dict[str, float], left: float | None
) -> None:
    """Two seconds in the queue, one at work; the nearer limit counts."""

    async def work(data: object) -> float | None:
        if data == "first":
            return await asyncio.sleep(2)
        await asyncio.sleep(1)
        return current_task().remaining()

    async with Pool([Probe(does=work)], debug=True) as pool:
        pool.submit("first")
        assert await pool.submit("second", **limits) == left  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ValueError(), Throttled(0), Snooze(0)], ids=type)
async def test_an_attempt_that_ends_at_its_limit_leaves_the_next_its_whole_time(
    error: BaseException,
) -> None:
    """The limit that had been reached was the first attempt's."""

    async def first(_: object) -> None:
        await asyncio.sleep(0.5)
        raise error

    turns = in_turn(first, takes(0.4))
    worker = Probe("w", does=lambda data: turns(data)(data))
    async with Pool([worker], retry=RetryPolicy.fixed(0, attempts=2), debug=True) as pool:
        task = pool.submit(1, attempt_timeout=0.5)
        assert await task == 1
        assert worker.starts == [0, 0.5]
        assert now() == pytest.approx(0.9)
