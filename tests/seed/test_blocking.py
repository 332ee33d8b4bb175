"""Tasks that submit tasks of their own group and wait for them: T07 to T14, T38."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import pytest

from retrypool_async import Pool, RetryPolicy, TaskHandle
from retrypool_async.groups import (
    BlockingPool,
    GroupFailed,
    GroupMoved,
    GroupState,
    current_group,
)
from tests.pool.probe import Probe, now

ONE = RetryPolicy.fixed(0, attempts=1)
Work = Callable[[int], Awaitable[Any]]


def hiring(work: Work) -> Callable[[], Probe]:
    """A factory of workers that do this."""
    return lambda: Probe(does=work)


class Chain:
    """Task 1 waits for task 2, which waits for task 3; each first takes some time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.starts: dict[tuple[Hashable, int], float] = {}
        self.ends: list[tuple[Hashable, int]] = []
        self.runs: Counter[tuple[Hashable, int]] = Counter()

    async def work(self, number: int) -> int:
        task = (current_group().id, number)
        self.runs[task] += 1
        self.starts[task] = now()
        await asyncio.sleep(self.seconds)
        if number < 3:
            await current_group().submit(number + 1)
        self.ends.append(task)
        return number


async def test_a_chain_ends_from_its_last_link_backwards() -> None:
    """T07: three tasks of 100 ms; each starts before the one it waits for, and ends after it."""
    chain = Chain(0.1)
    async with Pool(debug=True) as pool, BlockingPool(pool, hiring(chain.work)) as groups:
        assert await groups.submit("groupA", 1) == 1
    a = "groupA"
    assert chain.starts == pytest.approx({(a, 1): 0, (a, 2): 0.1, (a, 3): 0.2})
    assert chain.ends == [(a, 3), (a, 2), (a, 1)]
    assert now() == pytest.approx(0.3)


async def test_two_groups_run_side_by_side() -> None:
    """T08: two chains of 50 ms, two groups at a time."""
    chain = Chain(0.05)
    factory = hiring(chain.work)
    async with Pool(debug=True) as pool, BlockingPool(pool, factory, max_groups=2) as groups:
        await asyncio.gather(groups.submit("groupA", 1), groups.submit("groupB", 1))
        assert now() == pytest.approx(0.15)
    for group in ("groupA", "groupB"):
        starts = [chain.starts[group, number] for number in (1, 2, 3)]
        assert starts == pytest.approx([0, 0.05, 0.1])


async def test_every_child_of_every_group_runs_once_and_after_its_parent() -> None:
    """T09: five groups; roots of 50 ms with one to three children of 20 to 49 ms."""
    rng = random.Random(9)
    starts: dict[int, float] = {}
    parents: dict[int, int] = {}

    async def work(number: int) -> None:
        assert number not in starts
        starts[number] = now()
        if number in parents:
            await asyncio.sleep(rng.randrange(20, 50) / 1000)
            return
        await asyncio.sleep(0.05)
        children = [number * 10 + n for n in range(1, 1 + rng.randint(1, 3))]
        parents.update(dict.fromkeys(children, number))
        await asyncio.gather(*(current_group().submit(child) for child in children))

    pool = Pool(debug=True)
    async with pool, BlockingPool(pool, hiring(work), max_groups=5) as groups:
        await asyncio.gather(*(groups.submit(g, g * 1000 + 1) for g in range(1, 6)))
    assert starts.keys() == parents.keys() | {g * 1000 + 1 for g in range(1, 6)}
    assert all(starts[child] == starts[parent] + 0.05 for child, parent in parents.items())


async def test_a_tasks_callbacks_are_called_once_each() -> None:
    """T10: submitted, started, completed."""
    seen: list[str] = []

    async def work(number: int) -> None:
        seen.append("runs")
        await asyncio.sleep(0.05)

    async with Pool(debug=True) as pool, BlockingPool(pool, hiring(work)) as groups:
        groups.submit(
            "group1",
            1,
            on_queued=lambda task: seen.append("submitted"),
            on_running=lambda task: seen.append("started"),
            on_done=lambda task: seen.append("completed"),
        )
        await groups.join()
        assert now() == 0.05
    assert seen == ["submitted", "started", "runs", "completed"]


async def test_each_group_is_told_of_once_at_each_step() -> None:
    """T11: a chain of three tasks and one of two, two groups at a time."""
    chain = Chain(0.05)
    moves: list[GroupMoved] = []
    pool = Pool(debug=True)
    async with (
        pool,
        BlockingPool(pool, hiring(chain.work), max_groups=2, on_group=moves.append) as groups,
    ):
        await asyncio.gather(groups.submit("group1", 1), groups.submit("group2", 2))
    steps = [GroupState.WAITING, GroupState.RUNNING, GroupState.SUCCEEDED]
    for group in ("group1", "group2"):
        assert [move.new for move in moves if move.group.id == group] == steps
    assert set(chain.runs.values()) == {1}
    assert len(chain.runs) == 5


async def test_a_failure_ends_the_group_once_and_cancels_the_rest() -> None:
    """T12: task 1 waits for task 2, which fails."""
    error = ValueError("chain broken")
    runs: list[int] = []
    moves: list[GroupMoved] = []

    async def work(number: int) -> None:
        runs.append(number)
        if number == 2:
            raise error
        await current_group().submit(2)

    pool = Pool(retry=ONE, debug=True)
    async with pool, BlockingPool(pool, hiring(work), on_group=moves.append) as groups:
        first = groups.submit("group1", 1)
        group = groups.group("group1")
        with pytest.raises(GroupFailed) as failure:
            await group
        assert failure.value.exceptions == (error,)
        assert first.cancelled()
        assert group.unfinished == (first,)
        assert groups.groups == ()
    assert runs == [1, 2]
    assert [move.new for move in moves if move.new.final] == [GroupState.FAILED]


@pytest.mark.parametrize("waits", [True, False], ids=["T13", "T14"])
async def test_ten_children_pass_through_the_one_worker_that_is_left(waits: bool) -> None:
    """T13, T14: two workers; the root waits for its children or not. All run before the close."""
    runs: list[int] = []

    async def work(number: int) -> None:
        runs.append(number)
        if number == 1:
            children: list[TaskHandle[Any]] = [
                current_group().submit(child) for child in range(2, 12)
            ]
            if waits:
                await asyncio.gather(*children)

    pool = Pool(debug=True)
    async with pool, BlockingPool(pool, hiring(work), max_workers=2) as groups:
        await groups.submit("group1", 1)
    assert sorted(runs) == list(range(1, 12))


async def test_a_hundred_groups_run_and_end_once_each() -> None:
    """T38: chains of three tasks of 10 ms with a payload, two groups at a time."""
    runs: Counter[tuple[Hashable, int]] = Counter()
    ends: Counter[Hashable] = Counter()

    async def work(data: tuple[int, bytearray]) -> None:
        number, payload = data
        runs[current_group().id, number] += 1
        await asyncio.sleep(0.01)
        if number < 3:
            await current_group().submit((number + 1, bytearray(payload)))

    def count(move: GroupMoved) -> None:
        if move.new.final:
            ends[move.group.id] += 1

    pool = Pool()
    async with pool, BlockingPool(pool, hiring(work), max_groups=2, on_group=count) as groups:
        await asyncio.gather(*(groups.submit(g, (1, bytearray(1000))) for g in range(100)))
        await groups.join()
        assert groups.groups == ()
    assert now() == pytest.approx(100 / 2 * 0.03)
    assert runs == {(g, number): 1 for g in range(100) for number in (1, 2, 3)}
    assert ends == dict.fromkeys(range(100), 1)
