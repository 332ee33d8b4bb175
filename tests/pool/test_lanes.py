"""Fair sharing between submitters, seen from outside."""

from __future__ import annotations

import asyncio

from retrypool_async import Pool, Quota, RetryPolicy, Window
from retrypool_async.testing import settle
from tests.pool.probe import Probe, now, takes


async def test_ten_tasks_of_one_tenant_are_not_delayed_by_the_thousands_of_another() -> None:
    """Two workers, a second each: the ten have every second start, and end after ten seconds."""
    workers = [Probe(does=takes(1)), Probe(does=takes(1))]
    async with Pool(workers) as pool:
        crowd = [pool.submit(n, lane="crowd") for n in range(5000)]
        await asyncio.sleep(5)
        few = [pool.submit(n, lane="few") for n in range(10)]
        await asyncio.gather(*few)
        assert now() == 5 + 10
        assert sum(task.done() for task in crowd) == 2 * 15 - 10
        await pool.aclose()


async def test_weights_decide_how_often_a_lane_has_its_turn() -> None:
    """Three for one, and one for each that is not named."""
    order: list[str] = []
    async with Pool(
        [Probe(does=order.append)], lane_weights={"gold": 3}, concurrency=1, debug=True
    ) as pool:
        pool.pause()
        for lane in ("lead", "gold"):
            for _ in range(8):
                pool.submit(lane, lane=lane)
        pool.resume()
        await pool.join()
    assert [order[:8].count(lane) for lane in ("lead", "gold")] == [2, 6]


async def test_lanes_share_a_quota_in_turns() -> None:
    """One start a minute, to each in turn."""
    starts: list[tuple[str, float]] = []
    worker = Probe(does=lambda lane: starts.append((lane, now())), quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True, shutdown_timeout=None) as pool:
        for lane in "aab":
            pool.submit(lane, lane=lane)
    assert starts == [("a", 0), ("b", 60), ("a", 120)]


async def test_a_free_worker_never_waits_for_a_lane_whose_turn_it_is() -> None:
    """That lane is bound to a worker of its own."""
    busy, free = Probe("busy", does=takes(10)), Probe("free", does=takes(1))
    async with Pool([busy, free], debug=True) as pool:
        bound = [pool.submit(0, lane="a", worker="busy") for _ in range(2)]
        others = [pool.submit(0, lane="b", worker="free") for _ in range(5)]
        await asyncio.gather(*others)
        assert now() == 5
        await asyncio.gather(*bound)
        assert now() == 20


async def test_a_lane_keeps_its_options_and_its_place_in_a_dead_task() -> None:
    """What is submitted again is in the lane that it was in."""
    order: list[object] = []

    def does(data: object) -> None:
        order.append(data)
        if len(order) == 1:
            raise ValueError

    async with Pool([Probe(does=does)], retry=RetryPolicy.fixed(0, attempts=1)) as pool:
        await pool.submit("dead", lane="a").wait()
        pool.pause()
        pool.submit("a", lane="a")
        for _ in range(3):
            pool.submit("b", lane="b")
        again = pool.dead.requeue(next(iter(pool.dead)).id)
        pool.resume()
        await again
    assert order == ["dead", "b", "a", "b", "b", "dead"]


async def test_map_and_enqueue_take_a_lane() -> None:
    """Like `submit`."""
    order: list[str] = []
    async with Pool([Probe(does=order.append)], debug=True) as pool:
        pool.pause()
        many = asyncio.create_task(_drain(pool, ["m"] * 4))
        await settle()
        await pool.enqueue("e", lane="e")
        pool.resume()
        await many
    assert order == ["m", "e", "m", "m", "m"]


async def _drain(pool: Pool[str, None], items: list[str]) -> None:
    async for _ in pool.map(items, window=4, lane="m"):
        pass
