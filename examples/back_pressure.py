"""A producer that is faster than the workers: refuse it, hold it back, or shed what has waited.

Output:
in a burst of 10, 6 are refused
the producer was held back for 0.6 s
of 4 that would not wait longer than 0.15 s, 2 were shed
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, QueueFull, QueueTimeout


async def work(data: int) -> int:
    await asyncio.sleep(0.1)
    return data


async def main() -> None:
    loop = asyncio.get_running_loop()
    async with Pool([FunctionWorker(work)], max_queue=3) as pool:
        refused = 0
        for n in range(10):
            try:
                pool.submit(n)
            except QueueFull:
                refused += 1
        print(f"in a burst of 10, {refused} are refused")
        await pool.join()

        began = loop.time()
        for n in range(10):
            await pool.enqueue(n)  # waits for room, and nobody is refused
        print(f"the producer was held back for {loop.time() - began:.1f} s")
        await pool.join()

        tasks = [pool.submit(n, queue_timeout=0.15) for n in range(4)]
        shed = 0
        for task in tasks:
            try:
                await task
            except QueueTimeout:
                shed += 1  # a caller that waited so long has gone away
        print(f"of 4 that would not wait longer than 0.15 s, {shed} were shed")


if __name__ == "__main__":
    asyncio.run(main())
