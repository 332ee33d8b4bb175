"""A process that starts does not start with full buckets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from retrypool_async import Bucket, Daily, Pool, Quota, Throttled, Window, current_task
from retrypool_async.testing import VirtualLoop
from tests.pool.probe import Probe, now


async def run_all(pool: Pool[Any, Any], count: int, **options: Any) -> None:
    for task in [pool.submit(n, **options) for n in range(count)]:
        await task


def step_wall_clock(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.epoch += seconds


@pytest.mark.parametrize(
    ("limit", "starts"),
    [
        (Window(3, per=60, used=2), [0, 60, 60, 60]),
        (Window(3, per=60, used=9), [60, 60, 60, 120]),
        (Bucket(3, per=60, used=2), [0, 20, 40, 60]),
        (Daily(3, used=2), [0, 86_400, 86_400, 86_400]),
    ],
)
async def test_what_was_used_before_counts_from_the_moment_a_pool_has_the_quota(
    limit: Window | Bucket | Daily, starts: list[float]
) -> None:
    """Not from when it was written down; the same description may be used again."""
    quotas = [Quota(limit), Quota(limit)]
    for quota in quotas:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await asyncio.sleep(5)
        loop.epoch = -now()  # it is midnight
        began = now()
        worker = Probe(quota=quota)
        async with Pool([worker], debug=True) as pool:
            await run_all(pool, 4)
        assert [start - began for start in worker.starts] == pytest.approx(starts, abs=1e-4)


@pytest.mark.parametrize("kind", [Window, Bucket])
@pytest.mark.parametrize("odd", [-1, float("nan"), float("inf"), True, "2", None])
def test_what_was_used_before_is_an_amount(kind: Any, odd: Any) -> None:
    """Or the limit is refused, with the field named."""
    with pytest.raises((TypeError, ValueError), match=f"{kind.__name__} used"):
        kind(3, per=60, used=odd)
    with pytest.raises((TypeError, ValueError), match="Daily used"):
        Daily(3, used=odd)


async def test_a_pool_wide_quota_and_one_from_a_factory_start_warm_too() -> None:
    """And one that comes with `set_quota` to a worker that had none."""
    async with Pool([Probe("w")], quota=Quota(Window(1, per=10, used=1)), debug=True) as pool:
        await pool.submit(0)
        assert now() == 10
    made = Pool(
        factory=lambda: Probe(quota=Quota(Window(1, per=10, used=1))), max_workers=1, debug=True
    )
    async with made as pool:
        await pool.submit(0)
        assert now() == 20
    async with Pool([Probe("w")], debug=True) as pool:
        pool.set_quota("w", Quota(Window(1, per=10, used=1)))
        await pool.submit(0)
        assert now() == 30


def limits() -> Quota:
    return Quota(requests=[Window(3, per=60), Daily(100)], tokens=Bucket(100, per=100))


async def use(quota: Quota) -> None:
    """One start at 0 s and two at 20 s, 30 tokens each."""
    async with Pool([Probe(quota=quota)], debug=True) as pool:
        began = now()
        await pool.submit(0, cost={"tokens": 30})
        await asyncio.sleep(20 - (now() - began))
        await run_all(pool, 2, cost={"tokens": 30})


async def test_another_process_goes_on_where_the_first_ended() -> None:
    """What has expired or leaked in between is free, and nothing else."""
    first = limits()
    await use(first)
    await asyncio.sleep(5)
    levels = json.loads(json.dumps(first.export()))
    assert levels["taken"] == {
        "requests": [[[25, 1], [5, 2]], [[0, 3]]],
        "tokens": [[[0, pytest.approx(65)]]],
    }
    step_wall_clock(10)  # while no process runs
    second = limits()
    second.restore(levels)
    worker = Probe(quota=second)
    async with Pool([worker], debug=True) as pool:
        began = now()
        assert second.left(now()) == pytest.approx({"requests": 0, "tokens": 45})
        await run_all(pool, 2)
    assert [start - began for start in worker.starts] == pytest.approx([25, 45])
    assert second.export()["taken"]["requests"][1] == [[0, 5]]


async def test_a_day_that_has_ended_meanwhile_is_over() -> None:
    """By the wall clock, whatever the two loops' clocks showed."""
    first, second = Quota(Daily(5)), Quota(Daily(5))
    async with Pool([Probe(quota=first)], debug=True) as pool:
        await run_all(pool, 5)
    levels = first.export()
    step_wall_clock(86_400)
    second.restore(levels)
    async with Pool([Probe(quota=second)], debug=True):
        assert second.left(now()) == {"requests": 5}


async def test_a_wall_clock_that_was_put_back_frees_nothing() -> None:
    """The time in between counts as none."""
    first, second = Quota(Window(2, per=60)), Quota(Window(2, per=60))
    async with Pool([Probe(quota=first)], debug=True) as pool:
        await run_all(pool, 2)
    levels = first.export()
    step_wall_clock(-3600)
    second.restore(levels)
    async with Pool([Probe(quota=second)], debug=True) as pool:
        began = now()
        await pool.submit(0)
        assert now() - began == 60


async def test_what_a_service_has_said_outlives_the_process() -> None:
    """How long it refuses everybody, and what it said is left."""

    def does(data: Any) -> None:
        if data == "refused":
            current_task().sync_quota(remaining=1, reset_after=90)
            raise Throttled(30, scope="quota")

    first, second = Quota(Window(9, per=60)), Quota(Window(9, per=60))
    async with Pool([Probe(does=does, quota=first)], debug=True) as pool:
        pool.submit("refused")
        await asyncio.sleep(5)
        levels = json.loads(json.dumps(first.export()))
        await pool.close("cancel")
    step_wall_clock(5)
    second.restore(levels)
    worker = Probe(quota=second)
    async with Pool([worker], debug=True) as pool:
        began = now()
        await run_all(pool, 2)
    assert [start - began for start in worker.starts] == pytest.approx([20, 80])


async def test_limits_that_have_changed_take_over_what_fits() -> None:
    """By dimension and place: a log becomes a level, and what is gone is forgotten."""
    first = Quota(requests=Window(9, per=90), tokens=Bucket(100, per=100))
    await use(first)
    second = Quota(requests=[Bucket(9, per=90), Window(9, per=1)], pages=Window(1, per=1))
    second.restore(first.export())
    async with Pool([Probe(quota=second)], debug=True):
        # 1 at 20 s ago has leaked at 1 in 10 s; 2 of now have not.
        assert second.left(now()) == pytest.approx({"requests": 7, "pages": 1})
        assert second.until((("requests", 8.0),), now()) == 10


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        "levels",
        {},
        {"at": "now", "cooling": 0, "taken": {}, "reported": {}},
        {"at": 0, "cooling": -1, "taken": {}, "reported": {}},
        {"at": 0, "cooling": 0, "taken": [], "reported": {}},
        {"at": 0, "cooling": 0, "taken": {"requests": [[[0]]]}, "reported": {}},
        {"at": 0, "cooling": 0, "taken": {"requests": [[[0, -5]]]}, "reported": {}},
        {"at": 0, "cooling": 0, "taken": {"requests": 7}, "reported": {}},
        {"at": 0, "cooling": 0, "taken": {}, "reported": {"requests": 7}},
    ],
)
def test_what_no_quota_has_exported_is_refused(odd: Any) -> None:
    """With nothing half done."""
    quota = Quota(Window(2, per=60))
    with pytest.raises(ValueError, match="levels"):
        quota.restore(odd)
    quota.begin(0)
    assert quota.left(0) == {"requests": 2}


async def test_a_quota_in_use_is_not_restored() -> None:
    """It knows better what it has used."""
    quota = Quota(Window(2, per=60))
    levels = quota.export()
    with pytest.raises(RuntimeError, match="before"):
        quota.restore(levels)


def test_levels_are_exported_where_the_pool_runs() -> None:
    """There is no time anywhere else."""
    with pytest.raises(RuntimeError):
        Quota(Window(2, per=60)).export()
