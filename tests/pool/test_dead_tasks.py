"""The collection of dead tasks: taking out, counting, and trying again."""

from __future__ import annotations

import pytest

from retrypool_async import Discard, EndReason, Pool, RetryPolicy, Unroutable
from tests.pool.probe import Probe, fails, in_turn

ONE = RetryPolicy.fixed(0, attempts=1)


async def test_tasks_are_taken_out_by_id_and_counted_by_reason() -> None:
    """Taking out changes no total."""
    worker = Probe(does=in_turn(KeyError(), Discard(), Discard()))
    async with Pool([worker], retry=ONE, debug=True) as pool:
        ids = [pool.submit(n).id for n in range(3)]
        await pool.join()
        assert [dead.id for dead in pool.dead] == ids
        assert pool.dead.reasons() == {EndReason.ATTEMPTS: 1, EndReason.DISCARDED: 2}
        assert pool.dead.pull(ids[1]).data == 1
        assert ids[1] not in pool.dead
        assert pool.dead[ids[2]].id == ids[2]
        assert [dead.id for dead in pool.dead.pull_all()] == [ids[0], ids[2]]
        assert (len(pool.dead), pool.dead.total, pool.dead.evicted) == (0, 3, 0)
        assert pool.dead.reasons() == {}


async def test_a_requeue_that_is_refused_keeps_the_dead_task() -> None:
    """The only worker with the tag has gone."""
    async with Pool([Probe("a"), Probe("b", does=fails(), tags="x")], retry=ONE) as pool:
        task = pool.submit(1, require="x")
        await task.wait()
        await pool.remove("b")
        submitted = pool.snapshot().submitted
        with pytest.raises(Unroutable):
            pool.dead.requeue(task.id)
        assert task.id in pool.dead
        assert pool.snapshot().submitted == submitted


@pytest.mark.parametrize("limit", [0, 1, 2, None])
async def test_a_requeued_task_that_dies_at_once_is_still_returned(limit: int | None) -> None:
    """Its own death may push the one it repeats out of a full collection."""
    async with Pool([], no_workers="dead", dead_limit=limit, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        if limit == 0:
            with pytest.raises(KeyError):
                pool.dead.requeue(task.id)
            return
        again = pool.dead.requeue(task.id)
        await again.wait()
        assert again.origin == task.id
        assert [dead.id for dead in pool.dead] == [again.id]
