"""Tasks of one key run one after the other, in the order in which they were submitted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from retrypool_async import (
    DeadlockDetected,
    NoWorkers,
    Pool,
    QueueFull,
    QueueTimeout,
    Quota,
    RetryPolicy,
    Snooze,
    TaskState,
    Throttled,
    Window,
    WorkerLost,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, now, takes

ONCE = RetryPolicy.fixed(0, attempts=1)


class Journal:
    """When each task began and ended."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.spans: list[tuple[Any, float, float]] = []
        self.failing: dict[Any, list[BaseException]] = {}

    async def __call__(self, data: Any) -> Any:
        began = now()
        await asyncio.sleep(self.seconds)
        self.spans.append((data, began, now()))
        if self.failing.get(data):
            raise self.failing[data].pop(0)
        return data


async def test_tasks_of_one_key_run_one_after_the_other_and_others_beside_them() -> None:
    """Three workers, two keys and one task of none."""
    does = Journal()
    async with Pool([Probe(does=does) for _ in range(3)], debug=True) as pool:
        for n in range(3):
            pool.submit(f"a{n}", order_key="a")
        pool.submit("b0", order_key="b")
        pool.submit("-")
        pool.submit("b1", order_key="b")
    assert sorted(does.spans) == [
        ("-", 0, 1),
        ("a0", 0, 1),
        ("a1", 1, 2),
        ("a2", 2, 3),
        ("b0", 0, 1),
        ("b1", 1, 2),
    ]


@pytest.mark.parametrize(
    ("error", "restart"),
    [
        (ValueError(), 6),
        (Throttled(4), 1),
        (Snooze(3), 4),
        (WorkerLost(), 1),
    ],
)
async def test_a_later_one_never_overtakes_one_that_will_be_tried_again(
    error: Exception, restart: float
) -> None:
    """Whatever the delay, and although a worker is free all the time."""
    does = Journal()
    does.failing["a0"] = [error]
    workers = [Probe(does=does) for _ in range(2)]
    async with Pool(workers, retry=RetryPolicy.fixed(5), debug=True) as pool:
        pool.submit("a0", order_key="a")
        pool.submit("a1", order_key="a")
    assert does.spans == [
        ("a0", 0, 1),
        ("a0", restart, restart + 1),
        ("a1", restart + 1, restart + 2),
    ]


async def test_when_one_dies_those_behind_it_go_on() -> None:
    """At once."""
    does = Journal()
    does.failing["a0"] = [ValueError()]
    async with Pool([Probe(does=does) for _ in range(2)], retry=ONCE, debug=True) as pool:
        first = pool.submit("a0", order_key="a")
        second = pool.submit("a1", order_key="a")
        await first.wait()
        assert await second == "a1"
    assert does.spans == [("a0", 0, 1), ("a1", 1, 2)]


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_one_that_is_cancelled_makes_room_for_the_next(cancelled: int) -> None:
    """While it waits for a worker, behind others, or last."""
    does = Journal()
    async with Pool([Probe(does=does)], debug=True) as pool:
        pool.submit("x")
        tasks = [pool.submit(n, order_key="a") for n in range(3)]
        assert tasks[cancelled].cancel()
        await pool.join()
    rest = [n for n in range(3) if n != cancelled]
    assert does.spans == [("x", 0, 1), (rest[0], 1, 2), (rest[1], 2, 3)]


async def test_a_running_one_that_is_cancelled_is_waited_for() -> None:
    """The next begins when it has unwound."""
    ended: list[float] = []

    async def does(data: int) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            if data == 0:
                await asyncio.sleep(2)
            ended.append(now())

    workers = [Probe(does=does) for _ in range(2)]
    async with Pool(workers, debug=True) as pool:
        first, second = (pool.submit(n, order_key="a") for n in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await second
        assert second.attempts[0].started == 3
    assert ended == [3, 13]


async def test_a_successor_keeps_the_place_in_line_of_its_submission() -> None:
    """It goes before what was submitted after it, and needs not wait for all of that."""
    does = Journal()
    async with Pool([Probe(does=does)], debug=True) as pool:
        for n in range(3):
            pool.submit(f"a{n}", order_key="a")
        for n in range(3):
            pool.submit(f"x{n}")
    assert [data for data, _, _ in does.spans] == ["a0", "a1", "a2", "x0", "x1", "x2"]


async def test_priority_does_not_change_the_order_within_a_key() -> None:
    """Only against others."""
    does = Journal()
    async with Pool([Probe(does=does)], debug=True) as pool:
        pool.submit("x")
        pool.submit("a0", order_key="a")
        pool.submit("a1", order_key="a", priority=9)
        pool.submit("y", priority=5)
    assert [data for data, _, _ in does.spans] == ["x", "y", "a0", "a1"]


async def test_each_may_have_wishes_and_limits_of_its_own() -> None:
    """Tags, a cost, an attempt limit, a lane; the order holds across them."""
    does = Journal()
    plain = Probe("plain", does=does)
    gpu = Probe("gpu", does=does, tags={"gpu"}, quota=Quota(Window(3, per=60)))
    async with Pool([plain, gpu], retry=ONCE, shutdown_timeout=None, debug=True) as pool:
        pool.submit(0, order_key="a", require="gpu", cost=3)
        pool.submit(1, order_key="a", worker="plain", lane="l")
        pool.submit(2, order_key="a", worker="gpu", cost=2)
        pool.submit(3, order_key="a", attempt_timeout=0.5)
        pool.submit(4, order_key="a", bounce=True, aging=5)
    assert does.spans == [(0, 0, 1), (1, 1, 2), (2, 60, 61), (4, 61.5, 62.5)]


async def test_a_limit_on_waiting_holds_behind_others_too() -> None:
    """Its reason is the order, and nobody knows when its turn comes."""
    async with Pool([Probe(does=takes(10)), Probe()], debug=True) as pool:
        first = pool.submit(0, order_key="a")
        late = pool.submit(1, order_key="a", queue_timeout=2)
        last = pool.submit(2, order_key="a", timeout=4)
        assert late.explain() == last.explain() == f"task {first.id} of its order_key goes first"
        with pytest.raises(QueueTimeout) as waited:
            await late
        assert (waited.value.reason, waited.value.next_available, now()) == ("order", None, 2)
        with pytest.raises(TimeoutError):
            await last
        assert now() == 4
        with pytest.raises(QueueTimeout):
            await pool.submit(3, order_key="a", queue_timeout=0)
        await first


async def test_those_behind_count_as_waiting() -> None:
    """In the snapshot, and against `max_queue`; one that is refused leaves no trace."""
    async with Pool([Probe(does=takes(1)), Probe()], max_queue=2, debug=True) as pool:
        tasks = [pool.submit(n, order_key="a") for n in range(3)]
        assert pool.snapshot().tasks[TaskState.QUEUED] == 2
        with pytest.raises(QueueFull):
            pool.submit(3, order_key="a")
        with pytest.raises(QueueFull):
            pool.submit(3, order_key="b", worker=0)
        await asyncio.gather(*tasks)
        assert await pool.submit(3, order_key="b", worker=0) == 3


async def test_when_their_worker_goes_all_of_them_end_one_after_the_other() -> None:
    """However many: each is judged when its turn comes."""
    async with Pool([Probe("w", does=takes(1)), Probe()], debug=False) as pool:
        tasks = [pool.submit(n, order_key="a", worker="w") for n in range(3000)]
        await asyncio.sleep(0.5)
        await pool.remove("w")
        assert await tasks[0] == 0
        for task in tasks[1:]:
            assert await task.wait(0)
        assert {type(task.error()).__name__ for task in tasks[1:]} == {"WorkerRemoved"}


async def test_nobody_to_run_it_is_told_at_submit_as_ever() -> None:
    """And a key that was refused is free."""
    async with Pool(debug=True) as pool:
        with pytest.raises(NoWorkers):
            pool.submit(1, order_key="a")
        waiting = pool.submit(2, order_key="a", wait_for_worker=True)
        await pool.add(Probe())
        assert await waiting == 2


@pytest.mark.parametrize("mode", ["drain", "running", "cancel"])
async def test_closing_ends_every_task_of_a_sequence(mode: Any) -> None:
    """A drain runs them all; the others end those that wait."""
    pool: Pool[Any, Any] = Pool([Probe(does=takes(1)) for _ in range(2)], debug=True)
    await pool.start()
    tasks = [pool.submit(n, order_key="a") for n in range(4)]
    await settle()
    report = await pool.close(mode)
    done = {"drain": 4, "running": 1, "cancel": 0}[mode]
    assert [task.state for task in tasks] == (
        [TaskState.SUCCEEDED] * done + [TaskState.CANCELLED] * (4 - done)
    )
    assert len(report.unfinished) == 4 - done


async def test_a_task_that_waits_for_a_later_one_of_its_key_is_told_so() -> None:
    """That one cannot start before the first has ended."""
    told: list[BaseException] = []

    async def does(data: int) -> None:
        if data == 0:
            try:
                await pool.submit(1, order_key="a")
            except DeadlockDetected as error:
                told.append(error)

    pool = Pool([Probe(does=does) for _ in range(3)], debug=True)
    async with pool:
        await pool.submit(0, order_key="a")
    assert len(told) == 1


async def test_a_cycle_through_a_sequence_is_found() -> None:
    """One waits for a task that is behind one that waits for the first."""
    told: list[int] = []

    def outer(data: int) -> Callable[[], Any]:
        async def wait() -> None:
            try:
                await parts[data]
            except DeadlockDetected:
                told.append(data)

        return wait

    async def does(data: int) -> None:
        await asyncio.sleep(1)
        if data in parts:
            await outer(data)()

    parts: dict[int, Any] = {}
    pool = Pool([Probe(does=does) for _ in range(4)], debug=True)
    async with pool:
        x = pool.submit(0)
        first = pool.submit(1, order_key="a")
        behind = pool.submit(2, order_key="a")
        parts[0], parts[1] = behind, x
        await asyncio.gather(x, first, behind)
    assert len(told) == 1


async def test_events_and_history_are_those_of_any_task() -> None:
    """Queued from its submit to its start."""
    async with Pool([Probe(does=takes(2))], debug=True) as pool:
        events = pool.events()
        tasks = [pool.submit(n, order_key="a") for n in range(2)]
        await asyncio.gather(*tasks)
        assert [(move.old.name, move.new.name, move.at) for move in tasks[1].history] == [
            ("CREATED", "PENDING", 0),
            ("PENDING", "QUEUED", 0),
            ("QUEUED", "RESERVED", 2),
            ("RESERVED", "RUNNING", 2),
            ("RUNNING", "SUCCEEDED", 4),
        ]
        assert tasks[1].times.queue == 2
        await events.aclose()


async def test_a_dead_one_that_is_submitted_again_goes_to_the_end() -> None:
    """It is a new task."""
    does = Journal()
    does.failing["a0"] = [ValueError()]
    async with Pool([Probe(does=does)], retry=ONCE, debug=True) as pool:
        await pool.submit("a0", order_key="a").wait()
        pool.submit("a1", order_key="a")
        pool.submit("a2", order_key="a")
        await pool.dead.requeue(next(iter(pool.dead)).id)
    assert [data for data, _, _ in does.spans] == ["a0", "a1", "a2", "a0"]


async def test_a_key_is_forgotten_with_its_last_task() -> None:
    """Ten thousand keys leave nothing behind."""
    async with Pool([Probe(does=fails()), Probe()], retry=ONCE) as pool:
        for n in range(10_000):
            pool.submit(n, order_key=n)
        await pool.join()
        assert pool._engine.ledger.sequences.lines == {}
