"""Workers of different weight and tier, and who gets a task when several could take it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from retrypool_async import (
    LeastRecentlyUsed,
    MostQuota,
    Pool,
    Quota,
    RandomChoice,
    RetryPolicy,
    RoundRobin,
    Strategy,
    Tiered,
    Weighted,
    Window,
)
from tests.pool.probe import Probe, fails, takes


async def takers(pool: Pool[Any, Any], amount: int) -> str:
    """Run tasks one after another, and return the names of who took them."""
    names = ""
    for n in range(amount):
        task = pool.submit(n)
        await task
        names += task.attempts[0].worker
    return names


# -- Weighted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((5, 1, 1), "aabacaa" * 2),
        ((2, 1, 0), "aba" * 3),
        ((1, 1, 1), "abc" * 3),
        ((0.5, 0.25, 0.25), "abca" * 3),
        ((0, 0, 0), "abc" * 3),
    ],
)
async def test_weights_are_served_in_proportion_and_evenly_spread(
    weights: tuple[float, ...], order: str
) -> None:
    """The known order of smooth weighted round robin, and no other."""
    workers = [Probe(name, weight=weight) for name, weight in zip("abc", weights, strict=True)]
    async with Pool(workers, strategy=Weighted(), debug=True) as pool:
        assert await takers(pool, len(order)) == order


async def test_a_cooled_worker_of_great_weight_gets_nothing() -> None:
    """And the other all: weight is among those that may run it. Origin: litellm PR#34836."""
    workers = [Probe("a", weight=200), Probe("b", weight=1)]
    async with Pool(workers, strategy=Weighted(), debug=True) as pool:
        pool.cooldown("a", 15)
        for _ in range(15):
            await pool.submit(0)
            await asyncio.sleep(1)
        assert (len(workers[0].starts), len(workers[1].starts)) == (0, 15)
        assert await takers(pool, 10) == "a" * 10


async def test_a_worker_of_weight_0_waits_until_there_is_no_other() -> None:
    """However much the others have had while it was alone with one of them."""
    workers = [Probe("a", weight=1), Probe("b", weight=9), Probe("z", weight=0)]
    async with Pool(workers, strategy=Weighted(), debug=True) as pool:
        for _ in range(5):
            assert "z" not in await takers(pool, 3)
            pool.pause("b")
            assert await takers(pool, 3) == "aaa"
            pool.resume("b")
        pool.pause("a")
        pool.pause("b")
        assert await takers(pool, 2) == "zz"


async def test_what_is_owed_to_workers_long_gone_is_forgotten() -> None:
    """Ids are never used again, so a pool that replaces its workers would grow."""
    strategy = Weighted()
    async with Pool([Probe("a")], strategy=strategy) as pool:
        for n in range(1500):
            await pool.add(Probe(f"b{n}"))
            await takers(pool, 2)
            await pool.remove(f"b{n}")
    assert len(strategy._owed) < 1010


# -- RandomChoice ----------------------------------------------------------------------------------


async def test_random_choice_is_as_random_as_its_source() -> None:
    """The pool's, or one of its own: the same seed makes the same choices."""

    async def chosen(strategy: Strategy, seed: int) -> str:
        workers = [Probe(name) for name in "abc"]
        async with Pool(workers, strategy=strategy, rng=random.Random(seed), debug=True) as pool:
            return await takers(pool, 300)

    first = await chosen(RandomChoice(), 2)
    assert all(80 < first.count(name) < 120 for name in "abc")
    assert await chosen(RandomChoice(), 2) == first
    assert await chosen(RandomChoice(random.Random(2)), 3) == first
    assert await chosen(Tiered(RandomChoice()), 2) == first
    assert await chosen(RandomChoice(), 3) != first


def test_random_choice_works_without_a_pool() -> None:
    """As the part of somebody's own strategy."""
    workers: list[Any] = [object(), object()]
    choice = RandomChoice()
    assert {choice.choose(workers, 0.0) for _ in range(100)} == set(workers)


# -- Tiered ----------------------------------------------------------------------------------------


async def test_a_higher_tier_is_used_when_the_lower_ones_are_busy() -> None:
    """At once, and no longer than that."""
    workers = [Probe("costly", tier=7), Probe("a", does=takes(2)), Probe("b", does=takes(5))]
    async with Pool(workers, strategy=Tiered(), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(4)]
        await asyncio.gather(*tasks)
        assert [task.attempts[0].worker for task in tasks] == ["a", "b", "costly", "costly"]
        task = pool.submit(9)
        await task
        assert task.attempts[0].worker == "a"


@pytest.mark.parametrize(
    ("inner", "order"),
    [
        (None, "abababab"),
        (RoundRobin(), "abababab"),
        (Weighted(), "abaaabaa"),
        (MostQuota(), "abbbbbab"),
    ],
)
async def test_the_inner_strategy_chooses_within_a_tier(inner: Strategy | None, order: str) -> None:
    """The higher tier, of the greatest weight and without limits, gets nothing."""
    workers = [
        Probe("z", tier=1, weight=99),
        Probe("a", weight=3, quota=Quota(Window(20, per=60))),
        Probe("b", weight=1, quota=Quota(Window(100, per=60))),
    ]
    async with Pool(workers, strategy=Tiered(inner), debug=True) as pool:
        assert await takers(pool, 8) == order


async def test_a_tier_without_quota_is_passed_over_until_it_has_some() -> None:
    """Two of three tasks per 10 s on the own key, the third on the costly one."""
    own = Probe("o", quota=Quota(Window(2, per=10)))
    async with Pool([Probe("c", tier=1), own], strategy=Tiered(), debug=True) as pool:
        assert await takers(pool, 3) == "ooc"
        await asyncio.sleep(10)
        assert await takers(pool, 3) == "ooc"


@pytest.mark.parametrize("bad", [Weighted, 5, "inner", object()])
def test_a_strategy_that_is_none_is_refused(bad: Any) -> None:
    """By whatever takes one."""
    with pytest.raises(TypeError, match="inner must be an object with choose"):
        Tiered(bad)
    with pytest.raises(TypeError, match="strategy must be an object with choose"):
        Pool(strategy=bad)


async def test_tiers_are_tried_in_order_by_a_task_that_bounces() -> None:
    """First all of one, then the next; then it starts over."""
    workers = [Probe(name, fails(), tier=tier) for name, tier in (("c", 1), ("a", 0), ("b", 0))]
    retry = RetryPolicy.fixed(0, attempts=4)
    async with Pool(workers, strategy=Tiered(LeastRecentlyUsed()), retry=retry) as pool:
        task = pool.submit(1, bounce=True)
        await task.wait()
        assert [attempt.worker for attempt in task.attempts] == ["a", "b", "c", "a"]
