"""What type checkers must see of the public surface. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, assert_type

from retrypool_async import (
    Attempt,
    DeadTask,
    FunctionWorker,
    Hooks,
    Move,
    Pool,
    Quota,
    ResourceWorker,
    RetryPolicy,
    Snapshot,
    TaskHandle,
    ThreadWorker,
    Throttled,
    Verdict,
    Window,
    Worker,
    WorkerRef,
)


class Text(Worker[int, str]):
    quota = Quota(requests=Window(60, per=60), tokens=[Window(100, per=1)])

    async def run(self, number: int, /) -> str:
        return str(number)

    def classify(self, error: Exception) -> Verdict | None:
        return Throttled(retry_after=5)


async def double(data: int) -> float:
    return data * 2.0


def blocking(data: bytes) -> int:
    return len(data)


class Connection:
    async def send(self, data: str) -> bool:
        return bool(data)


def connect() -> AbstractAsyncContextManager[Connection]:
    raise NotImplementedError


async def call(connection: Connection, data: str) -> bool:
    return await connection.send(data)


async def submitting() -> None:
    async with Pool([Text()], retry=RetryPolicy.fixed(1), cost=lambda data: data) as pool:
        assert_type(pool, Pool[int, str])
        handle = pool.submit(1, cost={"tokens": 5}, bounce=True, require="gpu")
        assert_type(handle, TaskHandle[str])
        assert_type(await handle, str)
        assert_type(await pool.enqueue(1, priority=2), TaskHandle[str])
        assert_type(handle.result(), str)
        assert_type(handle.attempts, tuple[Attempt, ...])
        assert_type(handle.history, tuple[Move, ...])
        assert_type(handle.worker, WorkerRef | None)
        assert_type(await handle.wait(1), bool)
        assert_type(pool.map([1, 2]), AsyncIterator[str])
        assert_type(pool.map([1], return_exceptions=True), AsyncIterator[str | BaseException])
        async for ended in pool.as_completed([1]):
            assert_type(ended, TaskHandle[str])
        assert_type(pool.snapshot(), Snapshot)
        assert_type(await pool.add(Text()), WorkerRef)
        pool.submit("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def workers() -> None:
    assert_type(FunctionWorker(double, name="a"), FunctionWorker[int, float])
    assert_type(ThreadWorker(blocking), ThreadWorker[bytes, int])
    assert_type(ResourceWorker(connect, call), ResourceWorker[Connection, str, bool])
    assert_type(Pool([FunctionWorker(double)]), Pool[int, float])


def hooks() -> None:
    def died(dead: DeadTask) -> Any:
        return dead.id

    Hooks(on_dead=died, on_attempt=lambda ended: ended.attempt.duration)
