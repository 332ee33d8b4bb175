"""Faults of trying again."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from retrypool_async import (
    FailureAction,
    Hooks,
    NoWorkers,
    Pool,
    PoolClosed,
    RetryPolicy,
    RoundRobin,
    TaskState,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now


async def test_others_run_while_a_retry_waits() -> None:
    """F-03: on the only worker there is, which is free meanwhile and counts as such."""
    worker = Probe("w", does=in_turn(ValueError(), "second", "first"))
    async with Pool([worker], retry=RetryPolicy.fixed(0.3), debug=True) as pool:
        first = pool.submit(1)
        assert await pool.submit(2) == "second"
        assert now() == 0
        await settle()
        assert pool.free_workers() == pool.workers()
        counts = pool.snapshot().tasks
        assert (counts[TaskState.SCHEDULED], counts[TaskState.RUNNING]) == (1, 0)
        assert await first == "first"
    assert worker.starts == [0, 0, 0.3]


async def test_a_retry_that_finds_every_worker_paused_waits_for_one() -> None:
    """F-60m: a pause is not the end of the task, whatever is done where there are no workers."""
    worker = Probe("w", does=in_turn(ValueError(), "ok"))
    retry = RetryPolicy.fixed(1)
    async with Pool([worker], retry=retry, no_workers="dead", debug=True) as pool:
        task = pool.submit(1)
        await settle()
        pool.pause("w")
        await asyncio.sleep(5)
        pool.resume("w")
        assert await task == "ok"
    assert worker.starts == [0, 5]


@pytest.mark.parametrize("how", ["immediate", "forced", "immediate bounce"])
@pytest.mark.parametrize("end", ["worker gone", "pool closed"])
async def test_an_urgent_retry_that_nobody_will_take_ends_and_says_so(how: str, end: str) -> None:
    """F-34: its worker leaves, or the pool closes, during the attempt before it."""

    async def fails_at_last(data: object) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        raise ValueError

    hooks = Hooks()
    if how == "forced":
        hooks.on_failure = lambda failed: FailureAction.FORCE_RETRY
    async with Pool([Probe("w", does=fails_at_last)], hooks=hooks, debug=True) as pool:
        task = pool.submit(1, immediate=how != "forced", bounce=how == "immediate bounce")
        await asyncio.sleep(1)
        if end == "worker gone":
            await pool.remove("w")
        else:
            await pool.close("cancel")
        with pytest.raises(NoWorkers if end == "worker gone" else PoolClosed):
            await task
        assert now() == (5 if end == "worker gone" else 1)


async def test_a_round_robin_is_not_turned_by_a_retry_that_stays_where_it_is() -> None:
    """F-60n: after w0 had its task twice it is the turn of w1."""
    workers = [Probe(f"w{n}") for n in range(3)]
    workers[0].does = fails()
    policy = RetryPolicy.fixed(0, attempts=2)
    async with Pool(workers, strategy=RoundRobin(), retry=policy, debug=True) as pool:
        await pool.submit(0, immediate=True).wait()
        for n in range(1, 3):
            await pool.submit(n)
    assert [len(worker.starts) for worker in workers] == [2, 1, 1]


async def test_a_retry_policy_without_an_end_is_a_choice_and_not_the_default() -> None:
    """F-60b: a task that always fails is given up, and keeps a bounded memory of it."""

    def fail(data: object) -> None:
        raise ValueError

    async with Pool([Probe("w", does=fail)], debug=True) as pool:
        default = pool.submit(1)
        await default.wait()
        endless = pool.submit(2, retry=RetryPolicy.fixed(0.001, attempts=None), timeout=1)
        await endless.wait()
        assert default.attempt_count == 3
        assert endless.attempt_count > 900
        assert len(endless.attempts) == len(endless.history) == 50
