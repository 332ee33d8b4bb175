"""Whose fault it was: what each verdict does to the task and to the worker, and its bound."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from math import inf, nan
from typing import Any

import pytest

from retrypool_async import (
    AttemptFailed,
    AttemptOutcome,
    Bounce,
    Discard,
    EndReason,
    FailureAction,
    Hooks,
    PolicyError,
    Pool,
    Quota,
    RetryPolicy,
    Snooze,
    SnoozeLimit,
    TaskState,
    Throttled,
    ThrottleLimit,
    Verdict,
    Window,
    WorkerLossLimit,
    WorkerLost,
    WorkerState,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)

# -- Throttled -------------------------------------------------------------------------------------


async def test_a_throttle_cools_the_worker_and_costs_the_task_nothing() -> None:
    """The task leaves at once; the worker is back exactly when the service said."""
    a, b = Probe("a", does=in_turn(Throttled(30), "ok")), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        task = pool.submit(1)
        await task
        assert (now(), task.throttles, task.attempt_count) == (0, 1, 1)
        assert [x.worker for x in task.attempts] == ["a", "b"]
        assert task.attempts[0].outcome is AttemptOutcome.THROTTLED
        cooling = pool.snapshot().workers[0]
        assert (cooling.state, cooling.cooling_until) == (WorkerState.COOLING, 30)
        await pool.submit(2, worker="a")
    assert a.starts == [0, 30]


async def test_alone_a_throttled_task_waits_for_the_hint_exactly() -> None:
    """Longer than our own back-off. Origin: openai/openai-python PR#3555."""
    worker = Probe(does=in_turn(Throttled(90), "ok"))
    async with Pool([worker], retry=RetryPolicy.exponential(max=8), debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0, 90]


async def test_a_hint_shorter_than_our_back_off_counts_too() -> None:
    """5 s for the throttle, 60 s for the failure. Origin: huggingface/smolagents PR#2107."""
    worker = Probe(does=in_turn(Throttled(5), ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(60), debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0, 5, 65]


async def test_throttles_do_not_eat_the_attempts() -> None:
    """Five refusals and three tries allowed: it ends well. Origin: Bogdanp/dramatiq#257."""
    worker = Probe(does=in_turn(*[Throttled(1)] * 5, "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1)
        assert await task == "ok"
        assert (now(), task.attempt_count, task.throttles) == (5, 1, 5)
        outcomes = [attempt.outcome for attempt in task.attempts]
        assert outcomes == [AttemptOutcome.THROTTLED] * 5 + [AttemptOutcome.OK]


@pytest.mark.parametrize(("most", "ends_at"), [(10, 10), (1, 1), (0, 0)])
async def test_throttles_have_a_bound_of_their_own(most: int, ends_at: int) -> None:
    """Ten are allowed: the eleventh refusal is final. Origin: taskforcesh/bullmq#1571."""
    worker = Probe(does=fails(Throttled(1)))
    async with Pool([worker], max_throttles=most, debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(ThrottleLimit) as limit:
            await task
        assert (now(), task.throttles, task.attempt_count) == (ends_at, most + 1, 0)
        assert isinstance(limit.value.__cause__, Throttled)
        [dead] = pool.dead
        assert dead.reason is EndReason.THROTTLES


async def test_throttles_are_bounded_even_when_the_hint_is_zero() -> None:
    """A hint of zero is no wait at all, and the default bound ends it."""
    worker = Probe(does=fails(Throttled(0)))
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(ThrottleLimit):
            await pool.submit(1)
        assert now() == pytest.approx(0, abs=1e-6)
    assert len(worker.starts) == 101


async def test_one_refusal_holds_for_all_tasks_of_the_worker() -> None:
    """No call within the hint; six in all for five tasks. Origin: riverqueue/river#988."""
    worker = Probe(does=in_turn(Throttled(30), "ok"))
    async with Pool([worker], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(5)]
        for task in tasks:
            assert await task == "ok"
    assert worker.starts == [0] + [30] * 5


async def test_a_throttled_task_keeps_its_place() -> None:
    """It was first, and is first again."""
    order: list[object] = []
    refusals = [Throttled(30)]

    def does(data: object) -> None:
        if refusals:
            raise refusals.pop()
        order.append(data)

    async with Pool([Probe(does=does)], debug=True) as pool:
        for n in range(4):
            pool.submit(n)
        await pool.join()
    assert order == [0, 1, 2, 3]


async def test_only_the_worker_that_was_refused_cools() -> None:
    """Though the refusal comes while another works. Origin: hermes-agent PR#65126."""

    async def refused(data: object) -> None:
        await asyncio.sleep(1)
        raise Throttled(60)

    a, b = Probe("a", does=refused), Probe("b", does=takes(3))
    async with Pool([a, b], debug=True) as pool:
        first, second = pool.submit(1), pool.submit(2)
        await first
        assert (now(), first.attempts[-1].worker) == (6, "b")
        assert await second == 2
        assert [worker.cooling_until for worker in pool.snapshot().workers] == [61, None]
    assert b.starts == [0, 3]


async def test_a_refused_task_visits_the_others_and_returns_at_the_earliest_time() -> None:
    """Six refusals a second apart, then a rest to 600. Origin: scrapy-rotating-proxies#32."""
    workers = [Probe(does=in_turn(Throttled(600), "ok")) for _ in range(6)]
    quota = Quota(Window(1, per=1))
    async with Pool(workers, quota=quota, debug=True) as pool:
        task = pool.submit(1)
        assert await task == "ok"
        assert [attempt.started for attempt in task.attempts] == [0, 1, 2, 3, 4, 5, 600]
        assert len({attempt.worker for attempt in task.attempts[:6]}) == 6
        assert task.attempts[6].worker == task.attempts[0].worker


async def test_an_exhausted_key_is_called_once_and_the_other_does_the_rest() -> None:
    """Half and half, then one refusal. Origin: tingly-dev/tingly-box#1011."""
    a, b = Probe("a"), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        for n in range(100):
            await pool.submit(n)
        assert (len(a.starts), len(b.starts)) == (50, 50)
        a.does = fails(Throttled(3600))
        for n in range(100):
            assert await pool.submit(n) == n
    assert (len(a.starts), len(b.starts)) == (51, 150)


async def test_a_hint_above_the_limit_is_not_cut_short() -> None:
    """Alone the task ends at once; beside another worker it goes there."""
    a, b = Probe("a", does=fails(Throttled(3600))), Probe("b")
    async with Pool([a], max_retry_after=120, debug=True) as pool:
        with pytest.raises(ThrottleLimit, match="3600"):
            await pool.submit(1)
        assert now() == 0
    assert len(a.starts) == 1
    async with Pool([a, b], max_retry_after=120, debug=True) as pool:
        assert await pool.submit(1) == 1
        assert now() == 0


async def test_a_hint_above_the_limit_ends_the_task_when_all_others_cool_for_too_long() -> None:
    """Both refuse for an hour: there is nobody to go to."""
    workers = [Probe(does=fails(Throttled(3600))) for _ in range(2)]
    async with Pool(workers, max_retry_after=120, debug=True) as pool:
        with pytest.raises(ThrottleLimit):
            await pool.submit(1)
        assert now() == 0
    assert [len(worker.starts) for worker in workers] == [1, 1]


async def test_a_pinned_task_has_nowhere_else_to_go() -> None:
    """It waits for its worker; with a hint above the limit it ends."""
    a, b = Probe("a", does=in_turn(Throttled(30), "ok", Throttled(3600))), Probe("b")
    async with Pool([a, b], max_retry_after=120, debug=True) as pool:
        assert await pool.submit(1, worker="a") == "ok"
        assert now() == 30
        with pytest.raises(ThrottleLimit):
            await pool.submit(2, worker="a")
    assert b.starts == []


async def test_without_a_hint_the_cooldown_doubles_to_a_minute() -> None:
    """1, 2, 4, ... 60, 60; a success begins anew."""
    worker = Probe(does=in_turn(*[Throttled() for _ in range(8)], "ok", Throttled(), "ok"))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1)
        await pool.submit(2)
    waits = [later - at for at, later in pairwise(worker.starts)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 0, 1]


async def test_the_first_cooldown_without_a_hint_is_configurable() -> None:
    """Three seconds, then six; above a minute it is constant."""
    for first, waits in ((3, [3, 6, 12]), (100, [100, 100, 100])):
        worker = Probe(does=in_turn(Throttled(), Throttled(), Throttled(), "ok"))
        async with Pool([worker], throttle_cooldown=first, debug=True) as pool:
            await pool.submit(1)
        pairs = pairwise(worker.starts)
        assert [later - at for at, later in pairs] == waits


@pytest.mark.parametrize(
    "odd", [-1, nan, inf, -inf, "30", b"5", True, [], timedelta(seconds=-5), object()], ids=repr
)
async def test_an_odd_hint_is_no_hint(odd: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning; it is never an error in the error handling."""
    worker = Probe(does=in_turn(Throttled(odd), "ok"))
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0, 1]
    assert "Throttled.retry_after" in caplog.text


async def test_a_hint_may_be_a_timedelta() -> None:
    """As everywhere else."""
    worker = Probe(does=in_turn(Throttled(timedelta(minutes=1)), Snooze(timedelta(seconds=2)), 1))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(1)
    assert worker.starts == [0, 60, 62]


@pytest.mark.parametrize("jitter", [0.5, 1.0])
async def test_hints_may_be_lengthened_at_random_and_are_never_shortened(jitter: float) -> None:
    """By up to a share of each, from the pool's own source of chance."""

    async def starts(seed: int) -> list[float]:
        workers = [Probe(does=in_turn(Throttled(100), "ok")) for _ in range(20)]
        begun = now()
        async with Pool(workers, hint_jitter=jitter, rng=random.Random(seed), debug=True) as pool:
            tasks = [pool.submit(n, worker=f"worker-{n}") for n in range(20)]
            await asyncio.gather(*tasks)
        return [worker.starts[1] - begun for worker in workers]

    first = await starts(1)
    assert all(100 <= start <= 100 * (1 + jitter) for start in first)
    assert max(first) - min(first) > 50 * jitter
    assert await starts(1) == pytest.approx(first)
    assert await starts(2) != pytest.approx(first)


async def test_a_lengthened_hint_is_held_against_the_limit_as_the_service_gave_it() -> None:
    """Our own politeness ends no task."""
    worker = Probe(does=in_turn(Throttled(100), "ok"))
    async with Pool([worker], hint_jitter=1.0, max_retry_after=100, debug=True) as pool:
        assert await pool.submit(1) == "ok"


async def test_only_hints_are_lengthened() -> None:
    """A cooldown of our own making is what it is."""
    worker = Probe(does=in_turn(Throttled(), Snooze(5), "ok"))
    async with Pool([worker], hint_jitter=1.0, debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0, 1, 6]


async def test_a_throttle_may_be_meant_for_the_whole_quota() -> None:
    """All that share it cool, others do not; an odd scope means the worker."""
    shared = Quota(Window(100, per=60))
    a, b, c = Probe("a", quota=shared), Probe("b", quota=shared), Probe("c")
    async with Pool([a, b, c], debug=True) as pool:
        a.does = in_turn(Throttled(20, scope="quota"), "ok")
        await pool.submit(1, worker="a")
        await pool.submit(2, worker="b")
        a.does = in_turn(Throttled(20, scope="everything"), "ok")  # type: ignore[arg-type]
        pool.submit(3, worker="a")
        await settle()
        states = [worker.state for worker in pool.snapshot().workers]
        assert states == [WorkerState.COOLING, WorkerState.IDLE, WorkerState.IDLE]
        await pool.close("cancel")
    assert b.starts == [20]


@pytest.mark.parametrize("cleared", [False, True])
async def test_a_newcomer_cools_with_those_that_share_its_quota(cleared: bool) -> None:
    """The service refused the account, not the worker; an operator may know better."""
    account = Quota(Window(10, per=1))
    a, b, c = Probe("a", quota=account), Probe("b", quota=account), Probe("c")
    async with Pool([a], debug=True) as pool:
        a.does = in_turn(Throttled(20, scope="quota"), "ok")
        pool.submit(1)
        await asyncio.sleep(5)
        if cleared:
            pool.clear_cooldown("a")
        await pool.add(b)
        await pool.add(c)
        tasks = [pool.submit(2, worker=name) for name in ("b", "c")]
        await asyncio.gather(*tasks)
    assert b.starts[0] == (5 if cleared else 20)
    assert c.starts[0] == 5


async def test_a_later_and_shorter_hint_does_not_end_a_cooldown() -> None:
    """The longest holds; an operator may end it."""
    worker = Probe("w")
    async with Pool([worker], debug=True) as pool:
        pool.cooldown("w", 30)
        pool.cooldown("w", 5)
        task = pool.submit(1)
        await task
        assert now() == 30
        pool.cooldown("w", 100)
        task = pool.submit(2)
        await asyncio.sleep(1)
        pool.clear_cooldown("w")
        await task
        assert now() == 31


async def test_one_warning_per_cooldown(caplog: pytest.LogCaptureFixture) -> None:
    """Not one per task that waits for it."""
    worker = Probe("key-7", does=in_turn(Throttled(30), "ok"))
    async with Pool([worker], debug=True) as pool:
        for task in [pool.submit(n) for n in range(20)]:
            await task
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "worker key-7 throttled, cools for 30 s"
    ]


# -- WorkerLost ------------------------------------------------------------------------------------


async def test_a_lost_worker_is_rebuilt_and_its_task_is_not_blamed() -> None:
    """Ten tasks all end well, with one attempt each."""
    a, b = Probe("a", does=in_turn(WorkerLost(), "ok")), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        for task in tasks:
            await task
        assert [task.attempt_count for task in tasks] == [1] * 10
        assert tasks[0].attempts[0].outcome is AttemptOutcome.WORKER_LOST
    assert a.log == ["start", "stop", "start", "stop"]


async def test_alone_a_lost_worker_serves_its_task_after_the_rebuild() -> None:
    """The task waits for it and keeps its place."""
    worker = Probe(does=in_turn(WorkerLost(), "first", "second"))
    async with Pool([worker], debug=True) as pool:
        first, second = pool.submit(1), pool.submit(2)
        assert (await first, await second) == ("first", "second")
    assert worker.log == ["start", "stop", "start", "stop"]


async def test_a_worker_lost_for_good_leaves_the_pool() -> None:
    """Closed once, never used again."""
    a, b = Probe("a", does=fails(WorkerLost(rebuild=False))), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        for task in [pool.submit(n) for n in range(10)]:
            await task
        await settle()
        assert [ref.name for ref in pool.workers()] == ["b"]
    assert len(a.starts) == 1
    assert a.log == ["start", "remove", "stop"]


@pytest.mark.parametrize(("most", "lost"), [(2, 2), (1, 1), (3, 3)])
async def test_a_task_that_kills_its_workers_dies(most: int, lost: int) -> None:
    """After so many; the other tasks and workers live on. Origin: contribsys/faktory PR#118."""

    def does(data: object) -> object:
        if data == "poison":
            raise WorkerLost(rebuild=False) from OSError("gone")
        return data

    async with Pool(
        [Probe(does=does) for _ in range(5)], max_worker_losses=most, debug=True
    ) as pool:
        poison = pool.submit("poison")
        others = [pool.submit(n) for n in range(10)]
        with pytest.raises(WorkerLossLimit) as limit:
            await poison
        assert isinstance(limit.value.__cause__, OSError)
        assert [await task for task in others] == list(range(10))
        await settle()
        assert len(pool.workers()) == 5 - lost


async def test_losses_of_a_worker_that_is_rebuilt_are_bounded_by_default() -> None:
    """Three, also when it is the same worker each time."""
    worker = Probe(does=fails(WorkerLost()))
    async with Pool([worker], debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(WorkerLossLimit):
            await task
        assert [a.outcome for a in task.attempts] == [AttemptOutcome.WORKER_LOST] * 3
        assert task.attempt_count == 0
        worker.does = None
        assert await pool.submit(2) == 2


# -- Snooze ----------------------------------------------------------------------------------------


async def test_a_snoozed_task_comes_back_later_and_holds_no_worker() -> None:
    """No attempt is spent."""
    worker = Probe(does=in_turn(Snooze(4), "other", "ok"))
    async with Pool([worker], retry=ONE, debug=True) as pool:
        task = pool.submit(1)
        await settle()
        assert task.state is TaskState.SCHEDULED
        assert await pool.submit(2) == "other"
        assert await task == "ok"
        assert (now(), task.attempt_count) == (4, 1)
        assert task.attempts[0].outcome is AttemptOutcome.SNOOZED


async def test_snoozes_are_bounded() -> None:
    """Three are allowed: the fourth is final."""
    worker = Probe(does=fails(Snooze(10)))
    async with Pool([worker], max_snoozes=3, debug=True) as pool:
        with pytest.raises(SnoozeLimit) as limit:
            await pool.submit(1)
        assert now() == 30
        assert isinstance(limit.value.__cause__, Snooze)


async def test_endless_snoozing_ends_by_default() -> None:
    """Nothing goes on for ever."""
    worker = Probe(does=fails(Snooze(0)))
    async with Pool([worker], debug=True) as pool:
        with pytest.raises(SnoozeLimit):
            await pool.submit(1)


@pytest.mark.parametrize("odd", [-1, nan, inf, "x", None, True], ids=repr)
async def test_an_odd_snooze_lasts_a_second(odd: Any) -> None:
    """And never raises where an error is handled."""
    worker = Probe(does=in_turn(Snooze(odd), "ok"))
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.starts == [0, 1]


# -- Discard, and judging foreign errors -----------------------------------------------------------


async def test_a_discarded_task_dies_at_once_and_nobody_is_blamed() -> None:
    """The worker stays; the error names the reason, or is the one it was raised from."""
    worker = Probe(does=fails(Discard("bad input")))
    async with Pool([worker], debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(Discard, match="bad input"):
            await task
        assert (len(task.attempts), len(pool.dead)) == (1, 1)

        def chained(data: object) -> None:
            raise Discard from KeyError("id")

        worker.does = chained
        with pytest.raises(KeyError, match="id"):
            await pool.submit(2)
        assert pool.snapshot().workers[0].failed == 0


async def test_classify_tells_a_spent_quota_from_a_forbidden_task_and_a_bad_line() -> None:
    """402 cools the key and moves the task, 403 ends it, the rest is retried.

    Origin: lidge-jun/opencodex#1267.
    """

    class Judging(Probe):
        def classify(self, error: Exception) -> Verdict | None:
            if isinstance(error, PermissionError):
                return Discard("forbidden")
            return Throttled(86_400) if isinstance(error, LookupError) else None

    a, b = Judging("a"), Judging("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(1), debug=True) as pool:
        a.does = fails(PermissionError())
        forbidden = pool.submit(1, worker="a")
        with pytest.raises(PermissionError):
            await forbidden
        assert len(forbidden.attempts) == 1
        assert pool.snapshot().workers[0].state is WorkerState.IDLE
        a.does = in_turn(ConnectionError(), "ok")
        assert await pool.submit(2, worker="a") == "ok"
        assert now() == 1
        a.does = b.does = in_turn(LookupError(), "ok")
        spent = pool.submit(3)
        assert await spent == "ok"
        assert (now(), spent.throttles, spent.attempt_count) == (1, 1, 1)
        assert isinstance(spent.attempts[0].error, LookupError)
        assert max(w.cooling_until or 0 for w in pool.snapshot().workers) == 86_401


async def test_classify_is_not_asked_about_verdicts_nor_about_exits() -> None:
    """Those say it themselves."""
    asked: list[Exception] = []

    class Judging(Probe):
        def classify(self, error: Exception) -> Verdict | None:
            asked.append(error)
            return None

    worker = Judging(does=in_turn(Throttled(1), Snooze(1), Bounce(), ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(0, attempts=9), debug=True) as pool:
        assert await pool.submit(1) == "ok"
        worker.does = fails(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            await pool.submit(2)
    assert [type(error) for error in asked] == [ValueError]


def judging(of: str, classify: Callable[[Exception], Any], worker: Probe) -> Pool[Any, Any]:
    """A pool of one worker in which either that worker or the pool classifies."""
    if of == "pool":
        return Pool([worker], classify=classify, debug=True)
    worker.classify = classify  # type: ignore[method-assign]
    return Pool([worker], debug=True)


async def coroutine() -> Throttled:
    return Throttled()


@pytest.mark.parametrize("of", ["worker", "pool"])
@pytest.mark.parametrize(
    "answer", [Throttled, "throttled", True, 5, ValueError(), coroutine], ids=repr
)
async def test_classify_that_answers_rubbish_ends_the_task_and_nothing_else(
    of: str, answer: Any
) -> None:
    """With an error that says so, raised from nothing of ours."""

    def classify(error: Exception) -> Any:
        return answer() if answer is coroutine else answer

    worker = Probe(does=in_turn(ValueError(), "ok"))
    async with judging(of, classify, worker) as pool:
        with pytest.raises(PolicyError, match="classify"):
            await pool.submit(1)
        assert await pool.submit(2) == "ok"


@pytest.mark.parametrize("of", ["worker", "pool"])
@pytest.mark.parametrize("problem", [ZeroDivisionError, asyncio.CancelledError, KeyboardInterrupt])
async def test_classify_that_raises_ends_the_task_and_nothing_else(
    of: str, problem: type[BaseException]
) -> None:
    """Whatever it raises."""
    worker = Probe(does=in_turn(ValueError(), "ok"))
    async with judging(of, fails(problem), worker) as pool:
        with pytest.raises(PolicyError) as failure:
            await pool.submit(1)
        assert isinstance(failure.value.__cause__, problem)
        assert await pool.submit(2) == "ok"


async def test_the_pool_classifies_what_a_worker_has_no_opinion_on() -> None:
    """The worker's own answer comes first, and either may leave it to the retry policy."""

    class Judging(Probe):
        def classify(self, error: Exception) -> Verdict | None:
            return Snooze(5) if isinstance(error, ConnectionError) else None

    asked: list[type[Exception]] = []

    def classify(error: Exception) -> Verdict | None:
        asked.append(type(error))
        return Throttled(60) if isinstance(error, OSError) else None

    worker = Judging(does=in_turn(ConnectionError(), OSError(), ValueError(), "ok"))
    async with Pool([worker], classify=classify, retry=RetryPolicy.fixed(100), debug=True) as pool:
        task = pool.submit(1)
        assert await task == "ok"
    assert worker.starts == [0, 5, 65, 165]
    assert asked == [OSError, ValueError]
    assert [attempt.outcome.name for attempt in task.attempts] == [
        "SNOOZED",
        "THROTTLED",
        "ERROR",
        "OK",
    ]


async def test_refusals_that_the_pool_finds_are_bounded_like_any_other() -> None:
    """Whoever says so."""
    worker = Probe(does=fails(OSError()))
    async with Pool(
        [worker], classify=lambda error: Throttled(1), max_throttles=3, debug=True
    ) as pool:
        with pytest.raises(ThrottleLimit) as limit:
            await pool.submit(1)
    assert worker.starts == [0, 1, 2, 3]
    assert isinstance(limit.value.__cause__, OSError)


async def test_a_verdict_of_the_users_own_kind_counts_as_what_it_derives_from() -> None:
    """Also one whose constructor forgot to call ours."""

    class Banned(Throttled):
        def __init__(self) -> None:
            pass

    class Tired(Snooze):
        def __init__(self) -> None:
            pass

    class Broken(WorkerLost):
        def __init__(self) -> None:
            pass

    for verdict, seconds in ((Banned, 1), (Tired, 1), (Broken, 0)):
        worker = Probe(does=in_turn(verdict(), "ok"))
        async with Pool([worker], retry=ONE, debug=True) as pool:
            began = now()
            assert await pool.submit(1) == "ok"
            assert now() == began + seconds
            assert await pool.submit(2) == "ok"


@pytest.mark.parametrize("odd", ["soon", -5, nan, inf], ids=repr)
async def test_a_hint_that_was_changed_after_the_fact_harms_nobody(odd: Any) -> None:
    """An odd one means none, however it came to be."""
    throttled = Throttled(5)
    throttled.retry_after = odd
    snooze = Snooze(5)
    snooze.seconds = odd
    worker = Probe(does=in_turn(throttled, snooze, "ok"))
    async with Pool([worker], debug=True) as pool:
        assert await pool.submit(1) == "ok"
        assert await pool.submit(2) == "ok"
    assert worker.starts == [0, 1, 2, 2]


# -- the failure hook ------------------------------------------------------------------------------


async def test_the_failure_hook_decides() -> None:
    """Drop it, kill it, or try again whatever the policy says."""
    hooks = Hooks()
    worker = Probe(does=fails(LookupError))
    async with Pool([worker], retry=ONE, hooks=hooks, debug=True) as pool:
        for action, state, dead in (
            (FailureAction.DROP, TaskState.DROPPED, 0),
            (FailureAction.DEAD, TaskState.DEAD, 1),
            (FailureAction.RETRY, TaskState.DEAD, 2),
            (None, TaskState.DEAD, 3),
        ):
            hooks.on_failure = lambda failed, action=action: action
            task = pool.submit(1)
            with pytest.raises(LookupError):
                await task
            assert (task.state, task.attempt_count, len(pool.dead)) == (state, 1, dead)
        answers = [FailureAction.FORCE_RETRY, FailureAction.FORCE_RETRY, None]
        hooks.on_failure = lambda failed: answers.pop(0)
        task = pool.submit(1)
        await task.wait()
        assert (task.attempt_count, now()) == (3, 0)


async def test_the_failure_hook_sees_ordinary_failures_only() -> None:
    """Numbered as they count, with worker and error; verdicts have decided already."""
    seen: list[AttemptFailed] = []
    hooks = Hooks(on_failure=seen.append)  # type: ignore[arg-type]
    worker = Probe("w", does=in_turn(Throttled(1), ValueError(), Snooze(1), OSError(), Discard()))
    async with Pool([worker], retry=RetryPolicy.fixed(0), hooks=hooks, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
    assert [(f.number, f.worker, type(f.error)) for f in seen] == [
        (1, "w", ValueError),
        (2, "w", OSError),
    ]
    assert seen[0].task is task


@pytest.mark.parametrize("wrong", ["raises", "exits", "rubbish"])
async def test_a_failure_hook_that_fails_leaves_it_to_the_policy(wrong: str) -> None:
    """Two attempts, as configured."""

    def hook(failed: AttemptFailed) -> Any:
        if wrong == "rubbish":
            return "retry"
        raise (ZeroDivisionError if wrong == "raises" else SystemExit)

    worker = Probe(does=fails(LookupError))
    policy = RetryPolicy.fixed(0, attempts=2)
    async with Pool([worker], retry=policy, hooks=Hooks(on_failure=hook), debug=True) as pool:
        with pytest.raises(LookupError):
            await pool.submit(1)
    assert len(worker.starts) == 2


async def test_a_forced_retry_obeys_deadline_quota_and_bounce() -> None:
    """It skips the policy, nothing else."""
    hooks = Hooks(on_failure=lambda failed: FailureAction.FORCE_RETRY)
    quota = Quota(Window(1, per=10))
    workers = [Probe(name, does=fails(), quota=quota) for name in "ab"]
    async with Pool(workers, retry=ONE, hooks=hooks, debug=True) as pool:
        task = pool.submit(1, bounce=True, timeout=25)
        await task.wait()
        assert now() == 25
        assert [(x.worker, x.started) for x in task.attempts] == [("a", 0), ("b", 10), ("a", 20)]


async def test_cancellation_and_exits_are_never_judged() -> None:
    """Not even by a policy that retries everything; the pool goes on."""
    always = RetryPolicy(retry=lambda state: True, wait=lambda state: 0)
    hooks = Hooks(on_failure=lambda failed: FailureAction.FORCE_RETRY)
    worker = Probe(does=takes(10))
    async with Pool([worker], retry=always, hooks=hooks, debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        task.cancel()
        await task.wait()
        assert task.cancelled()
        for exit_ in (KeyboardInterrupt, SystemExit):
            worker.does = fails(exit_)
            with pytest.raises(exit_):
                await pool.submit(2)
        worker.does = None
        assert await pool.submit(3) == 3
    assert len(worker.starts) == 4
