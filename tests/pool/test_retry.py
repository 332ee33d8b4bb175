"""When a failed task runs again, where, and whose fault it was."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
import tenacity

from retrypool_async import (
    AttemptTimeout,
    Bounce,
    Discard,
    FailureAction,
    Hooks,
    PolicyError,
    Pool,
    RetryPolicy,
    Snooze,
    TaskState,
    TaskTimeout,
    Throttled,
    ThrottleLimit,
    WorkerLossLimit,
    WorkerLost,
    WorkerState,
    current_task,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


async def test_the_caller_gets_the_original_exception_with_a_note() -> None:
    """Not a wrapper of ours."""
    async with Pool([Probe("key-7", does=fails())], retry=RetryPolicy.fixed(0), debug=True) as pool:
        with pytest.raises(ValueError, match="attempt") as failure:
            await pool.submit(1)
    assert failure.value.__notes__ == ["attempt 3 on key-7"]


async def test_a_waiting_retry_holds_no_worker() -> None:
    """It comes back on the worker that is free when it falls due."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok")), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(5), debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        assert task.state is TaskState.SCHEDULED
        a.does = takes(45)
        pool.submit(2, worker="a")
        await task
        assert now() == 5
    assert b.starts == [5]


async def test_bounce_tries_every_worker_before_it_starts_over() -> None:
    """And never resets the count of attempts."""
    workers = [Probe(n, does=fails()) for n in "ab"]
    policy = RetryPolicy.fixed(1, attempts=5)
    async with Pool(workers, bounce=True, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        assert [attempt.worker for attempt in task.attempts] == list("ababa")
        assert now() == 4


async def test_an_immediate_retry_goes_back_to_the_same_worker_first() -> None:
    """Before all that wait."""
    worker = Probe("a", does=in_turn(ValueError(), ValueError(), "ok"))
    other = Probe("b", does=takes(100))
    async with Pool([worker, other], debug=True) as pool:
        task = pool.submit(1, immediate=True)
        behind = pool.submit(2, worker="a")
        await task
        assert [attempt.worker for attempt in task.attempts] == list("aaa")
        await behind
        assert now() == 0


async def test_a_throttle_cools_the_worker_and_costs_the_task_nothing() -> None:
    """The task leaves at once; the worker is back exactly when the service said."""
    a, b = Probe("a", does=fails(Throttled(30))), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        task = pool.submit(1)
        await task
        assert (now(), task.throttles, task.attempt_count) == (0, 1, 1)
        assert pool.snapshot().workers[0].cooling_until == 30
        assert pool.snapshot().workers[0].state is WorkerState.COOLING


async def test_alone_a_throttled_task_waits_for_the_hint_exactly() -> None:
    """Our own back-off does not count, neither longer nor shorter."""
    worker = Probe(does=in_turn(Throttled(90), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(8), debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0, 90]


async def test_throttles_are_bounded_on_their_own() -> None:
    """Ten are allowed: the eleventh refusal ends it."""
    worker = Probe(does=fails(Throttled(1)))
    async with Pool([worker], max_throttles=10, debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(ThrottleLimit):
            await task
        assert (now(), task.throttles, task.attempt_count) == (10, 11, 0)


async def test_a_throttled_task_that_cannot_come_back_in_time_ends_now() -> None:
    """The next call would be at 8, past 7.5."""
    worker = Probe(does=fails(Throttled(1)))
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=7.5)
        assert now() == 7


async def test_a_hint_above_the_limit_is_not_cut_short() -> None:
    """Alone the task ends; beside another worker it bounces."""
    a, b = Probe("a", does=fails(Throttled(3600))), Probe("b")
    async with Pool([a], max_retry_after=120, debug=True) as pool:
        with pytest.raises(ThrottleLimit):
            await pool.submit(1)
    async with Pool([a, b], max_retry_after=120, debug=True) as pool:
        assert await pool.submit(1) == 1
        assert now() == 0


async def test_without_a_hint_the_cooldown_doubles() -> None:
    """1, 2, 4 seconds."""
    worker = Probe(does=in_turn(*[Throttled() for _ in range(3)], "ok"))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1)
    assert worker.starts == [0, 1, 3, 7]


async def test_a_lost_worker_is_rebuilt_and_its_task_is_not_blamed() -> None:
    """Ten tasks all end well."""
    a, b = Probe("a", does=in_turn(WorkerLost(), "ok")), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        for task in tasks:
            await task
        assert [task.attempt_count for task in tasks] == [1] * 10
    assert a.log == ["start", "stop", "start", "stop"]


async def test_a_worker_lost_for_good_leaves_the_pool() -> None:
    """Closed once, never used again."""
    a, b = Probe("a", does=fails(WorkerLost(rebuild=False))), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        for task in [pool.submit(n) for n in range(10)]:
            await task
        await asyncio.sleep(0.1)
        assert [ref.name for ref in pool.workers()] == ["b"]
    assert len(a.starts) == 1
    assert a.log == ["start", "remove", "stop"]


async def test_a_task_that_kills_its_workers_dies() -> None:
    """After so many; the other tasks and workers live on."""
    workers = [Probe(does=lambda d: fails(WorkerLost(False))(d) if d else d) for _ in range(5)]
    async with Pool(workers, max_worker_losses=2, debug=True) as pool:
        with pytest.raises(WorkerLossLimit):
            await pool.submit(1)
        await asyncio.sleep(0.1)
        assert len(pool.workers()) == 3


async def test_snooze_bounce_and_discard() -> None:
    """Later, elsewhere, never again."""
    a = Probe("a", does=in_turn(Snooze(4), "ok"))
    async with Pool([a], debug=True) as pool:
        task = pool.submit(1)
        assert await task == "ok"
        assert (now(), task.attempt_count) == (4, 1)
    b, c = Probe("b", does=fails(Bounce())), Probe("c")
    async with Pool([b, c], debug=True) as pool:
        task = pool.submit(1)
        await task
        assert [x.worker for x in task.attempts] == ["b", "c"]
        assert task.attempt_count == 2
    async with Pool([Probe(does=fails(Discard("bad input")))], debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(Discard):
            await task
        assert len(task.attempts) == 1


async def test_classify_judges_foreign_errors() -> None:
    """Quota used up, task at fault, or an ordinary failure."""

    class Judging(Probe):
        def classify(self, error: Exception) -> Any:
            if isinstance(error, PermissionError):
                return Discard("forbidden")
            return Throttled(86_400) if isinstance(error, LookupError) else None

    a, b = Judging("a", does=fails(LookupError())), Judging("b", does=in_turn(OSError(), "ok"))
    async with Pool([a, b], retry=RetryPolicy.fixed(1), debug=True) as pool:
        assert await pool.submit(1) == "ok"
        assert now() == 1
        b.does = fails(PermissionError())
        with pytest.raises(PermissionError):
            await pool.submit(2)


@pytest.mark.parametrize("culprit", ["classify", "wait", "stop", "retry"])
async def test_a_policy_that_raises_ends_the_task_and_nothing_else(culprit: str) -> None:
    """With an error that says so."""

    def broken(_: object) -> Any:
        raise ZeroDivisionError

    class Judging(Probe):
        def classify(self, error: Exception) -> Any:
            return broken(error) if culprit == "classify" else None

    policy = RetryPolicy() if culprit == "classify" else RetryPolicy(**{culprit: broken})
    worker = Judging(does=in_turn(ValueError(), "ok"))
    async with Pool([worker], retry=policy, debug=True) as pool:
        with pytest.raises(PolicyError) as failure:
            await pool.submit(1)
        assert isinstance(failure.value.__cause__, ZeroDivisionError)
        assert await pool.submit(2) == "ok"


@pytest.mark.parametrize(
    ("policy", "starts"),
    [
        (RetryPolicy(wait=tenacity.wait_fixed(2)), [0, 2, 4]),
        (RetryPolicy(wait=tenacity.wait_chain(lambda s: 1, lambda s: 2)), [0, 1, 3]),  # type: ignore[arg-type]
        (RetryPolicy(wait=tenacity.wait_fixed(1) + tenacity.wait_fixed(2)), [0, 3, 6]),
        (RetryPolicy(wait=tenacity.wait_fixed(2), stop=tenacity.stop_after_delay(5)), [0, 2, 4, 6]),
        (RetryPolicy(wait=tenacity.wait_fixed(2), stop=tenacity.stop_before_delay(5)), [0, 2, 4]),
        (RetryPolicy(retry=tenacity.retry_if_exception_type(OSError)), [0]),
        (
            RetryPolicy(
                wait=tenacity.wait_fixed(1),
                retry=tenacity.retry_if_exception_type(OSError)
                | tenacity.retry_if_exception_message("x"),
            ),
            [0, 1, 2],
        ),
        (RetryPolicy.exponential(1, max=3, attempts=4, jitter=0), [0, 1, 3, 6]),
        (
            RetryPolicy.of(
                tenacity.Retrying(wait=tenacity.wait_fixed(7), stop=tenacity.stop_after_attempt(2))
            ),
            [0, 7],
        ),
    ],
)
async def test_tenacity_strategies_run_on_the_pools_clock(
    policy: RetryPolicy, starts: list[float]
) -> None:
    """As pure functions; none sleeps, none reads another clock."""
    worker = Probe(does=fails(ValueError("x")))
    async with Pool([worker], retry=policy, debug=True) as pool:
        with pytest.raises(ValueError, match="x"):
            await pool.submit(1)
    assert worker.starts == starts


async def test_cancellation_and_exits_never_reach_a_predicate() -> None:
    """Not even one that says yes to everything."""
    always = RetryPolicy(retry=lambda state: True, wait=tenacity.wait_none())
    worker = Probe(does=takes(10))
    async with Pool([worker], retry=always, debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        task.cancel()
        await task.wait()
        assert task.cancelled()
        worker.does = fails(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            await pool.submit(2)
        worker.does = None
        assert await pool.submit(3) == 3
    assert len(worker.starts) == 3


async def test_a_deadline_before_the_next_try_ends_the_task_now() -> None:
    """Attempts at 0, 1 and 3; the next would be at 7, past 5."""
    doubling = RetryPolicy.exponential(1, max=60, attempts=None, jitter=0)
    worker = Probe(does=fails())
    async with Pool([worker], retry=doubling, debug=True) as pool:
        with pytest.raises(TaskTimeout) as late:
            await pool.submit(1, timeout=5)
        assert now() == 3
        assert isinstance(late.value.__cause__, ValueError)
        began = now()
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=5, deadline="clip")
        assert worker.starts[3:] == [began, began + 1, began + 3, began + 4]


async def test_attempts_have_a_limit_of_their_own() -> None:
    """Three attempts of twenty seconds."""
    worker = Probe(does=takes(1000))
    async with Pool([worker], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1, attempt_timeout=20)
        with pytest.raises(AttemptTimeout):
            await task
        assert now() == 60
        assert [attempt.duration for attempt in task.attempts] == [20, 20, 20]


async def test_an_attempts_clock_does_not_run_in_the_queue() -> None:
    """Two tasks of 60 s on one worker, 70 s each."""
    async with Pool([Probe(does=takes(60))], debug=True) as pool:
        for task in [pool.submit(n, attempt_timeout=70) for n in range(2)]:
            await task
        assert now() == 120


async def test_a_value_returned_at_the_very_limit_counts() -> None:
    """Whichever timer comes first."""
    async with Pool([Probe(does=takes(2))], retry=ONE, debug=True) as pool:
        for _ in range(20):
            assert await pool.submit(7, attempt_timeout=2) == 7


async def test_the_failure_hook_decides() -> None:
    """Drop it, kill it, try again whatever the policy says."""
    hooks = Hooks()
    worker = Probe(does=fails())
    async with Pool([worker], retry=ONE, hooks=hooks, debug=True) as pool:
        for action, state in (
            (FailureAction.DROP, TaskState.DROPPED),
            (FailureAction.DEAD, TaskState.DEAD),
        ):
            hooks.on_failure = lambda failed, action=action: action
            task = pool.submit(1)
            await task.wait()
            assert task.state is state
        assert len(pool.dead) == 1
        answers = [FailureAction.FORCE_RETRY, FailureAction.FORCE_RETRY, None]
        hooks.on_failure = lambda failed: answers.pop(0)
        task = pool.submit(1)
        await task.wait()
        assert task.attempt_count == 3


async def test_every_attempt_sees_the_submitters_context_afresh() -> None:
    """What one attempt sets, the next does not see."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen: list[tuple[str, int]] = []

    async def work(data: object) -> None:
        await asyncio.sleep(0)
        seen.append((request.get(), current_task().attempt))
        request.set("spoilt")
        raise ValueError

    async with Pool([Probe(does=work)], retry=RetryPolicy.fixed(1), debug=True) as pool:
        request.set("mine")
        task = pool.submit(1)
        request.set("another's")
        await task.wait()
    assert seen == [("mine", 1), ("mine", 2), ("mine", 3)]


async def test_current_task_tells_time_left_and_carries_metadata() -> None:
    """And raises outside an attempt."""

    async def work(data: object) -> float | None:
        await asyncio.sleep(1)
        current_task().metadata["page"] = 7
        return current_task().remaining()

    async with Pool([Probe(does=work)], metadata={"app": "x"}, debug=True) as pool:
        task = pool.submit(1, attempt_timeout=5, timeout=60, metadata={"user": "u"})
        assert await task == 4
        assert task.metadata == {"app": "x", "user": "u", "page": 7}
    with pytest.raises(LookupError):
        current_task()


async def test_time_is_accounted_for() -> None:
    """Queue, quota, back-off and run add up to the whole."""
    worker = Probe(does=takes(60))
    async with Pool([worker], retry=RetryPolicy.fixed(3), debug=True) as pool:
        pool.submit(0)
        await asyncio.sleep(0)
        failing = in_turn(ValueError(), "ok")

        async def work(data: object) -> object:
            await asyncio.sleep(2)
            return failing(data)

        task = pool.submit(1)
        await asyncio.sleep(30)
        worker.does = work
        await task
        assert task.times == (60, 0, 3, 4)
        assert sum(task.times) == now()
