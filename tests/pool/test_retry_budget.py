"""The retry budget: how much of a pool's work may be retries, and how fast they come."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from retrypool_async import (
    Bounce,
    EndReason,
    FailureAction,
    Hooks,
    Pool,
    Quota,
    RetryBudget,
    RetryBudgetExceeded,
    RetryPolicy,
    Snooze,
    TaskHandle,
    Throttled,
    Window,
    WorkerLost,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

LONG = RetryPolicy.fixed(60, attempts=5)


def workers(amount: int, does: Any) -> list[Probe]:
    return [Probe(does=does) for _ in range(amount)]


def retrying(pool: Pool[Any, Any]) -> int | None:
    return pool.snapshot().retrying


async def submit(pool: Pool[Any, Any], amount: int, **options: Any) -> list[TaskHandle[Any]]:
    """Submit tasks, and let those that may start do so and fail."""
    tasks = [pool.submit(n, **options) for n in range(amount)]
    await asyncio.sleep(1e-3)
    return tasks


# -- how many --------------------------------------------------------------------------------------


async def test_a_failure_beyond_the_budget_ends_its_task_with_the_error_it_came_from() -> None:
    """Three may be retried however few there are; the caller sees why the fourth is not."""
    async with Pool(
        workers(4, fails(OSError)), retry=LONG, retry_budget=RetryBudget(), debug=True
    ) as pool:
        tasks = await submit(pool, 4)
        assert [task.done() for task in tasks] == [False, False, False, True]
        with pytest.raises(RetryBudgetExceeded) as failure:
            await tasks[3]
        assert isinstance(failure.value.__cause__, OSError)
        assert [dead.reason for dead in pool.dead] == [EndReason.RETRY_BUDGET]
        assert tasks[3].attempt_count == 1
        assert retrying(pool) == 3
        await pool.close("cancel")


@pytest.mark.parametrize(
    ("ratio", "minimum", "survive"), [(0.2, 3, 4), (0.2, 8, 8), (0.5, 0, 10), (0, 0, 0), (1, 0, 20)]
)
async def test_the_share_is_of_all_that_has_not_ended(
    ratio: float, minimum: int, survive: int
) -> None:
    """What waits for its first attempt as well as what is being retried."""
    budget = RetryBudget(ratio, minimum)
    async with Pool(
        workers(20, fails()), retry=LONG, retry_budget=budget, concurrency=1, debug=True
    ) as pool:
        tasks = await submit(pool, 20)
        assert sum(not task.done() for task in tasks) == survive
        assert retrying(pool) == survive
        await pool.close("cancel")


async def test_a_retry_counts_from_its_scheduling_to_its_end() -> None:
    """Neither while its task ran for the first time, nor after it has ended."""
    worker = Probe(does=in_turn(OSError(), "ok"))
    async with Pool([worker], retry=LONG, retry_budget=RetryBudget(), debug=True) as pool:

        async def fail_late(data: object) -> None:
            worker.does = takes(5)
            await asyncio.sleep(5)
            raise OSError

        worker.does = fail_late
        task = pool.submit(1)
        seen: list[int | None] = []
        for moment in (4, 6, 64, 66, 71):
            await asyncio.sleep(moment - now())
            seen.append(retrying(pool))
        assert await task == 1
        assert (seen, now()) == ([0, 1, 1, 1, 0], 71)


@pytest.mark.parametrize("end", ["cancelled", "timeout", "dead", "succeeded", "dropped"])
async def test_a_retry_that_has_ended_makes_room_however_it_ended(end: str) -> None:
    """Or the budget would shrink for ever."""
    worker = Probe(does=fails(OSError))
    budget = RetryBudget(0, 1)
    hooks = Hooks()
    retry = RetryPolicy.fixed(10, attempts=2)
    async with Pool([worker], retry=retry, retry_budget=budget, hooks=hooks, debug=True) as pool:
        for _ in range(3):
            task = pool.submit(1, timeout=5 if end == "timeout" else None, deadline="clip")
            await asyncio.sleep(1)
            assert retrying(pool) == 1
            worker.does = None if end == "succeeded" else worker.does
            hooks.on_failure = (lambda failure: FailureAction.DROP) if end == "dropped" else None
            if end == "cancelled":
                task.cancel()
            await task.wait()
            assert retrying(pool) == 0
            worker.does, hooks.on_failure = fails(OSError), None


async def test_one_retry_after_the_other_is_one_at_a_time() -> None:
    """A task that is being retried and fails again needs no second place."""
    worker = Probe(does=in_turn(*[OSError()] * 4, "ok"))
    async with Pool([worker], retry=LONG, retry_budget=RetryBudget(0, 1), debug=True) as pool:
        assert await pool.submit(1) == "ok"
        assert retrying(pool) == 0


@pytest.mark.parametrize("outcome", [Throttled(1), Snooze(1), WorkerLost()], ids=repr)
async def test_what_spends_no_attempt_is_no_retry(outcome: Exception) -> None:
    """A throttled task waits its turn, and adds nothing to the load."""
    worker = Probe(does=in_turn(outcome, outcome, "ok"))
    async with Pool([worker], retry_budget=RetryBudget(0, 0), debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(0)
        assert retrying(pool) == 0
        assert await task == "ok"
        assert (task.attempt_count, len(task.attempts)) == (1, 3)


async def test_a_retry_that_is_throttled_is_still_under_way() -> None:
    """It has not been made yet."""
    worker = Probe(does=in_turn(OSError(), Throttled(10), "ok"))
    async with Pool([worker], retry=LONG, retry_budget=RetryBudget(), debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(65)
        assert (task.throttles, retrying(pool)) == (1, 1)
        assert await task == "ok"
        assert (now(), retrying(pool)) == (70, 0)


@pytest.mark.parametrize("how", ["bounce", "verdict", "immediate", "forced"])
async def test_every_way_to_try_again_counts(how: str) -> None:
    """Bounces, immediate retries, and those that a hook forces."""
    pair = workers(2, fails(Bounce() if how == "verdict" else OSError()))
    hooks = Hooks(on_failure=(lambda _: FailureAction.FORCE_RETRY) if how == "forced" else None)
    options: dict[str, Any] = {how: True} if how in ("bounce", "immediate") else {}
    async with Pool(pair, retry_budget=RetryBudget(0, 0), hooks=hooks, debug=True) as pool:
        task = pool.submit(1, **options)
        with pytest.raises(RetryBudgetExceeded):
            await task
        assert len(task.attempts) == 1


async def test_an_outage_costs_few_retries_and_is_forgotten_after_it() -> None:
    """What was used up is there again as soon as retries end. Origin: aws/aws-sdk-go-v2#3550."""
    worker = Probe(does=fails(OSError))
    retry = RetryPolicy.fixed(1, attempts=4)
    async with Pool([worker], retry=retry, retry_budget=RetryBudget(0.1, 2), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(100)]
        await pool.join()
        calls = len(worker.starts)
        assert 100 < calls <= 130
        assert all(task.done() for task in tasks)
        worker.does = None
        for n in range(20):
            assert await pool.submit(n) == n
        worker.does = in_turn(OSError(), "ok")
        assert await pool.submit("again") == "ok"


async def test_without_a_budget_nothing_is_counted() -> None:
    """And everything is retried."""
    async with Pool(workers(10, in_turn(*[OSError()] * 10, "ok")), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        assert [await task for task in tasks] == ["ok"] * 10
        assert retrying(pool) is None


# -- how fast --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"immediate": True}, {"bounce": True}], ids=str)
async def test_retries_are_spread_and_first_attempts_are_not(options: dict[str, Any]) -> None:
    """One a second, however many failed at once. Origin: resilience4j/resilience4j#1565."""
    tried: set[Any] = set()
    again: list[float] = []

    def does(data: Any) -> Any:
        if data in tried:
            again.append(now())
            return data
        tried.add(data)
        raise OSError

    async with Pool(
        workers(10, does),
        retry=RetryPolicy.fixed(0),
        retry_budget=RetryBudget(1, rate=1),
        debug=True,
    ) as pool:
        tasks = [pool.submit(n, **options) for n in range(10)]
        await asyncio.sleep(3.5)
        late = pool.submit("new", **options)
        await asyncio.gather(*tasks, late)
        assert late.history[0].at == late.attempts[0].started == 3.5
    assert again == [*map(float, range(11))]


async def test_a_retry_keeps_its_own_wait_and_then_its_turn() -> None:
    """Whichever is later; turns are taken when waits end, so a long wait holds up nobody."""
    worker = Probe(does=in_turn(*[OSError()] * 3, "ok"))
    async with Pool(
        [worker], retry=RetryPolicy.fixed(0), retry_budget=RetryBudget(1, rate=0.1), debug=True
    ) as pool:
        slow = pool.submit("slow", retry=RetryPolicy.fixed(25))
        soon = pool.submit("soon", retry=RetryPolicy.fixed(3))
        also = pool.submit("also", retry=RetryPolicy.fixed(5))
        await asyncio.gather(slow, soon, also)
        starts = {task.data: task.attempts[1].started for task in (slow, soon, also)}
        assert starts == {"soon": 3, "also": 13, "slow": 25}


async def test_a_retry_whose_turn_would_come_too_late_ends_at_its_deadline() -> None:
    """It waits no longer than anything else would."""
    pair = workers(2, fails(OSError))
    async with Pool(
        pair, retry=RetryPolicy.fixed(1), retry_budget=RetryBudget(1, rate=0.01), debug=True
    ) as pool:
        tasks = [pool.submit(n, timeout=20) for n in range(2)]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [len(task.attempts) for task in tasks] == [2, 1]
        assert now() == 20


async def test_what_is_no_retry_waits_for_no_turn() -> None:
    """Snoozed tasks come back when they said."""
    pair = workers(2, in_turn(Snooze(5), Snooze(5), "ok"))
    async with Pool(pair, retry_budget=RetryBudget(1, rate=0.01), debug=True) as pool:
        await asyncio.gather(*[pool.submit(n) for n in range(2)])
        assert now() == 5


async def test_turns_and_quotas_both_hold() -> None:
    """A retry that has its turn waits for its quota like any other."""
    worker = Probe(does=in_turn(OSError(), "ok"), quota=Quota(Window(1, per=10)))
    async with Pool(
        [worker], retry=RetryPolicy.fixed(0), retry_budget=RetryBudget(1, rate=1), debug=True
    ) as pool:
        tasks = [pool.submit(n) for n in range(3)]
        await asyncio.gather(*tasks)
    assert all(later - earlier >= 10 for earlier, later in pairwise(worker.starts))


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("ratio", bad) for bad in (-0.1, float("nan"), float("inf"), "0.2", True, None)),
        *(("minimum", bad) for bad in (-1, 1.5, True, None)),
        *(("rate", bad) for bad in (0, -1, float("nan"), float("inf"), "1", True)),
    ],
)
def test_odd_values_are_refused_by_name(field: str, value: Any) -> None:
    """When the budget is made."""
    with pytest.raises((TypeError, ValueError), match=field):
        RetryBudget(**{field: value})


@pytest.mark.parametrize("value", [0.2, True, RetryBudget, {"ratio": 0.2}])
def test_a_pool_refuses_what_is_no_budget(value: Any) -> None:
    """By name."""
    with pytest.raises(TypeError, match="retry_budget"):
        Pool(retry_budget=value)
