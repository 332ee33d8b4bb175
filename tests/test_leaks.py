"""A pool that has done its work is as large as it was before, however the tasks ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from collections import Counter
from itertools import cycle, islice
from typing import Any

import pytest

from retrypool_async import (
    Bounce,
    Bucket,
    Discard,
    Hooks,
    Pool,
    Quota,
    RetryPolicy,
    Snooze,
    Throttled,
    Window,
    Worker,
    WorkerLost,
    current_task,
)

#: What happens to a task, and what it was submitted with.
KINDS: list[tuple[Any, dict[str, Any]]] = [
    (None, {}),
    (None, {"timeout": 3600, "attempt_timeout": 3600}),
    (None, {"queue_timeout": 3600, "priority": 2}),
    (None, {"cost": {"tokens": 7}, "metadata": {"page": 1}}),
    (None, {"require": "even", "aging": 5}),
    (None, {"worker": "w1", "detach": True}),
    (None, {"on_queued": id, "on_running": id, "on_done": id}),
    (ConnectionError, {}),
    (ConnectionError, {"bounce": True}),
    (ConnectionError, {"immediate": True}),
    (Bounce, {}),
    (Throttled(0.01), {}),
    (Snooze(0.01), {}),
    (WorkerLost, {}),
    (Discard, {}),
    ("fails always", {"bounce": True}),
    ("hangs", {"attempt_timeout": 0.01}),
    ("hangs", {"timeout": 0.01}),
    ("is cancelled", {}),
]


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of a death, pytest keeps."""
    caplog.set_level(logging.CRITICAL, "retrypool_async")


class Unreliable(Worker[Any, object]):
    """Lets each task have its fate once, and returns something new the next time."""

    def __init__(self, number: int) -> None:
        self.name = f"w{number}"
        self.tags = {"even"} if number % 2 == 0 else set()
        self.quota = Quota(requests=Window(20, per=0.1), tokens=Bucket(500, per=1))

    async def run(self, data: Any) -> object:
        notes = current_task().metadata
        if data in ("hangs", "is cancelled"):
            await asyncio.sleep(10)
        elif data == "fails always":
            raise ValueError(data)
        elif data is not None and "ran" not in notes:
            notes["ran"] = True
            raise data
        return [notes]


async def one_round(pool: Pool[Any, object], tasks: int) -> None:
    """Run so many tasks, while a worker comes and goes, and let all time limits pass."""
    events = pool.events()
    guest = await pool.add(Unreliable(99))
    for n, (data, options) in enumerate(islice(cycle(KINDS), tasks)):
        task = await pool.enqueue(data, **options)
        if data == "is cancelled":
            task.cancel()
        if n == tasks // 2:
            await pool.remove(guest, force=True)
            await events.aclose()
    await pool.join()
    await asyncio.sleep(7200)


def pool_of(workers: int) -> Pool[Any, object]:
    return Pool(
        [Unreliable(n) for n in range(workers)],
        retry=RetryPolicy.fixed(0.001),
        hooks=Hooks(on_attempt=id, on_success=id, on_dead=id, on_event=id),
        max_queue=100,
        dead_limit=50,
    )


def objects() -> Counter[str]:
    """The objects that the collector knows, by type."""
    for _ in range(4):  # tuples leave its books one level of nesting at a time
        gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects())


async def test_equal_rounds_leave_equally_many_objects() -> None:
    """Of every type, once the first has filled what is kept within limits."""
    async with pool_of(8) as pool:
        await one_round(pool, 3000)
        objects()  # the first count leaves things in the caches of Python
        before = objects()
        await one_round(pool, 3000)
        # Each kind of task came 158 times; a few are for what Python itself keeps.
        assert {name: n for name, n in (objects() - before).items() if n > 20} == {}


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_many_tasks_leave_no_more_memory_than_few() -> None:
    """Also of what the collector does not know."""
    kept: list[int] = []
    tracemalloc.start()
    try:
        async with pool_of(8) as pool:
            for tasks in (1000, 1000, 5000):
                await one_round(pool, tasks)
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    _, few, many = kept
    # Less than the smallest object for each; Python's own free lists come and go by as much.
    assert many - few < 4 * 5000
