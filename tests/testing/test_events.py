"""`collect` gathers every event of a pool from its start to its end, and nothing keeps running."""

from retrypool_async import Pool, TaskMoved, TaskState, WorkerMoved, WorkerState
from retrypool_async.testing import ScriptedWorker, collect


async def test_events_are_gathered_until_the_pool_has_closed() -> None:
    """Left after the close: the list holds all that happened to task and worker."""
    async with (
        Pool([ScriptedWorker([(1, "ok")], name="a")]) as pool,
        collect(pool) as events,
    ):
        assert await pool.submit("data") == "ok"
        await pool.close()
    moves = [event.new for event in events if isinstance(event, TaskMoved)]
    assert moves[-3:] == [TaskState.RESERVED, TaskState.RUNNING, TaskState.SUCCEEDED]
    states = [event.new for event in events if isinstance(event, WorkerMoved)]
    assert states[-1] is WorkerState.STOPPED
    assert [event.at for event in events] == sorted(event.at for event in events)


async def test_it_may_end_before_the_pool() -> None:
    """Left inside the pool: the list holds what happened so far, and no more."""
    async with Pool([ScriptedWorker([(1, "ok")])]) as pool:
        async with collect(pool) as events:
            await pool.submit("data")
        gathered = len(events)
        assert gathered
        await pool.submit("data")
        assert len(events) == gathered
