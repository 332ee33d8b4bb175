"""A bad value is refused at the call, by name, and nothing has happened."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from math import inf, nan
from typing import Any

import pytest

from retrypool_async import (
    AttemptTimeout,
    Bucket,
    Discard,
    FunctionWorker,
    Hooks,
    PolicyError,
    Pool,
    PoolClosed,
    QueueFull,
    QueueTimeout,
    Quota,
    RandomChoice,
    RetryPolicy,
    Snooze,
    SnoozeLimit,
    TaskTimeout,
    ThreadWorker,
    Throttled,
    ThrottleLimit,
    Tiered,
    Unroutable,
    Window,
    Worker,
    WorkerLost,
    WorkerRemoved,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)

NOT_SECONDS = [-1, nan, inf, "5", True, [1]]
NOT_COUNTS = [-1, 1.5, "5", True]


async def awaited(error: Exception) -> None:
    """No classifier: nobody awaits one."""


def refused(call: Callable[[], object], field: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert field in str(error.value), f"{error.value!r} does not name {field}"


@pytest.mark.parametrize("value", NOT_SECONDS)
@pytest.mark.parametrize(
    "option",
    [
        "start_timeout",
        "stop_timeout",
        "check_idle",
        "check_timeout",
        "affinity_wait",
        "stop_grace",
        "hook_timeout",
        "shutdown_timeout",
        "max_retry_after",
        "max_quota_wait",
        "throttle_cooldown",
        "attempt_timeout",
        "timeout",
        "no_workers",
    ],
)
def test_a_pool_refuses_what_is_not_seconds(option: str, value: Any) -> None:
    """Named."""
    refused(lambda: Pool(**{option: value}), option)


@pytest.mark.parametrize("value", [-0.1, 1.1, nan, inf, "0.1", True, None])
def test_a_pool_refuses_a_jitter_of_hints_that_is_no_share(value: Any) -> None:
    """Named."""
    refused(lambda: Pool(hint_jitter=value), "hint_jitter")


@pytest.mark.parametrize("value", NOT_COUNTS)
@pytest.mark.parametrize(
    "option",
    [
        "max_queue",
        "concurrency",
        "dead_limit",
        "history_limit",
        "max_throttles",
        "max_worker_losses",
        "max_snoozes",
    ],
)
def test_a_pool_refuses_what_is_not_a_count(option: str, value: Any) -> None:
    """Named."""
    refused(lambda: Pool(**{option: value}), option)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"strategy": Probe}, "strategy"),
        ({"retry": 3}, "retry"),
        ({"quota": 60}, "quota"),
        ({"cost": 1}, "cost"),
        ({"bounce": 1}, "bounce"),
        ({"deadline": "soon"}, "deadline"),
        ({"no_workers": "sulk"}, "no_workers"),
        ({"hooks": print}, "hooks"),
        ({"name": ""}, "name"),
        ({"rng": 4}, "rng"),
        ({"lane_weights": [1]}, "lane_weights"),
        ({"lane_weights": {"a": 0}}, "lane_weights"),
        ({"lane_weights": {"a": "1"}}, "lane_weights"),
        ({"secrets": "sk-1"}, "secrets"),
        ({"debug": 1}, "debug"),
        ({"max_retrys": 3}, "max_retrys"),
        ({"classify": Discard()}, "classify"),
        ({"classify": awaited}, "classify"),
        ({"metadata": 5}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"secrets": 5}, "secrets"),
        ({"secrets": [""]}, "secrets"),
        ({"quota": [60]}, "quota"),
        ({"workers": 5}, "workers"),
        ({"workers": Probe()}, "workers"),
        ({"workers": "ab"}, "Worker"),
        ({"workers": [Probe]}, "Worker"),
        ({"workers": [object()]}, "Worker"),
        ({"workers": [Probe("a"), Probe("a")]}, "'a'"),
        ({"workers": [Probe("")]}, "name"),
        ({"workers": [Probe(tags=[1])]}, "tags"),
        ({"workers": [Probe(weight=-1)]}, "weight"),
        ({"workers": [Probe(tier="a")]}, "tier"),
        ({"workers": [Probe(max_tasks=0)]}, "max_tasks"),
        ({"workers": [Probe(max_age=nan)]}, "max_age"),
        ({"workers": [Probe(quota=60)]}, "quota"),
        ({"workers": [Probe(quota=[Quota(Window(1, per=1)), 60])]}, "quota"),
        ({"workers": [Probe(name=7)]}, "name"),
        ({"workers": [Probe(tags=7)]}, "tags"),
        ({"workers": [Probe(weight="1")]}, "weight"),
        ({"workers": [Probe(weight=inf)]}, "weight"),
        ({"workers": [Probe(tier=-1)]}, "tier"),
        ({"workers": [Probe(tier=True)]}, "tier"),
        ({"workers": [Probe(max_tasks=1.5)]}, "max_tasks"),
        ({"workers": [Probe(max_age=-1)]}, "max_age"),
        *[
            ({"workers": [Probe(max_attempts_per_task=value)]}, "max_attempts_per_task")
            for value in (0, -1, 1.5, "5", True)
        ],
    ],
)
def test_a_pool_refuses_bad_options(options: dict[str, Any], field: str) -> None:
    """Named."""
    refused(lambda: Pool(**options), field)


def test_one_object_twice_is_refused() -> None:
    """It would not be exclusive."""
    worker = Probe()
    refused(lambda: Pool([worker, worker]), "twice")


async def test_misspelt_incomplete_and_shared_things_are_refused() -> None:
    """None is left out in silence. Origin: taskforcesh/bullmq#667."""
    refused(lambda: Pool(max_retrys=3), "max_retrys")  # type: ignore[call-arg]
    refused(lambda: Worker(), "run")  # type: ignore[abstract]
    shared = Probe()
    refused(lambda: Pool([shared, shared]), "twice")
    refused(lambda: Pool([Probe("a"), Probe("a")]), "'a'")
    async with Pool([shared, Probe("a")], debug=True) as pool:
        refused(lambda: pool.submit(1, timout=1), "timout")  # type: ignore[call-arg]
        for worker in (shared, Probe("a")):
            with pytest.raises(ValueError, match=r"twice|'a'"):
                await pool.add(worker)
        assert len(pool.workers()) == 2


def test_a_plain_run_is_refused_and_the_remedy_named() -> None:
    """Also for the ready-made workers."""

    class Plain(Worker[int, int]):
        def run(self, data: int, /) -> int:  # type: ignore[override]
            return data

    refused(lambda: Pool([Plain()]), "ThreadWorker")
    refused(lambda: FunctionWorker(lambda data: data), "ThreadWorker")  # type: ignore[arg-type]

    async def async_function(data: int) -> int:
        return data

    refused(lambda: ThreadWorker(async_function), "FunctionWorker")
    refused(lambda: ThreadWorker(len, nmae="x"), "nmae")


BAD_SUBMITS: list[tuple[dict[str, Any], str]] = [
    *[({"cost": value}, "cost") for value in (-1, nan, inf, "5", True, [1])],
    *[({"cost": {"tokens": value}}, "tokens") for value in (-1, nan, "5")],
    ({"cost": {3: 1}}, "cost"),
    ({"cost": {"watts": 1}}, "watts"),
    *[
        ({name: value}, name)
        for name in ("attempt_timeout", "timeout", "queue_timeout")
        for value in NOT_SECONDS
    ],
    ({"priority": "high"}, "priority"),
    ({"priority": nan}, "priority"),
    ({"aging": 0}, "aging"),
    ({"bounce": 1}, "bounce"),
    ({"immediate": None}, "immediate"),
    ({"detach": "no"}, "detach"),
    ({"wait_for_worker": 1}, "wait_for_worker"),
    ({"retry": 3}, "retry"),
    ({"require": 7}, "require"),
    ({"require": [7]}, "require"),
    ({"lane": []}, "lane"),
    ({"order_key": {}}, "order_key"),
    ({"affinity": [1]}, "affinity"),
    ({"worker": 1.5}, "worker"),
    ({"worker": True}, "worker"),
    ({"metadata": [1]}, "metadata"),
    ({"on_done": 1}, "on_done"),
    ({"deadline": "never"}, "deadline"),
    ({"timout": 1}, "timout"),
]


@pytest.mark.parametrize(("options", "field"), BAD_SUBMITS)
async def test_a_submit_refuses_bad_options(options: dict[str, Any], field: str) -> None:
    """And records nothing. Nor does a mere check of them."""
    quota = Quota(requests=Window(5, per=1), tokens=Window(5, per=1))
    async with Pool([Probe(quota=quota)], debug=True) as pool:
        refused(lambda: pool.submit(1, **options), field)
        refused(lambda: pool.check_options(**options), field)
        snapshot = pool.snapshot()
        assert snapshot.submitted == 0
        assert snapshot.workers[0].quota_left == {"requests": 5, "tokens": 5}
        assert await pool.submit(1) == 1


async def test_good_options_pass_a_check_which_submits_nothing() -> None:
    """A worker of that name has to be there, as for `submit`."""
    quota = Quota(requests=Window(5, per=1), tokens=Window(5, per=1))
    async with Pool([Probe("a", quota=quota)], debug=True) as pool:
        pool.check_options()
        pool.check_options(cost={"tokens": 50}, worker="a", require="gpu", timeout=3, bounce=True)
        with pytest.raises(Unroutable, match="'b'"):
            pool.check_options(worker="b")
        assert pool.snapshot().submitted == 0


@pytest.mark.parametrize("kind", [Window, Bucket])
@pytest.mark.parametrize("value", [0, -1, nan, inf, "5", True])
def test_a_limit_refuses_bad_numbers(kind: Any, value: Any) -> None:
    """For the amount and for the span. Origin: Arize-ai/phoenix#16225."""
    refused(lambda: kind(value, per=60), "limit")
    refused(lambda: kind(60, per=value), "per")


@pytest.mark.parametrize("value", [60, "60", None, Window])
def test_a_quota_refuses_what_is_no_limit(value: Any) -> None:
    """There is no nameless default."""
    refused(lambda: Quota(value), "Window")
    refused(lambda: Quota(tokens=value), "tokens")


def test_an_empty_quota_is_refused() -> None:
    """It would limit nothing."""
    refused(Quota, "limit")


def test_retry_policies_refuse_bad_values() -> None:
    """Numbers, async functions, predicates on results."""
    import tenacity

    async def later(state: object) -> bool:
        return True

    refused(lambda: RetryPolicy.fixed(-1), "delay")
    refused(lambda: RetryPolicy.fixed(1, attempts=0), "attempts")
    refused(lambda: RetryPolicy.fixed(1, jitter=2), "jitter")
    refused(lambda: RetryPolicy.exponential(nan), "base")
    refused(lambda: RetryPolicy.exponential(1, max="x"), "max")  # type: ignore[arg-type]
    refused(lambda: RetryPolicy(wait=3), "wait")  # type: ignore[arg-type]
    for part in ("stop", "wait", "retry", "before_sleep"):
        for empty in (0, "", [], False):
            refused(lambda part=part, empty=empty: RetryPolicy(**{part: empty}), part)  # type: ignore[misc]
    refused(lambda: RetryPolicy(retry=later), "retry")  # type: ignore[arg-type]
    refused(lambda: RetryPolicy(retry=tenacity.retry_if_result(bool)), "exceptions")


def test_verdicts_never_raise_and_odd_hints_are_no_hints(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are made where an error is being handled."""
    with caplog.at_level(logging.WARNING, "retrypool_async"):
        for value in (-1, nan, inf, "5", True, [1]):
            assert Throttled(value).retry_after is None  # type: ignore[arg-type]
            assert Snooze(value).seconds == 1.0  # type: ignore[arg-type]
        assert Throttled(1, scope="moon").scope == "worker"  # type: ignore[arg-type]
    assert len(caplog.records) == 13
    assert Discard(5).reason == "5"  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [-1, nan, "x", {"tokens": -1}, ZeroDivisionError])
async def test_a_cost_function_that_fails_refuses_that_submit_only(answer: Any) -> None:
    """And debits nothing."""

    def cost(data: object) -> Any:
        if data == "bad":
            if answer is ZeroDivisionError:
                raise answer
            return answer
        return 1

    async with Pool([Probe(quota=Quota(Window(5, per=1)))], cost=cost, debug=True) as pool:
        with pytest.raises(PolicyError):
            pool.submit("bad")
        assert pool.snapshot().workers[0].quota_left == {"requests": 5}
        assert await pool.submit("good") == "good"


async def test_a_pool_that_does_not_run_takes_nothing() -> None:
    """Not yet, and no more."""
    pool = Pool([Probe()])
    with pytest.raises(PoolClosed, match="not started"):
        pool.submit(1)
    with pytest.raises(PoolClosed, match="not started"):
        pool.events()
    async with pool:
        with pytest.raises(RuntimeError, match="running"):
            await pool.start()
    with pytest.raises(PoolClosed):
        pool.submit(1)
    with pytest.raises(PoolClosed):
        await pool.add(Probe())


async def test_operators_calls_refuse_bad_values() -> None:
    """And leave everything as it was."""
    async with Pool([Probe("w", quota=Quota(Window(1, per=1)))], debug=True) as pool:
        for name in ("pause", "resume", "clear_cooldown"):
            with pytest.raises(WorkerRemoved):
                getattr(pool, name)("nobody")
        with pytest.raises(WorkerRemoved):
            pool.set_quota("nobody", None)
        with pytest.raises(Unroutable):
            pool.submit(1, worker="nobody")
        refused(lambda: pool.set_quota("w", 60), "quota")  # type: ignore[arg-type]
        with pytest.raises(WorkerRemoved):
            pool.set_tags("nobody", "a")
        refused(lambda: pool.set_tags("w", [1]), "tags")  # type: ignore[list-item]
        refused(lambda: pool.set_tags("w", 7), "tags")  # type: ignore[arg-type]
        refused(lambda: pool.cooldown("w", -1), "duration")
        refused(lambda: pool.pause("w", until=nan), "until")
        refused(lambda: setattr(pool, "concurrency", 0), "concurrency")
        refused(lambda: setattr(pool, "retry", 3), "retry")
        refused(lambda: setattr(pool.hooks, "on_dead", 3), "on_dead")
        refused(lambda: pool.request_close("now"), "mode")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'w'"):
            await pool.add(Probe("w"))
        with pytest.raises(AttributeError, match="on_sucess"):
            pool.hooks.on_sucess = print  # type: ignore[attr-defined]
        refused(lambda: Hooks(on_failure=_async_hook), "on_failure")  # type: ignore[arg-type]
        assert await pool.submit(1) == 1


async def _async_hook(record: object) -> None: ...


async def test_calls_that_wait_refuse_bad_values_before_anything_happens() -> None:
    """No worker is added or removed, no task is awaited, nothing is closed."""

    async def refuses(call: Callable[[], Awaitable[object]], field: str) -> None:
        with pytest.raises((TypeError, ValueError)) as error:
            await call()
        assert field in str(error.value)

    async with Pool([Probe("w")], debug=True) as pool:
        task = pool.submit(1)
        await refuses(lambda: pool.add(Probe("x"), wait="yes"), "wait")  # type: ignore[arg-type]
        await refuses(lambda: pool.add(Probe), "Worker")  # type: ignore[arg-type]
        await refuses(lambda: pool.add(Probe("x", tier=-1)), "tier")
        await refuses(lambda: pool.remove("w", force="yes"), "force")  # type: ignore[arg-type]
        await refuses(lambda: pool.remove("w", timeout=-1), "timeout")
        await refuses(lambda: pool.close("now"), "mode")  # type: ignore[arg-type]
        await refuses(lambda: pool.close(timeout=nan), "timeout")
        await refuses(lambda: pool.wait_until(lambda s: True, interval=0), "interval")
        await refuses(lambda: task.wait(-1), "timeout")
        await refuses(lambda: task.reached("RUNNING"), "state")  # type: ignore[arg-type]
        refused(lambda: task.add_done_callback(3), "callback")  # type: ignore[arg-type]
        refused(lambda: pool.pause(reason=7), "reason")  # type: ignore[arg-type]
        await refuses(lambda: pool.enqueue(1, timout=1), "timout")  # type: ignore[call-arg]
        assert [ref.name for ref in pool.workers()] == ["w"]
        assert not pool.snapshot().paused
        assert await pool.submit(2) == 2


async def test_a_quota_that_is_refused_leaves_the_old_one_in_force() -> None:
    """While a task runs and another waits. Origin: headroomlabs-ai/headroom PR#2142."""
    quota = Quota(Window(1, per=60))
    async with Pool([Probe("w", does=takes(5), quota=quota)], debug=True) as pool:
        running, waiting = pool.submit(1), pool.submit(2)
        for bad in (60, "60", [60], Window(5, per=1), True):
            refused(lambda bad=bad: pool.set_quota("w", bad), "quota")  # type: ignore[misc]
        assert await running == 1
        assert await waiting == 2
        assert now() == 65


# -- zero is zero, None is no limit --------------------------------------------------------------


@pytest.mark.timeout(5)
async def test_a_queue_of_zero_takes_only_what_can_start_at_once() -> None:
    """And one of None takes all."""
    async with Pool([Probe(does=takes(5))], max_queue=0, debug=True) as pool:
        first = pool.submit(1)
        with pytest.raises(QueueFull):
            pool.submit(2)
        third = await pool.enqueue(3)
        assert (now(), await first) == (5, 1)
        assert await third == 3
    async with Pool([Probe()], max_queue=None) as pool:
        for n in range(1000):
            pool.submit(n)


async def test_limits_of_zero_allow_nothing() -> None:
    """No refusal, no snooze, no wait, no time. Origin: kurigram-org/kurigram PR#192."""
    throttled = Probe(does=fails(Throttled(5)))
    async with Pool([throttled], max_throttles=0, debug=True) as pool:
        with pytest.raises(ThrottleLimit):
            await pool.submit(1)
    async with Pool([Probe(does=fails(Snooze(5)))], max_snoozes=0, debug=True) as pool:
        with pytest.raises(SnoozeLimit):
            await pool.submit(1)
    async with Pool([Probe(does=takes(5))], retry=ONE, debug=True) as pool:
        running = pool.submit(0)
        with pytest.raises(QueueTimeout):
            await pool.submit(1, queue_timeout=0)
        running.cancel()
        for option, error in (("timeout", TaskTimeout), ("attempt_timeout", AttemptTimeout)):
            with pytest.raises(error):
                await pool.submit(1, **{option: 0})  # type: ignore[arg-type]
    assert now() == pytest.approx(0, abs=1e-6)


async def test_none_lifts_a_limit_that_has_a_default() -> None:
    """A hundred and one refusals, a thousand and one snoozes, many lost workers."""
    limits = {"max_throttles": None, "max_snoozes": None, "max_worker_losses": None}
    for verdict, times in ((Throttled(1), 101), (Snooze(1), 1001), (WorkerLost(), 4)):
        worker = Probe(does=in_turn(*[verdict] * times, "ok"))
        async with Pool([worker], **limits) as pool:  # type: ignore[arg-type]
            assert await pool.submit(1) == "ok"
        assert len(worker.starts) == times + 1


async def test_a_history_of_zero_keeps_nothing_and_forgets_no_count() -> None:
    """Neither attempts nor moves."""
    policy = RetryPolicy.fixed(0, attempts=4)
    async with Pool([Probe(does=fails())], history_limit=0, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        assert (task.attempts, task.history, task.attempt_count) == ((), (), 4)
        [dead] = pool.dead
        assert (dead.attempts, dead.history, dead.attempt_count) == ((), (), 4)


async def test_no_grace_and_no_time_to_stop_still_close_what_can_be_closed() -> None:
    """Code that ends on its first interruption is not called stuck."""
    worker = Probe(does=takes(50))
    pool = Pool([worker], stop_grace=0, stop_timeout=0, shutdown_timeout=0, debug=True)
    async with pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
    assert now() == 1
    assert task.cancelled()
    assert worker.log == ["start", "stop"]


@pytest.mark.parametrize("value", [0, "x", random, random.random, [1]])
def test_random_choice_refuses_what_is_no_source(value: Any) -> None:
    """Not when the first worker is to be chosen."""
    refused(lambda: RandomChoice(value), "rng")


async def _asked(*question: object) -> Any: ...


def test_what_is_asked_in_the_middle_of_a_step_must_not_be_async() -> None:
    """Nobody could await it there: strategies, costs, the user's own limiters."""

    class Strategist:
        choose = staticmethod(_asked)

    refused(lambda: Pool(strategy=Strategist()), "strategy.choose")
    refused(lambda: Tiered(Strategist()), "inner.choose")
    refused(lambda: Pool(cost=_asked), "cost")
    for method in ("until", "take", "refund", "left", "settle", "sync"):
        limiter = LyingLimiter(0.0)
        setattr(limiter, method, _asked)
        refused(lambda limiter=limiter: Quota(tokens=limiter), f"tokens: {method}")  # type: ignore[misc]
    refused(lambda: Quota(LyingLimiter), "requests")  # type: ignore[arg-type]


class LyingLimiter:
    """Raises, or answers with rubbish."""

    capacity = 5.0

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def until(self, amount: float, now: float) -> float:
        if isinstance(self.answer, type):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    take = refund = until

    def left(self, now: float) -> float:
        return self.until(0, now)


@pytest.mark.parametrize("answer", [ZeroDivisionError, nan, "x", -5, None, True, 10**400, 1e-300])
async def test_a_limiter_that_raises_or_lies_does_not_stop_the_router(answer: Any) -> None:
    """It counts as having room; the service has the last word."""
    async with Pool([Probe(quota=Quota(LyingLimiter(answer)))], debug=True) as pool:
        assert [await pool.submit(n) for n in range(3)] == [0, 1, 2]
        pool.snapshot()
        assert now() == 0


async def test_a_limiter_that_never_has_room_stops_nobody_else() -> None:
    """A task that could only run there waits as long as it may."""
    closed, free = Probe("a", quota=Quota(LyingLimiter(inf))), Probe("b")
    async with Pool([closed, free], debug=True) as pool:
        waiting = pool.submit(0, worker="a", timeout=5)
        assert [await pool.submit(n) for n in range(3)] == [0, 1, 2]
        assert waiting.explain() == "a: quota too small; b: pinned to a"
        with pytest.raises(TaskTimeout):
            await waiting
        assert (now(), closed.starts) == (5, [])


@pytest.mark.parametrize("option", ["timeout", "attempt_timeout", "stop_grace"])
def test_a_whole_number_too_large_for_a_float_is_refused_by_name(option: str) -> None:
    """Not with an OverflowError that names nothing."""
    refused(lambda: Pool(**{option: 10**400}), option)


def test_verdicts_survive_whatever_they_are_given() -> None:
    """Numbers beyond floats, and objects whose own methods raise."""

    class Hostile:
        def __bool__(self) -> bool:
            raise ValueError("bool")

        def __str__(self) -> str:
            raise ValueError("str")

    assert Throttled(10**400).retry_after is None
    assert Snooze(10**400).seconds == 1.0
    WorkerLost(Hostile())  # type: ignore[arg-type]
    Discard(Hostile())  # type: ignore[arg-type]
