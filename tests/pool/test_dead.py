"""Tasks that died: kept within bounds, complete, and good for another try."""

from __future__ import annotations

from typing import Any

import pytest

from retrypool_async import (
    AttemptOutcome,
    Bounce,
    Bucket,
    DeadTask,
    Discard,
    EndReason,
    FailureAction,
    Hooks,
    Pool,
    PoolClosed,
    QueueTimeout,
    Quota,
    RetryPolicy,
    Snooze,
    SnoozeLimit,
    TaskState,
    TaskTimeout,
    Throttled,
    ThrottleLimit,
    Window,
    WorkerLossLimit,
    WorkerLost,
)
from tests.pool.probe import Probe, fails, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (1, 1), (100, 100), (None, 150)])
async def test_the_newest_are_kept_up_to_the_limit(limit: int | None, kept: int) -> None:
    """Zero keeps none, None keeps all; every death is counted."""
    told: list[int] = []
    hooks = Hooks(on_dead=lambda dead: told.append(dead.id))
    worker = Probe(does=fails())
    async with Pool([worker], hooks=hooks, retry=ONE, dead_limit=limit, debug=True) as pool:
        for n in range(150):
            pool.submit(n)
        await pool.join()
        assert [dead.data for dead in pool.dead] == list(range(150 - kept, 150))
        assert (pool.dead.total, pool.dead.evicted) == (150, 150 - kept)
        assert pool.snapshot().dead == 150
        pool.dead.clear()
        assert (len(pool.dead), pool.dead.total) == (0, 150)
    assert told == list(range(1, 151))


CAUSES: list[tuple[Any, dict[str, Any], type[BaseException], EndReason]] = [
    (fails(KeyError), {"retry": ONE}, KeyError, EndReason.ATTEMPTS),
    (fails(Bounce()), {"retry": ONE}, Bounce, EndReason.ATTEMPTS),
    (fails(Discard("bad")), {}, Discard, EndReason.DISCARDED),
    (fails(Throttled(1)), {}, ThrottleLimit, EndReason.THROTTLES),
    (fails(Throttled(1e6)), {}, ThrottleLimit, EndReason.HINT_TOO_LONG),
    (fails(WorkerLost()), {}, WorkerLossLimit, EndReason.WORKER_LOSSES),
    (fails(Snooze(1)), {}, SnoozeLimit, EndReason.SNOOZES),
    (takes(100), {"timeout": 2}, TaskTimeout, EndReason.TIMEOUT),
    (fails(KeyError), {"timeout": 2}, TaskTimeout, EndReason.DEADLINE),
    (takes(100), {"queue_timeout": 1}, QueueTimeout, EndReason.QUEUE_TIMEOUT),
    (fails(SystemExit), {}, SystemExit, EndReason.FATAL),
]


@pytest.mark.parametrize(("does", "options", "error", "reason"), CAUSES)
async def test_every_death_has_its_reason_and_its_error(
    does: Any, options: dict[str, Any], error: type[BaseException], reason: EndReason
) -> None:
    """The caller gets the error that the record holds."""
    limits: dict[str, Any] = {"max_throttles": 3, "max_worker_losses": 2, "max_snoozes": 1}
    policy = RetryPolicy.fixed(10)
    async with Pool([Probe(does=does)], retry=policy, debug=True, **limits) as pool:
        if reason is EndReason.QUEUE_TIMEOUT:
            pool.submit(0)
        task = pool.submit(1, **options)
        with pytest.raises(error) as raised:
            await task
        dead = pool.dead[task.id]
        assert dead.error is raised.value
        assert (dead.reason, task.state) == (reason, TaskState.DEAD)
        assert dead.reason.value
        await pool.aclose()


async def test_a_record_tells_all_that_the_handle_told() -> None:
    """Data, metadata, attempts, history and times, as they were at the death."""
    worker = Probe("w", does=fails(KeyError("x")))
    retry = RetryPolicy.fixed(5, attempts=2)
    async with Pool([worker], retry=retry, metadata={"a": 1}, debug=True) as pool:
        task = pool.submit("data", metadata={"b": 2})
        await task.wait()
        task.metadata["late"] = True
        dead: DeadTask = pool.dead[task.id]
        assert (dead.id, dead.data, dead.origin) == (task.id, "data", None)
        assert dead.metadata == {"a": 1, "b": 2}
        assert dead.attempts == task.attempts
        assert dead.history == task.history
        assert [a.outcome for a in dead.attempts] == [AttemptOutcome.ERROR] * 2
        assert (dead.attempt_count, dead.throttles, dead.times.backoff) == (2, 0, 5)


async def test_a_requeued_task_keeps_its_wishes_and_starts_with_fresh_attempts() -> None:
    """Its cost, its pin, its priority, its metadata; and it may die again."""
    a, b = Probe("a"), Probe("b", does=fails(), quota=Quota(tokens=Window(10, per=50)))
    async with Pool([a, b], retry=RetryPolicy.fixed(0, attempts=2), debug=True) as pool:
        first = pool.submit(1, worker="b", cost={"tokens": 4}, metadata={"k": "v"})
        await first.wait()
        again = pool.dead.requeue(first.id)
        assert first.id not in pool.dead
        assert (again.id != first.id, again.origin, again.metadata) == (True, first.id, {"k": "v"})
        await again.wait()
        assert now() == 50
        assert again.attempt_count == 2
        assert [dead.id for dead in pool.dead] == [again.id]
        b.does = None
        assert await pool.dead.requeue(again.id) == 1
    assert a.starts == []


async def test_what_is_not_there_is_a_key_error_and_a_closed_pool_keeps_its_dead() -> None:
    """They may be taken out after the end, but not tried again."""
    pool = Pool([Probe(does=fails())], retry=ONE, debug=True)
    async with pool:
        await pool.submit(1).wait()
        for look in (pool.dead.pull, pool.dead.requeue, pool.dead.__getitem__):
            with pytest.raises(KeyError):
                look(99)
    with pytest.raises(PoolClosed):
        pool.dead.requeue(1)
    assert [dead.id for dead in pool.dead.pull_all()] == [1]


async def test_cancelled_and_dropped_tasks_are_not_among_the_dead() -> None:
    """Nobody need look at them again."""
    hooks = Hooks(on_failure=lambda failed: FailureAction.DROP)
    async with Pool([Probe(does=fails())], hooks=hooks, debug=True) as pool:
        dropped = pool.submit(1)
        with pytest.raises(ValueError, match="attempt"):
            await dropped
        cancelled = pool.submit(2)
        cancelled.cancel()
        await cancelled.wait()
        assert (dropped.state, cancelled.state) == (TaskState.DROPPED, TaskState.CANCELLED)
        assert len(pool.dead) == pool.dead.total == 0
        snapshot = pool.snapshot()
        assert (snapshot.dropped, snapshot.cancelled, snapshot.dead) == (1, 1, 0)


async def test_the_dead_may_be_requeued_while_they_are_iterated() -> None:
    """The iteration is over those present at its start."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=ONE, debug=True) as pool:
        for n in range(5):
            await pool.submit(n).wait()
        worker.does = None
        assert [await pool.dead.requeue(dead.id) for dead in pool.dead] == list(range(5))
        assert len(pool.dead) == 0


async def test_a_lack_of_capacity_kills_nobody() -> None:
    """Ten thousand tasks wait their turn for a thousand seconds."""
    quota = Quota(tokens=Bucket(1000, per=1))
    async with Pool([Probe(quota=quota)]) as pool:
        tasks = [pool.submit(n, cost={"tokens": 100}) for n in range(10_000)]
        assert await tasks[-1] == 9999
        assert now() == pytest.approx(999, abs=0.01)
        assert (pool.snapshot().succeeded, pool.dead.total) == (10_000, 0)
