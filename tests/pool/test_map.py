"""Iterating over results: lazily, in order or as they come, and safely left at any point."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from retrypool_async import CostTooLarge, Pool, PoolClosed, Quota, RetryPolicy, TaskState, Window
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


def idle(pool: Pool[Any, Any]) -> bool:
    tasks = pool.snapshot().tasks
    return tasks[TaskState.QUEUED] + tasks[TaskState.RUNNING] + tasks[TaskState.RESERVED] == 0


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_long_source_is_read_only_a_window_ahead(ordered: bool) -> None:
    """Never more than a hundred beyond what was consumed."""
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for n in range(5000):
            read += 1
            yield n

    async with Pool([Probe() for _ in range(4)]) as pool:
        consumed, furthest = 0, 0
        async for _ in pool.map(source(), window=100, ordered=ordered):
            consumed += 1
            furthest = max(furthest, read - consumed)
        assert consumed == 5000
        assert furthest <= 104


async def test_results_are_dropped_as_soon_as_they_are_consumed() -> None:
    """A slow consumer keeps the source back, and no more than a window of results alive."""

    class Result:
        pass

    alive: weakref.WeakSet[Result] = weakref.WeakSet()

    def work(data: object) -> Result:
        result = Result()
        alive.add(result)
        return result

    most = 0
    async with Pool([Probe(does=work) for _ in range(4)]) as pool:
        async for _ in pool.map(range(1000), window=20):
            await asyncio.sleep(1)
            most = max(most, len(alive))
    assert most <= 25


async def test_an_async_source_is_as_good_as_a_sync_one() -> None:
    """A slow one delays no result that is there."""
    arrived: list[float] = []

    async def source() -> AsyncIterator[int]:
        for n in range(3):
            yield n
            await asyncio.sleep(10)

    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        async for _ in pool.map(source()):
            arrived.append(now())
    assert arrived == [1, 11, 21]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_error_of_the_source_comes_after_the_results_before_it(kind: str) -> None:
    """Nothing is lost, nothing goes on."""

    def broken() -> Iterator[int]:
        yield 0
        yield 1
        raise ZeroDivisionError

    async def broken_async() -> AsyncIterator[int]:
        for value in broken():
            yield value

    got: list[int] = []
    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        with pytest.raises(ZeroDivisionError):
            async for value in pool.map(broken() if kind == "sync" else broken_async()):
                got.append(value)
        assert idle(pool)
    assert got == [0, 1]


@pytest.mark.parametrize("way", ["break", "error", "cancel"])
async def test_leaving_early_cancels_what_is_under_way(way: str) -> None:
    """At once, and the pool serves on."""
    async with Pool([Probe(does=takes(1)) for _ in range(2)], debug=True) as pool:

        async def consume() -> None:
            async with aclosing(pool.map(range(100), window=8)) as results:
                async for value in results:
                    if value == 3 and way == "break":
                        return
                    if value == 3 and way == "error":
                        raise KeyError

        consumer = asyncio.ensure_future(consume())
        await asyncio.sleep(2)
        await settle()
        if way == "cancel":
            consumer.cancel()
        await asyncio.wait([consumer])
        assert consumer.cancelled() is (way == "cancel")
        assert isinstance(None if consumer.cancelled() else consumer.exception(), KeyError) is (
            way == "error"
        )
        await settle()
        assert idle(pool)
        began = now()
        await pool.submit(1)
        assert now() == began + 1


async def test_a_refused_item_has_its_place_in_the_results() -> None:
    """Among the errors of others, in order."""
    worker = Probe(does=lambda d: fails()(d) if d == 1 else d, quota=Quota(Window(5, per=1)))
    async with Pool([worker], retry=ONE, cost=lambda d: 9 if d == 2 else 1, debug=True) as pool:
        values = [v async for v in pool.map(range(4), return_exceptions=True)]
        assert [type(value) for value in values] == [int, ValueError, CostTooLarge, int]
        got: list[int] = []
        with pytest.raises(CostTooLarge):
            async for value in pool.map([0, 3, 2, 5]):
                got.append(value)
        assert got == [0, 3]
        with pytest.raises(CostTooLarge):
            [h async for h in pool.as_completed([0, 2])]


async def test_as_completed_yields_in_the_order_of_the_ends() -> None:
    """Handles that have ended, failed ones too."""

    async def work(data: int) -> int:
        await asyncio.sleep(data)
        if data == 2:
            raise ValueError
        return data

    async with Pool([Probe(does=work) for _ in range(3)], retry=ONE, debug=True) as pool:
        ended = [(h.data, h.state, now()) async for h in pool.as_completed([3, 1, 2])]
    assert ended == [
        (1, TaskState.SUCCEEDED, 1),
        (2, TaskState.DEAD, 2),
        (3, TaskState.SUCCEEDED, 3),
    ]


async def test_a_map_over_a_closing_pool_ends_with_pool_closed() -> None:
    """It neither hangs nor swallows it."""
    got: list[int] = []
    pool = Pool([Probe(does=takes(1))], debug=True)
    await pool.start()

    async def consume() -> None:
        async for value in pool.map(range(100), window=4):
            got.append(value)

    consumer = asyncio.ensure_future(consume())
    await asyncio.sleep(2.5)
    await pool.close("cancel")
    with pytest.raises(PoolClosed):
        await consumer
    assert got == [0, 1]


async def test_an_empty_source_gives_nothing_and_bad_arguments_are_named() -> None:
    """At the call, before anything of the source is read."""
    async with Pool([Probe()], debug=True) as pool:
        assert [v async for v in pool.map([])] == []
        for arguments, field in (
            ({"window": 0}, "window"),
            ({"window": 1.5}, "window"),
            ({"ordered": 1}, "ordered"),
            ({"return_exceptions": "no"}, "return_exceptions"),
            ({"timout": 1}, "timout"),
        ):
            with pytest.raises((TypeError, ValueError), match=field):
                pool.map([1], **arguments)  # type: ignore[call-overload]
            if field in ("window", "timout"):
                with pytest.raises((TypeError, ValueError), match=field):
                    pool.as_completed([1], **arguments)  # type: ignore[arg-type]


async def test_the_options_hold_for_every_item() -> None:
    """A pin, a limit, a priority."""
    a, b = Probe("a", does=takes(1)), Probe("b", does=takes(1))
    async with Pool([a, b], retry=ONE, debug=True) as pool:
        values = [
            v async for v in pool.map(range(3), worker="b", timeout=2.5, return_exceptions=True)
        ]
        assert [type(value) for value in values] == [int, int, type(values[2])]
        assert isinstance(values[2], TimeoutError)
    assert (len(a.starts), len(b.starts)) == (0, 3)
