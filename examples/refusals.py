"""What `submit` refuses, it refuses at once, with an error that says what to do.

Output:
PoolClosed: the pool is not started; use `async with pool:` or `start()`
Unroutable: no worker carries the required tags: gpu
CostTooLarge: cost tokens=101 exceeds the largest quota of any worker it may run on (100)
ValueError: unknown cost dimension 'token'; known: requests, tokens
QueueFull: 2 tasks are waiting already; wait with enqueue() or raise max_queue
done: [0, 1, 2, 3]
NoWorkers: the pool has no worker; add one, or submit with wait_for_worker
PoolClosed: the pool is closing or closed
"""

import asyncio
from collections.abc import Callable

from retrypool_async import (
    CostTooLarge,
    FunctionWorker,
    NoWorkers,
    Pool,
    PoolClosed,
    QueueFull,
    Quota,
    Unroutable,
    Window,
)


async def work(data: int) -> int:
    await asyncio.sleep(0.1)
    return data


def refused(call: Callable[[], object]) -> None:
    try:
        call()
    except (CostTooLarge, NoWorkers, PoolClosed, QueueFull, Unroutable, ValueError) as error:
        print(f"{type(error).__name__}: {error}")


async def main() -> None:
    worker = FunctionWorker(work, name="w", quota=Quota(tokens=Window(100, per=1)))
    pool = Pool([worker], max_queue=2)
    refused(lambda: pool.submit(0))
    async with pool:
        refused(lambda: pool.submit(0, require="gpu"))
        refused(lambda: pool.submit(0, cost={"tokens": 101}))
        refused(lambda: pool.submit(0, cost={"token": 1}))
        tasks = [pool.submit(n) for n in range(3)]  # one runs, two wait
        refused(lambda: pool.submit(3))
        tasks.append(await pool.enqueue(3))  # waits for room instead
        print("done:", [await task for task in tasks])
        await pool.remove("w")
        refused(lambda: pool.submit(4))
    refused(lambda: pool.submit(5))


if __name__ == "__main__":
    asyncio.run(main())
