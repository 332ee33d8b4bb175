"""Five workers, ten tasks, and the results in order: the smallest useful program.

Output:
results: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
tasks per worker: [2, 2, 2, 2, 2]
"""

import asyncio

from retrypool_async import FunctionWorker, Pool


async def square(data: int) -> int:
    await asyncio.sleep(0.1)  # the real work
    return data * data


async def main() -> None:
    async with Pool([FunctionWorker(square) for _ in range(5)]) as pool:
        tasks = [pool.submit(n) for n in range(10)]  # never waits
        print("results:", [await task for task in tasks])
        print("tasks per worker:", [worker.served for worker in pool.snapshot().workers])


if __name__ == "__main__":
    asyncio.run(main())
