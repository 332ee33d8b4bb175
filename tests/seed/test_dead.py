"""Dead tasks: T16 to T19. The worker always fails, and retries come after 1 ms."""

from __future__ import annotations

import pytest

from retrypool_async import DeadTask, EndReason, Hooks, Pool, RetryPolicy, TaskState
from tests.pool.probe import Probe, fails

CREATED, PENDING, QUEUED = TaskState.CREATED, TaskState.PENDING, TaskState.QUEUED
RESERVED, RUNNING = TaskState.RESERVED, TaskState.RUNNING
SCHEDULED, DEAD = TaskState.SCHEDULED, TaskState.DEAD


def failing_pool(attempts: int, **options: object) -> Pool[int, None]:
    policy = RetryPolicy.fixed(0.001, attempts=attempts)
    return Pool([Probe("w", does=fails())], retry=policy, debug=True, **options)  # type: ignore[arg-type]


async def test_the_newest_dead_are_kept() -> None:
    """T16: five of ten. The count is of those that are there, beside a total of all."""
    async with failing_pool(1, dead_limit=5) as pool:
        for n in range(10):
            pool.submit(n)
        await pool.join()
        assert [dead.data for dead in pool.dead] == [5, 6, 7, 8, 9]
        assert (len(pool.dead), pool.dead.total, pool.dead.evicted) == (5, 10, 5)


async def test_a_dead_task_tells_its_whole_history() -> None:
    """T17: every move of two attempts, with its reason and its time.

    Moves of one step bear one time; the order of the tuple is that of the moves.
    """
    async with failing_pool(2) as pool:
        pool.submit(1)
        await pool.join()
        [dead] = pool.dead
    moves = [(move.old, move.new, move.reason) for move in dead.history]
    assert moves == [
        (CREATED, PENDING, "submitted"),
        (PENDING, QUEUED, "accepted"),
        (QUEUED, RESERVED, "routed"),
        (RESERVED, RUNNING, "started"),
        (RUNNING, SCHEDULED, "retry later"),
        (SCHEDULED, QUEUED, "due"),
        (QUEUED, RESERVED, "routed"),
        (RESERVED, RUNNING, "started"),
        (RUNNING, DEAD, "attempts used up"),
    ]
    assert [move.at for move in dead.history] == pytest.approx([0] * 5 + [0.001] * 4)


async def test_dead_tasks_are_iterated_and_taken_out() -> None:
    """T18: one by its id, then the rest. The count follows."""
    async with failing_pool(1) as pool:
        for n in range(5):
            pool.submit(n)
        await pool.wait_until(lambda snapshot: snapshot.dead == 5, interval=0.1)
        ids = {dead.data: dead.id for dead in pool.dead}
        assert list(ids) == [0, 1, 2, 3, 4]
        assert pool.dead.pull(ids[0]).data == 0
        assert len(pool.dead) == 4
        assert [dead.data for dead in pool.dead.pull_all()] == [1, 2, 3, 4]
        assert len(pool.dead) == 0


async def test_each_death_is_told_once_with_the_dead_task_itself() -> None:
    """T19: three. Each can be pulled by its id, whichever were pulled before."""
    told: list[DeadTask] = []

    def pull(dead: DeadTask) -> None:
        told.append(dead)
        pool.dead.pull(dead.id)

    pool = failing_pool(1, hooks=Hooks(on_dead=pull))
    async with pool:
        for n in range(3):
            pool.submit(n)
        await pool.join()
        assert len(pool.dead) == 0
    assert [dead.data for dead in told] == [0, 1, 2]
    assert {dead.reason for dead in told} == {EndReason.ATTEMPTS}
