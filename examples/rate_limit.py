"""One limit on everything the pool starts: in a strict window, or with a burst and a steady rate.

Output:
window, 3 per 0.5 s: [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 1.0]
bucket, 2 per 0.4 s: [0.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
"""

import asyncio

from retrypool_async import Bucket, FunctionWorker, Pool, Quota, Window


async def call(data: list[float]) -> None:
    data.append(asyncio.get_running_loop().time())


async def starts(quota: Quota) -> list[float]:
    times: list[float] = []
    workers = [FunctionWorker(call) for _ in range(3)]
    async with Pool(workers, quota=quota) as pool:  # shared by all workers, retries included
        began = asyncio.get_running_loop().time()
        for _ in range(7):
            pool.submit(times)
        await pool.join()
    return [round(time - began, 1) for time in times]


async def main() -> None:
    print("window, 3 per 0.5 s:", await starts(Quota(Window(3, per=0.5))))
    print("bucket, 2 per 0.4 s:", await starts(Quota(Bucket(2, per=0.4))))


if __name__ == "__main__":
    asyncio.run(main())
