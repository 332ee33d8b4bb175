"""A bad value is refused at the call, by name, and nothing has happened."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from retrypool_async import (
    Bucket,
    Discard,
    FunctionWorker,
    Hooks,
    PolicyError,
    Pool,
    PoolClosed,
    Quota,
    RetryPolicy,
    Snooze,
    ThreadWorker,
    Throttled,
    Unroutable,
    Window,
    Worker,
    WorkerRemoved,
)
from tests.pool.probe import Probe

NOT_SECONDS = [-1, nan, inf, "5", True, [1]]
NOT_COUNTS = [-1, 1.5, "5", True]


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
        "stop_grace",
        "hook_timeout",
        "shutdown_timeout",
        "max_retry_after",
        "throttle_cooldown",
        "attempt_timeout",
        "timeout",
        "no_workers",
    ],
)
def test_a_pool_refuses_what_is_not_seconds(option: str, value: Any) -> None:
    """Named."""
    refused(lambda: Pool(**{option: value}), option)


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
        ({"secrets": "sk-1"}, "secrets"),
        ({"debug": 1}, "debug"),
        ({"max_retrys": 3}, "max_retrys"),
        ({"workers": [object()]}, "Worker"),
        ({"workers": [Probe("a"), Probe("a")]}, "'a'"),
        ({"workers": [Probe("")]}, "name"),
        ({"workers": [Probe(tags=[1])]}, "tags"),
        ({"workers": [Probe(weight=-1)]}, "weight"),
        ({"workers": [Probe(tier="a")]}, "tier"),
        ({"workers": [Probe(max_tasks=0)]}, "max_tasks"),
        ({"workers": [Probe(max_age=nan)]}, "max_age"),
        ({"workers": [Probe(quota=60)]}, "quota"),
    ],
)
def test_a_pool_refuses_bad_options(options: dict[str, Any], field: str) -> None:
    """Named."""
    refused(lambda: Pool(**options), field)


def test_one_object_twice_is_refused() -> None:
    """It would not be exclusive."""
    worker = Probe()
    refused(lambda: Pool([worker, worker]), "twice")


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
    ({"worker": 1.5}, "worker"),
    ({"worker": True}, "worker"),
    ({"metadata": [1]}, "metadata"),
    ({"on_done": 1}, "on_done"),
    ({"deadline": "never"}, "deadline"),
    ({"timout": 1}, "timout"),
]


@pytest.mark.parametrize(("options", "field"), BAD_SUBMITS)
async def test_a_submit_refuses_bad_options(options: dict[str, Any], field: str) -> None:
    """And records nothing."""
    quota = Quota(requests=Window(5, per=1), tokens=Window(5, per=1))
    async with Pool([Probe(quota=quota)], debug=True) as pool:
        refused(lambda: pool.submit(1, **options), field)
        snapshot = pool.snapshot()
        assert snapshot.submitted == 0
        assert snapshot.workers[0].quota_left == {"requests": 5, "tokens": 5}
        assert await pool.submit(1) == 1


@pytest.mark.parametrize("kind", [Window, Bucket])
@pytest.mark.parametrize("value", [0, -1, nan, inf, "5", True])
def test_a_limit_refuses_bad_numbers(kind: Any, value: Any) -> None:
    """For the amount and for the span."""
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


@pytest.mark.parametrize("answer", [ZeroDivisionError, nan, "x", -5])
async def test_a_limiter_that_raises_or_lies_does_not_stop_the_router(answer: Any) -> None:
    """It counts as having room; the service has the last word."""
    async with Pool([Probe(quota=Quota(LyingLimiter(answer)))], debug=True) as pool:
        assert [await pool.submit(n) for n in range(3)] == [0, 1, 2]
        pool.snapshot()
