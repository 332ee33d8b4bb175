"""Test code that uses a pool: hours pass in milliseconds, and every time is exact.

Output:
passed, at 3612.0 s of virtual time
"""

import asyncio

from retrypool_async import Pool, Quota, RetryPolicy, Throttled, Window, WorkerState
from retrypool_async.testing import ScriptedWorker, collect, run_virtual


async def mirror(pool: Pool[str, str], pages: list[str]) -> list[str]:
    """The code under test."""
    return [text async for text in pool.map(pages)]


async def test_mirror_outlasts_a_refusal_and_a_broken_connection() -> None:
    worker = ScriptedWorker(
        [(1.0, "home"), Throttled(3600), ConnectionError(), (1.0, "news")],  # one per attempt
        name="site",
        quota=Quota(Window(100, per=60)),
    )
    pool = Pool([worker], retry=RetryPolicy.fixed(10))
    async with pool, collect(pool) as events:
        assert await mirror(pool, ["/", "/news"]) == ["home", "news"]
    assert [call.started for call in worker.calls] == [0, 1, 3601, 3611]
    assert worker.overlaps == 0
    assert (worker.opens, worker.closes) == (1, 1)
    assert WorkerState.COOLING in {event.new for event in events}


async def main() -> None:
    await test_mirror_outlasts_a_refusal_and_a_broken_connection()
    print("passed, at", asyncio.get_running_loop().time(), "s of virtual time")


if __name__ == "__main__":
    run_virtual(main)  # in pytest: see docs/how-to/testing.md
