"""Tasks of one affinity go to the worker that served it last, while that is worth a wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from retrypool_async import Pool, Quota, RetryPolicy, TaskHandle, Throttled, Window, WorkerLost
from retrypool_async._bindings import Bindings
from tests.pool.probe import Probe, fails, in_turn, now, takes


def runs(task: TaskHandle[Any]) -> list[tuple[str, float]]:
    """On which worker each attempt began, and when."""
    return [(attempt.worker, attempt.started) for attempt in task.attempts]


async def test_tasks_of_one_affinity_stay_with_the_worker_that_had_the_first() -> None:
    """Although others have been idle longer; each affinity has its own."""
    async with Pool([Probe(name) for name in "abc"], debug=True) as pool:
        used: dict[str, set[str]] = {}
        for n in range(12):
            session = f"s{n % 3}"
            task = pool.submit(n, affinity=session)
            await task
            used.setdefault(session, set()).add(task.attempts[0].worker)
        assert used == {"s0": {"a"}, "s1": {"b"}, "s2": {"c"}}


async def test_a_busy_worker_is_waited_for_and_then_no_longer() -> None:
    """Two seconds are worth it, the five of `affinity_wait` too, more are not."""
    a, b = Probe("a", does=lambda seconds: asyncio.sleep(seconds)), Probe("b", does=takes(0))
    async with Pool([a, b], debug=True) as pool:
        first = pool.submit(2, affinity="s")
        second = pool.submit(60, affinity="s")
        third = pool.submit(0, affinity="s")
        await asyncio.sleep(3)
        assert third.explain() == "a: busy; b: left to a for 2.0 s"
        await third
        await asyncio.gather(first, second)
        assert (runs(first), runs(second), runs(third)) == ([("a", 0)], [("a", 2)], [("b", 5)])


async def test_the_affinity_moves_with_a_task_that_another_worker_took() -> None:
    """The next goes there, without a wait."""
    a, b = Probe("a", does=takes(30)), Probe("b", does=takes(1))
    async with Pool([a, b], affinity_wait=1, debug=True) as pool:
        tasks = [pool.submit(n, affinity="s") for n in range(3)]
        await asyncio.gather(*tasks)
        assert [runs(task) for task in tasks] == [[("a", 0)], [("b", 1)], [("b", 2)]]
        assert now() == 30


async def test_others_do_not_wait_for_a_task_that_waits_for_its_worker() -> None:
    """Neither tasks nor workers."""
    a, b = Probe("a", does=takes(4)), Probe("b", does=takes(1))
    async with Pool([a, b], debug=True) as pool:
        bound = [pool.submit(n, affinity="s") for n in range(2)]
        others = [pool.submit(n) for n in range(3)]
        await asyncio.gather(*bound, *others)
        assert [runs(task) for task in bound] == [[("a", 0)], [("a", 4)]]
        assert [runs(task) for task in others] == [[("b", 0)], [("b", 1)], [("b", 2)]]


@pytest.mark.parametrize(
    ("hint", "where"), [(3, ("a", 3)), (4.9, ("a", 4.9)), (5, ("b", 0)), (300, ("b", 0))]
)
async def test_a_short_cooldown_is_waited_for_and_a_long_one_is_not(
    hint: float, where: tuple[str, float]
) -> None:
    """Neither costs an attempt. Origin: aahnik/tgcf#30."""
    a, b = Probe("a", does=in_turn(Throttled(hint), "ok")), Probe("b")
    async with Pool([a, b], shutdown_timeout=None, debug=True) as pool:
        task = pool.submit(1, affinity="s")
        await task
        assert runs(task) == [("a", 0), where]
        assert task.attempt_count == 1


async def test_a_cooldown_that_begins_while_tasks_wait_sends_them_elsewhere_at_once() -> None:
    """Whoever began it."""
    workers = [Probe(name, does=takes(4)) for name in "ab"]
    async with Pool(workers, debug=True) as pool:
        tasks = [pool.submit(n, affinity="s") for n in range(2)]
        await asyncio.sleep(1)
        pool.cooldown("a", 100)
        await asyncio.gather(*tasks)
        assert runs(tasks[1]) == [("b", 1)]


@pytest.mark.parametrize("how", ["remove", "pause"])
async def test_when_its_worker_goes_or_pauses_an_affinity_moves_at_once(how: str) -> None:
    """And stays with the new one when the old one comes back."""
    workers = [Probe(name, does=takes(2)) for name in "ab"]
    async with Pool(workers, debug=True) as pool:
        tasks = [pool.submit(n, affinity="s") for n in range(2)]
        await asyncio.sleep(1)
        removing = asyncio.create_task(pool.remove("a")) if how == "remove" else None
        if how == "pause":
            pool.pause("a")
        await asyncio.gather(*tasks)
        assert runs(tasks[1]) == [("b", 1)]
        if removing is None:
            pool.resume("a")
        else:
            await removing
        last = pool.submit(3, affinity="s")
        await last
        assert runs(last) == [("b", 3)]


async def test_a_worker_that_is_being_rebuilt_is_waited_for() -> None:
    """At most as long as a busy one."""
    a = Probe("a", does=in_turn(WorkerLost(), "ok"))
    async with Pool([a, Probe("b")], debug=True) as pool:
        task = pool.submit(1, affinity="s")
        await task
        assert runs(task) == [("a", 0), ("a", 0)]


async def test_a_worker_without_quota_is_waited_for_as_long_as_a_busy_one() -> None:
    """Then the other takes it, long before there is quota again."""
    a, b = Probe("a", quota=Quota(Window(1, per=60))), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        tasks = [pool.submit(n, affinity="s") for n in range(2)]
        await asyncio.gather(*tasks)
        assert [runs(task) for task in tasks] == [[("a", 0)], [("b", 5)]]


async def test_without_a_wait_the_worker_is_preferred_while_it_is_free() -> None:
    """Busy, or without quota, it is passed over at once."""
    a, b = Probe("a", quota=Quota(Window(2, per=60))), Probe("b", does=takes(1))
    async with Pool([a, b], affinity_wait=0, debug=True) as pool:
        tasks = []
        for n in range(3):
            tasks.append(pool.submit(n, affinity="s"))
            await tasks[-1]
        assert [task.attempts[0].worker for task in tasks] == ["a", "a", "b"]
        busy = pool.submit(3, affinity="s")
        spilled = pool.submit(4, affinity="s", worker=None, cost=0)
        await asyncio.gather(busy, spilled)
        assert [task.attempts[0].worker for task in (busy, spilled)] == ["b", "a"]


async def test_a_retry_goes_to_the_worker_of_its_affinity_unless_it_bounces() -> None:
    """And takes the affinity along when it does."""
    a, b = Probe("a", does=fails()), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(1, attempts=2), debug=True) as pool:
        staying = pool.submit(1, affinity="s")
        await staying.wait()
        bouncing = pool.submit(1, affinity="s", bounce=True)
        await bouncing
        after = pool.submit(2, affinity="s")
        await after
        assert runs(staying) == [("a", 0), ("a", 1)]
        assert runs(bouncing) == [("a", 1), ("b", 2)]
        assert runs(after) == [("b", 2)]


async def test_tags_and_pins_are_walls_and_an_affinity_is_a_wish() -> None:
    """It is bound anew by a task that may not go where it was."""
    a, b = Probe("a"), Probe("b", tags={"gpu"})
    async with Pool([a, b], debug=True) as pool:
        tasks = [
            pool.submit(0, affinity="s"),
            pool.submit(1, affinity="s", require="gpu"),
            pool.submit(2, affinity="s"),
            pool.submit(3, affinity="s", worker="a"),
        ]
        for task in tasks:
            await task
        assert [task.attempts[0].worker for task in tasks] == ["a", "b", "b", "a"]


async def test_it_goes_with_order_and_lanes() -> None:
    """One at a time, on one worker, in turns with others."""
    workers = [Probe(name, does=takes(1)) for name in "ab"]
    async with Pool(workers, affinity_wait=60, debug=True) as pool:
        tasks = [pool.submit(n, affinity="s", order_key="s", lane="x") for n in range(3)]
        other = [pool.submit(n, affinity="t", lane="y") for n in range(3)]
        await asyncio.gather(*tasks, *other)
        assert [runs(task) for task in tasks] == [[("a", n)] for n in range(3)]
        assert [runs(task) for task in other] == [[("b", n)] for n in range(3)]


async def test_a_waiting_task_that_is_cancelled_leaves_its_wait_to_the_next() -> None:
    """Which has one of its own."""
    a, b = Probe("a", does=takes(20)), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        pool.submit(0, affinity="s")
        first = pool.submit(1, affinity="s")
        await asyncio.sleep(3)
        second = pool.submit(2, affinity="s")
        first.cancel()
        await second
        assert runs(second) == [("b", 8)]


async def test_those_who_used_an_affinity_longest_ago_are_forgotten() -> None:
    """And so are the routes of all that is done."""
    bindings = Bindings(most=3)
    for affinity in "abcad":
        bindings.bind(affinity, ord(affinity))
    assert len(bindings) == 3
    assert [bindings.worker_of(affinity) for affinity in "abcd"] == [97, -1, 99, 100]

    async with Pool([Probe(), Probe()]) as pool:
        for n in range(5000):
            await pool.submit(n, affinity=n)
        assert len(pool._engine.ledger.ready.routes) < 1100
