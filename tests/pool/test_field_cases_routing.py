"""What people report of routing and failover when it is made by hand, and what happens here.

The rest of these cases is with what it is about: `test_bounce`, `test_routing`, `test_verdicts`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from retrypool_async import Pool, RetryPolicy, Strategy, TaskHandle, Throttled, Tiered, Weighted
from tests.pool.probe import Probe, fails, in_turn, now

AT_ONCE = RetryPolicy.fixed(0, attempts=3)


def runs(task: TaskHandle[Any]) -> list[tuple[str, float]]:
    """On which worker each attempt began, and when."""
    return [(attempt.worker, attempt.started) for attempt in task.attempts]


async def test_equal_peers_are_tried_before_the_fallback() -> None:
    """Both of the first tier, then the second. Origin: BerriAI/litellm#6400."""
    workers = [Probe("c", tier=2), Probe("a", fails(), tier=1), Probe("b", fails(), tier=1)]
    async with Pool(workers, strategy=Tiered(), retry=AT_ONCE, bounce=True, debug=True) as pool:
        task = pool.submit(1)
        await task
        assert runs(task) == [("a", 0), ("b", 0), ("c", 0)]


@pytest.mark.parametrize(("require", "where"), [((), ("c", 0)), ("own", ("a", 5))])
async def test_while_a_tier_cools_a_task_spills_unless_it_is_to_stay(
    require: Any, where: tuple[str, float]
) -> None:
    """What should rather wait for its tier asks for it. Origin: BerriAI/litellm#6400."""
    own = [Probe(name, tier=1, tags={"own"}) for name in "ab"]
    async with Pool([Probe("c", tier=2), *own], strategy=Tiered(), debug=True) as pool:
        pool.cooldown("a", 5)
        pool.cooldown("b", 5)
        task = pool.submit(1, require=require)
        await task
        assert runs(task) == [where]


async def test_fallbacks_share_one_count_of_attempts() -> None:
    """Four calls over all tiers, however many there are. Origin: BerriAI/litellm#19985."""
    workers = [Probe(name, fails(), tier=tier) for tier, name in enumerate("abc")]
    retry = RetryPolicy.fixed(0, attempts=4)
    async with Pool(workers, strategy=Tiered(), retry=retry, bounce=True, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        assert [name for name, _ in runs(task)] == ["a", "b", "c", "a"]
        assert isinstance(task.error(), ValueError)


async def test_a_session_waits_out_a_short_limit_and_leaves_a_long_one() -> None:
    """3 s on the spot; 300 s elsewhere at once, and it stays there. Origin: aahnik/tgcf#30."""
    a = Probe("a", does=in_turn(Throttled(3), "ok", Throttled(300)))
    async with Pool([a, Probe("b")], affinity_wait=5, debug=True) as pool:
        first = pool.submit(1, affinity="chat")
        await first
        second = pool.submit(2, affinity="chat")
        await second
        third = pool.submit(3, affinity="chat")
        await third
        assert [runs(task) for task in (first, second, third)] == [
            [("a", 0), ("a", 3)],
            [("a", 3), ("b", 3)],
            [("b", 3)],
        ]


@pytest.mark.parametrize(
    ("strategy", "spread"),
    [(None, {"b": 5, "c": 4}), (Weighted(), {"a": 2, "b": 4, "c": 3})],
    ids=["longest idle", "weighted"],
)
async def test_a_session_keeps_its_worker_and_the_rest_is_spread(
    strategy: Strategy | None, spread: dict[str, int]
) -> None:
    """Ten of it, and nine plain ones in between. Origin: agentgateway/agentgateway#2572.

    Those go by the strategy: to who has been idle longest, or evenly to all, given the choices it
    has made: one of them was for the session.
    """
    async with Pool([Probe(name) for name in "abc"], strategy=strategy, debug=True) as pool:
        bound, plain = list[TaskHandle[Any]](), list[TaskHandle[Any]]()
        for n in range(19):
            tasks = plain if n % 2 else bound
            tasks.append(pool.submit(n, affinity=None if n % 2 else "s1"))
            await tasks[-1]
        assert [runs(task) for task in bound] == [[("a", 0)]] * 10
        assert Counter(name for task in plain for name, _ in runs(task)) == spread


@pytest.mark.parametrize(("wish", "second"), [("affinity", "b"), ("worker", "a")])
async def test_a_session_that_had_to_move_stays_where_it_went(wish: Any, second: str) -> None:
    """After 70 s both are well; a pin stays in any case. Origin: router-for-me/CLIProxyAPI#3613."""
    a = Probe("a", does=in_turn("bound", Throttled(60), "ok"))
    options: Any = {wish: "a"}
    async with Pool([a, Probe("b")], shutdown_timeout=None, debug=True) as pool:
        await pool.submit(0, **options)
        refused = pool.submit(1, **options)
        await refused
        assert runs(refused) == [("a", 0), (second, 0 if second == "b" else 60)]
        await asyncio.sleep(70 - now())
        later = pool.submit(2, **options)
        await later
        assert runs(later) == [(second, 70)]
