"""Who gets which task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from retrypool_async import (
    Candidate,
    MostQuota,
    NoWorkers,
    Pool,
    QueueTimeout,
    Quota,
    RoundRobin,
    TaskState,
    Unroutable,
    Window,
)
from tests.pool.probe import Probe, now, takes


async def test_idle_workers_take_turns() -> None:
    """Nine tasks one after another over three workers."""
    workers = [Probe() for _ in range(3)]
    async with Pool(workers, debug=True) as pool:
        for n in range(9):
            await pool.submit(n)
    assert [len(worker.starts) for worker in workers] == [3, 3, 3]


async def test_round_robin_goes_by_id() -> None:
    """In the order of ids, going on after the last."""
    workers = [Probe(n) for n in "abc"]
    async with Pool(workers, strategy=RoundRobin(), debug=True) as pool:
        handles = []
        for n in range(5):
            handles.append(pool.submit(n))
            await handles[-1]
        assert [handle.worker.name for handle in handles if handle.worker] == list("abcab")


async def test_most_quota_prefers_the_fuller_worker() -> None:
    """Until they are level."""
    small = Probe("small", quota=Quota(Window(4, per=60)))
    large = Probe("large", quota=Quota(Window(8, per=60)))
    async with Pool([small, large], strategy=MostQuota(), debug=True) as pool:
        for n in range(6):
            await pool.submit(n)
    assert (len(small.starts), len(large.starts)) == (2, 4)


@pytest.mark.parametrize("wrong", ["raises", "rubbish"])
async def test_a_broken_strategy_does_not_stop_the_router(wrong: str) -> None:
    """The longest idle worker is taken instead."""

    class Broken:
        def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
            if wrong == "raises":
                raise ZeroDivisionError
            return "nobody"  # type: ignore[return-value]

    async with Pool([Probe(), Probe()], strategy=Broken(), debug=True) as pool:
        assert await pool.submit(1) == 1


async def test_a_pinned_task_waits_for_its_worker_and_blocks_nobody() -> None:
    """The plain task starts on the other worker at once."""
    a, b = Probe("a", does=takes(4)), Probe("b", does=takes(4))
    async with Pool([a, b], debug=True) as pool:
        pool.submit(0, worker="b")
        pinned = pool.submit(1, worker="b")
        plain = pool.submit(2)
        await plain
        await pinned
    assert (a.starts, b.starts) == ([0], [0, 4])


async def test_fifty_tasks_stuck_on_one_worker_do_not_delay_another() -> None:
    """Its quota is used up; the other is free."""
    a, b = Probe("a", quota=Quota(Window(1, per=60))), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        for n in range(50):
            pool.submit(n, worker="a")
        await pool.submit("x", worker="b")
        assert now() == 0
        await pool.close("cancel")


async def test_a_tag_that_nobody_carries_is_refused_or_waited_for() -> None:
    """At submit; with wait_for_worker it starts the moment such a worker joins."""
    async with Pool([Probe(tags={"cpu"})], debug=True) as pool:
        with pytest.raises(Unroutable, match="gpu"):
            pool.submit(1, require="gpu")
        waiting = pool.submit(1, require="gpu", wait_for_worker=True)
        await asyncio.sleep(5)
        assert pool.snapshot().unroutable == 1
        assert "gpu" in waiting.explain()
        await pool.add(Probe(tags=("gpu", "cpu")))
        await waiting
        assert now() == 5


@pytest.mark.parametrize("policy", ["raise", "wait", "dead", 3.0])
async def test_without_workers_the_policy_decides(policy: str | float) -> None:
    """One rule, for tasks that come and for those that wait when the last worker goes."""
    async with Pool([Probe("w", does=takes(1))], no_workers=policy, debug=True) as pool:
        pool.submit(0)
        waiting = pool.submit(1)
        await pool.remove("w")
        if policy == "wait":
            await pool.add(Probe())
            assert await waiting == 1
            return
        with pytest.raises(NoWorkers):
            await waiting
        assert now() == (3 if policy == 3.0 else 0)
        assert waiting.state is TaskState.DEAD


async def test_work_that_waits_goes_to_workers_that_join() -> None:
    """Nine of ten tasks of ten seconds start the moment nine workers are added."""
    first = Probe(does=takes(10))
    others = [Probe(does=takes(10)) for _ in range(9)]
    async with Pool([first], debug=True) as pool:
        handles = [pool.submit(n) for n in range(10)]
        await asyncio.sleep(5)
        for worker in others:
            await pool.add(worker)
        for handle in handles:
            await handle
        assert now() == 15
    assert [worker.starts for worker in others] == [[5]] * 9


async def test_higher_priority_goes_first_and_waiting_raises_it() -> None:
    """With aging=10 a low task overtakes a stream of priority 1 after ten seconds."""
    order: list[tuple[object, float]] = []

    async def work(data: object) -> None:
        order.append((data, now()))
        await asyncio.sleep(1)

    async with Pool([Probe(does=work)], debug=True) as pool:
        pool.submit("first")
        pool.submit("low", aging=10)
        for n in range(20):
            pool.submit(n, priority=1)
            await asyncio.sleep(0.9)
        await pool.join()
    assert dict(order)["low"] == 10


async def test_the_soonest_of_two_cooling_workers_takes_the_task() -> None:
    """Waiting is not an attempt."""
    a, b = Probe("a"), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        pool.cooldown("a", 30)
        pool.cooldown("b", 12)
        handle = pool.submit(1)
        await handle
        assert len(handle.attempts) == 1
    assert (a.starts, b.starts) == ([], [12])


async def test_a_queue_timeout_says_what_was_missing() -> None:
    """Busy, cooling, or nobody there."""
    busy, cooling = Probe("busy", does=takes(9)), Probe("cooling")
    async with Pool([busy, cooling], debug=True) as pool:
        pool.submit(0, worker="busy")
        pool.cooldown("cooling", 900)
        for worker, reason, wait in (("busy", "busy", None), ("cooling", "cooling", 898)):
            began = now()
            with pytest.raises(QueueTimeout) as late:
                await pool.submit(1, worker=worker, queue_timeout=2)
            assert now() == began + 2
            assert late.value.reason == reason
            if wait is not None and began == 0:
                assert late.value.next_available == wait
        await pool.close("cancel")


async def test_concurrency_one_runs_everything_in_order() -> None:
    """One attempt at a time over all workers."""
    workers = [Probe(does=takes(1)) for _ in range(3)]
    async with Pool(workers, concurrency=1, debug=True) as pool:
        for handle in [pool.submit(n) for n in range(4)]:
            await handle
        assert now() == 4
        pool.concurrency = None
        for handle in [pool.submit(n) for n in range(3)]:
            await handle
        assert now() == 5


async def test_explain_names_each_worker_and_what_it_lacks() -> None:
    """In one line."""
    a, b, c = Probe("a"), Probe("b", tags={"gpu"}, does=takes(9)), Probe("c", tags={"gpu"})
    async with Pool([a, b, c], debug=True) as pool:
        pool.submit(0, worker="b")
        pool.cooldown("c", 12)
        waiting = pool.submit(1, require="gpu")
        assert waiting.explain() == "a: tag gpu missing; b: busy; c: cooling 12.0 s"
        waiting.cancel()
