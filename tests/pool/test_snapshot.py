"""A picture of the pool: complete, coherent, and without effect."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from retrypool_async import (
    Pool,
    Quota,
    RetryPolicy,
    Snapshot,
    TaskState,
    Throttled,
    Window,
    WorkerSnapshot,
    WorkerState,
    WorkerWish,
    current_task,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


def by_name(snapshot: Snapshot) -> dict[str, WorkerSnapshot]:
    return {worker.name: worker for worker in snapshot.workers}


async def test_it_tells_state_and_cause_of_every_worker() -> None:
    """Cooling, busy, paused, failed, stuck and opening ones."""

    class Broken(Probe):
        async def on_start(self) -> None:
            raise OSError("secret text")

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(100)

    workers = [
        Probe("cooling", does=fails(Throttled(30)), tags={"c"}),
        Probe("busy", does=takes(50), tags={"b"}, quota=Quota(Window(5, per=60))),
        Probe("paused"),
        Broken("failed"),
    ]
    async with Pool(workers, debug=True) as pool:
        adding = asyncio.ensure_future(pool.add(Slow("opening")))
        pool.pause("paused", reason="captcha")
        refused = pool.submit(1, require="c")
        busy = pool.submit(2, require="b")
        await asyncio.sleep(10)
        seen = by_name(pool.snapshot())
        assert {name: worker.state for name, worker in seen.items()} == {
            "cooling": WorkerState.COOLING,
            "busy": WorkerState.BUSY,
            "paused": WorkerState.IDLE,
            "failed": WorkerState.FAILED,
            "opening": WorkerState.STARTING,
        }
        assert seen["cooling"].cooling_until == 30
        assert seen["cooling"].throttled == 1
        assert (seen["busy"].task, seen["busy"].quota_left) == (busy.id, {"requests": 4})
        assert (seen["paused"].wish, seen["paused"].pause_reason) == (WorkerWish.PAUSE, "captcha")
        assert seen["failed"].error == "OSError"
        assert pool.snapshot().at == 10
        refused.cancel()
        busy.cancel()
        adding.cancel()


async def test_its_counts_follow_every_task_through_its_life() -> None:
    """Each is in exactly one place at any time."""
    worker = Probe(does=in_turn(ValueError(), "ok", KeyError()))
    async with Pool([worker], retry=RetryPolicy.fixed(5, attempts=2), debug=True) as pool:

        def counts() -> dict[str, int]:
            snapshot = pool.snapshot()
            assert sum(snapshot.tasks.values()) == snapshot.submitted
            return {state.name: n for state, n in snapshot.tasks.items() if n}

        assert counts() == {}
        pool.submit(1)
        assert counts() == {"RESERVED": 1}
        waiting = pool.submit(2)
        assert counts() == {"RESERVED": 1, "QUEUED": 1}
        waiting.cancel()
        await settle()
        assert counts() == {"SCHEDULED": 1, "CANCELLED": 1}
        await asyncio.sleep(5)
        await settle()
        assert counts() == {"SUCCEEDED": 1, "CANCELLED": 1}
        await pool.submit(3).wait()
        assert counts() == {"SUCCEEDED": 1, "CANCELLED": 1, "DEAD": 1}
        last = pool.snapshot()
        assert (last.succeeded, last.cancelled, last.dead, last.dropped) == (1, 1, 1, 0)


async def test_it_shows_what_is_noted_on_the_task_in_hand() -> None:
    """What the pool, the submitter and the attempt itself say; a copy, gone with the task."""

    async def work(data: object) -> None:
        current_task().metadata["page"] = 3
        await asyncio.sleep(1)
        current_task().metadata["page"] = 4

    async with Pool([Probe("w", does=work)], metadata={"site": "x"}, debug=True) as pool:
        task = pool.submit(1, metadata={"user": "ann"})
        await settle()
        [busy] = pool.snapshot().workers
        assert busy.metadata == {"site": "x", "user": "ann", "page": 3}
        assert "ann" not in repr(busy)
        await task
        assert busy.metadata["page"] == 3
        assert task.metadata["page"] == 4
        [idle] = pool.snapshot().workers
        assert idle.metadata == {}


async def test_it_can_be_taken_at_any_time_without_a_loop() -> None:
    """Before the start, after the end."""
    pool = Pool([Probe("w")], name="mine", debug=True)
    before = pool.snapshot()
    assert (before.name, before.submitted, before.workers) == ("mine", 0, ())
    async with pool:
        await pool.submit(1)
    after = pool.snapshot()
    assert (after.submitted, after.succeeded, after.workers) == (1, 1, ())


async def test_it_is_a_plain_frozen_record() -> None:
    """It turns into a dict, and later events do not change it."""
    async with Pool([Probe("w", quota=Quota(Window(3, per=9)))], debug=True) as pool:
        first = pool.snapshot()
        copy = dataclasses.asdict(first)
        await pool.submit(1)
        assert dataclasses.asdict(first) == copy
        with pytest.raises(dataclasses.FrozenInstanceError):
            first.submitted = 5  # type: ignore[misc]
        assert copy["workers"][0]["quota_left"] == {"requests": 3}


async def test_taking_it_changes_nothing() -> None:
    """A pool that is looked at all the time behaves as one that is not."""

    async def run(look: bool) -> list[Any]:
        quota = Quota(requests=Window(3, per=10), tokens=Window(8, per=7))
        worker = Probe("w", does=in_turn(ValueError(), Throttled(4), "ok"), quota=quota)
        began = now()
        async with Pool([worker], retry=RetryPolicy.fixed(3), debug=True) as pool:
            tasks = [pool.submit(n, cost={"tokens": 3}) for n in range(6)]
            while not all(task.done() for task in tasks):
                if look:
                    pool.snapshot()
                    tasks[-1].explain()
                await asyncio.sleep(0.5)
            return [[move.at - began for move in task.history] for task in tasks]

    quiet, watched = await run(False), await run(True)
    for left, right in zip(quiet, watched, strict=True):
        assert left == pytest.approx(right)


async def test_it_tells_who_shares_a_quota_and_what_is_left_of_the_pools() -> None:
    """Both numbers per dimension."""
    shared = Quota(Window(10, per=60))
    workers = [
        Probe("a", quota=shared),
        Probe("b", quota=[shared, Quota(tokens=Window(5, per=60))]),
        Probe("c", quota=Quota(Window(10, per=60))),
    ]
    async with Pool(workers, quota=Quota(Window(100, per=60)), debug=True) as pool:
        await pool.submit(1, worker="b", cost={"tokens": 2})
        snapshot = pool.snapshot()
        seen = by_name(snapshot)
        assert [seen[name].shares_quota_with for name in "abc"] == [(1,), (0,), ()]
        assert seen["a"].quota_left == {"requests": 9}
        assert seen["b"].quota_left == {"requests": 9, "tokens": 3}
        assert seen["c"].quota_left == {"requests": 10}
        assert snapshot.quota_left == {"requests": 99}


async def test_it_tells_how_long_the_oldest_task_waits_and_how_many_can_never_run() -> None:
    """So that starving ones are seen."""
    async with Pool([Probe(does=takes(100))], debug=True) as pool:
        pool.submit(0)
        await asyncio.sleep(3)
        pool.submit(1)
        pool.submit(2, require="gpu", wait_for_worker=True)
        await asyncio.sleep(4)
        snapshot = pool.snapshot()
        assert (snapshot.oldest_wait, snapshot.unroutable) == (4, 1)
        assert snapshot.tasks[TaskState.QUEUED] == 2
        await pool.aclose()


async def test_it_counts_what_each_worker_did() -> None:
    """Served, failed, refused, and the mean time of a run."""
    worker = Probe("w", does=takes(2))
    async with Pool([worker], retry=ONE, debug=True) as pool:
        assert pool.snapshot().workers[0].latency is None
        await pool.submit(1)
        worker.does = takes(4)
        await pool.submit(2)
        worker.does = fails()
        await pool.submit(3).wait()
        [w] = pool.snapshot().workers
        assert (w.served, w.failed, w.throttled, w.latency) == (2, 1, 0, 2)


async def test_wait_until_looks_until_it_holds() -> None:
    """At the given interval; a condition that raises is the caller's."""
    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        for n in range(5):
            pool.submit(n)
        await pool.wait_until(lambda s: s.succeeded >= 3, interval=0.25)
        assert now() == pytest.approx(3, abs=0.26)
        with pytest.raises(ZeroDivisionError):
            await pool.wait_until(lambda s: bool(1 / 0))
