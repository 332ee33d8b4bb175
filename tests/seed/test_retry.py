"""Attempts, delays and time limits: T21, T46 to T48."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
import tenacity

from retrypool_async import (
    AttemptFailed,
    AttemptTimeout,
    EndReason,
    FailureAction,
    Hooks,
    Pool,
    RetryPolicy,
    TaskTimeout,
    current_task,
)
from tests.pool.probe import Probe, now, takes
from tests.seed.modes import BOTH_MODES


@BOTH_MODES
async def test_an_immediate_retry_is_the_next_thing_its_worker_does(
    concurrency: int | None,
) -> None:
    """T21: of six tasks three fail once, and are marked immediate; no limit on attempts."""
    order: list[int] = []

    def fail_odd_ones_once(data: int) -> None:
        order.append(data)
        if data % 2 and current_task().attempt == 1:
            raise ValueError

    pool = Pool(
        [Probe("w", does=fail_odd_ones_once)],
        retry=RetryPolicy.fixed(0.001, attempts=None),
        hooks=Hooks(on_failure=lambda failed: FailureAction.RETRY),
        concurrency=concurrency,
        debug=True,
    )
    async with pool:

        async def caller(data: int) -> None:
            await pool.submit(data, immediate=data % 2 == 1)

        await asyncio.gather(*(caller(n) for n in range(6)))
    assert order == [0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert now() == 0


@BOTH_MODES
@pytest.mark.parametrize(
    ("most", "failures", "dead", "succeeded"),
    [
        pytest.param(2, {1: 1, 2: 1}, 0, 2, id="a"),
        pytest.param(3, {1: 2, 2: 4, 3: 1}, 1, 2, id="b"),
        pytest.param(5, {1: 3, 2: 4}, 0, 2, id="c"),
        pytest.param(2, {1: 3, 2: 3}, 2, 0, id="d"),
    ],
)
async def test_attempts_are_counted_and_spaced(
    most: int, failures: dict[int, int], dead: int, succeeded: int, concurrency: int | None
) -> None:
    """T46: the failure hook gives up when `most` attempts have failed; 50 ms between attempts."""
    starts: defaultdict[int, list[float]] = defaultdict(list)

    def fail_as_often_as_told(data: int) -> None:
        starts[data].append(now())
        if len(starts[data]) <= failures[data]:
            raise ValueError

    def give_up(failed: AttemptFailed) -> FailureAction:
        return FailureAction.DEAD if failed.number >= most else FailureAction.RETRY

    pool = Pool(
        [Probe("w", does=fail_as_often_as_told)],
        retry=RetryPolicy.fixed(0.050, attempts=most),
        hooks=Hooks(on_failure=give_up),
        concurrency=concurrency,
        debug=True,
    )
    async with pool:
        for data in failures:
            pool.submit(data)
        await pool.join()
        snapshot = pool.snapshot()
        assert (snapshot.dead, snapshot.succeeded) == (dead, succeeded)
        assert pool.dead.reasons() == ({EndReason.KILLED: dead} if dead else {})
    for data, count in failures.items():
        attempts = min(count + 1, most)
        assert starts[data] == pytest.approx([0.050 * n for n in range(attempts)])


def doubling(state: tenacity.RetryCallState) -> float:
    return 0.050 * 2.0**state.attempt_number


async def waits_of(policy: RetryPolicy, failures: int) -> list[float]:
    """The waits before the retries of one task that fails so often."""
    runs: Counter[str] = Counter()

    def fail_at_first(data: str) -> None:
        runs[data] += 1
        if runs[data] <= failures:
            raise ValueError

    worker = Probe("w", does=fail_at_first)
    async with Pool([worker], retry=policy, rng=random.Random(1), debug=True) as pool:
        await pool.submit("data")
    return [after - before for before, after in pairwise(worker.starts)]


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        pytest.param(RetryPolicy.fixed(0.100, attempts=4), [0.1, 0.1, 0.1], id="1-fixed"),
        pytest.param(
            RetryPolicy(wait=doubling, stop=tenacity.stop_after_attempt(4)),
            [0.1, 0.2, 0.4],
            id="2-function",
        ),
        pytest.param(
            RetryPolicy(
                wait=lambda state: min(doubling(state), 0.150), stop=tenacity.stop_after_attempt(5)
            ),
            [0.1, 0.15, 0.15, 0.15],
            id="3-capped-function",
        ),
        pytest.param(
            RetryPolicy.exponential(0.100, max=0.150, jitter=0, attempts=5),
            [0.1, 0.15, 0.15, 0.15],
            id="3-capped-policy",
        ),
    ],
)
async def test_delays_are_as_configured(policy: RetryPolicy, waits: list[float]) -> None:
    """T47, 1 to 3: exactly, caps included. In Go the cap has no effect, and nothing is checked."""
    assert await waits_of(policy, len(waits)) == pytest.approx(waits)


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy.fixed(0.150, jitter=1 / 3, attempts=4),
        RetryPolicy(
            wait=tenacity.wait_fixed(0.100) + tenacity.wait_random(0, 0.050),
            stop=tenacity.stop_after_attempt(4),
        ),
    ],
    ids=["ours", "tenacity's"],
)
async def test_jitter_spreads_delays_within_its_bounds(policy: RetryPolicy) -> None:
    """T47, 4: between 100 and 150 ms, and not all equal. In Go jitter has no effect."""
    waits = await waits_of(policy, 3)
    assert len(waits) == 3
    assert all(0.100 - 1e-9 <= wait <= 0.150 + 1e-9 for wait in waits)
    assert len(set(waits)) == 3


@pytest.mark.parametrize(
    ("takes_s", "total", "per_attempt", "most", "durations", "error"),
    [
        pytest.param(0.050, 0.100, None, 1, [0.050], None, id="1"),
        pytest.param(0.150, 0.100, None, 1, [0.100], TaskTimeout, id="2"),
        pytest.param(0.150, None, 0.100, 3, [0.100] * 3, AttemptTimeout, id="3"),
        pytest.param(0.150, None, 0.200, 3, [0.150], None, id="4"),
        pytest.param(0.075, 0.200, 0.050, 5, [0.050] * 3 + [0.020], TaskTimeout, id="5-combined"),
    ],
)
async def test_time_limits_hold_alone_and_combined(
    takes_s: float,
    total: float | None,
    per_attempt: float | None,
    most: int,
    durations: list[float],
    error: type[Exception] | None,
) -> None:
    """T48: 10 ms between attempts. The total limit runs from the submit, waits included."""
    worker = Probe("w", does=takes(takes_s))
    policy = RetryPolicy.fixed(0.010, attempts=most)
    async with Pool([worker], retry=policy, debug=True) as pool:
        task = pool.submit(1, timeout=total, attempt_timeout=per_attempt)
        await task.wait()
        assert [attempt.duration for attempt in task.attempts] == pytest.approx(durations)
        assert type(task.error()) is (error or type(None))
        assert len(pool.dead) == (error is not None)
