"""Why a task has not started, in one line and in snapshots."""

from __future__ import annotations

import asyncio

import pytest

from retrypool_async import Pool, Quota, RetryPolicy, Window
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, takes


async def test_explain_names_each_worker_and_what_it_lacks() -> None:
    """In one line."""
    a, b, c = Probe("a"), Probe("b", tags={"gpu"}, does=takes(9)), Probe("c", tags={"gpu"})
    async with Pool([a, b, c], debug=True) as pool:
        pool.submit(0, worker="b")
        pool.cooldown("c", 12)
        waiting = pool.submit(1, require="gpu")
        assert waiting.explain() == "a: tag gpu missing; b: busy; c: cooling 12.0 s"
        waiting.cancel()


async def test_explain_tells_the_time_to_go_as_it_passes() -> None:
    """Seconds from now, not from the submit."""
    worker = Probe("w", quota=Quota(Window(1, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0)
        waiting = pool.submit(1)
        await asyncio.sleep(45)
        assert waiting.explain() == "w: quota 15.0 s; starts in 15.0 s on w"
        await waiting


async def test_explain_speaks_of_every_kind_of_worker() -> None:
    """Paused, pinned elsewhere, too small a quota, several tags missing."""
    workers = [
        Probe("paused", tags="xyz"),
        Probe("small", tags="xyz", quota=Quota(tokens=Window(10, per=60))),
        Probe("plain"),
        Probe("used", tags="xyz", quota=Quota(tokens=Window(100, per=60))),
    ]
    async with Pool(workers, debug=True) as pool:
        pool.pause("paused")
        await pool.submit(0, worker="used", cost={"tokens": 90})
        waiting = pool.submit(1, require={"xyz", "b"} - {"b"}, cost={"tokens": 50})
        assert waiting.explain() == (
            "paused: paused; small: quota too small; plain: tag xyz missing; used: quota 60.0 s; "
            "starts in 60.0 s on used"
        )
        pinned = pool.submit(2, worker="paused")
        assert "paused: paused" in pinned.explain()
        assert "plain: pinned to paused" in pinned.explain()
        await pool.close("cancel")


async def test_explain_follows_a_task_through_its_life() -> None:
    """Running, waiting for its retry, ended."""
    worker = Probe("w", does=fails())
    async with Pool([worker], retry=RetryPolicy.fixed(5, attempts=2), debug=True) as pool:
        task = pool.submit(1)
        assert task.explain() == "reserved on w"
        await asyncio.sleep(1)
        assert task.explain() == "retry in 4.0 s; starts in 4.0 s on w"
        worker.does = takes(3)
        await asyncio.sleep(5)
        assert task.explain() == "running on w"
        await task
        assert task.explain() == "succeeded"
        worker.does = fails()
        dead = pool.submit(2)
        await dead.wait()
        assert dead.explain() == "ended: attempts used up"


async def test_explain_says_when_the_whole_pool_holds_a_task_back() -> None:
    """Paused, at its concurrency, or without a worker."""
    async with Pool([Probe("a"), Probe("b", does=takes(5))], concurrency=1, debug=True) as pool:
        pool.submit(0, worker="b")
        waiting = pool.submit(1)
        assert "concurrency" in waiting.explain()
        pool.pause()
        assert waiting.explain() == "the pool is paused"
        pool.resume()
        await waiting
    async with Pool([], no_workers="wait", debug=True) as pool:
        waiting = pool.submit(1)
        assert waiting.explain() == "the pool has no workers"
        waiting.cancel()


async def test_explain_says_that_others_go_first() -> None:
    """A large task holds the quota for which it waits."""
    worker = Probe("w", quota=Quota(tokens=Window(100, per=60)))
    async with Pool([worker], debug=True) as pool:
        await pool.submit(0, cost={"tokens": 40})
        large = pool.submit(1, cost={"tokens": 90})
        small = pool.submit(2, cost={"tokens": 10})
        assert large.explain() == "w: quota 60.0 s; starts in 60.0 s on w"
        assert small.explain() == "w: others go first; starts in 60.0 s on w, 1 before it"
        await pool.close("cancel")


async def test_explain_says_which_worker_has_been_tried() -> None:
    """A bounced task waits for the other one."""
    a, b = Probe("a", does=fails()), Probe("b", does=takes(5))
    async with Pool([a, b], retry=RetryPolicy.fixed(0), debug=True) as pool:
        pool.submit(0, worker="b")
        task = pool.submit(1, bounce=True)
        await settle()
        assert task.explain() == "a: tried already; b: busy"
        await task


@pytest.mark.parametrize("reads", [1, 100])
async def test_explaining_changes_nothing(reads: int) -> None:
    """However often it is asked."""
    worker = Probe("w", quota=Quota(Window(2, per=10)))
    async with Pool([worker], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(4)]
        for _ in range(reads):
            for task in tasks:
                task.explain()
        for task in tasks:
            await task
    assert worker.starts == [0, 0, 10, 10]
