"""Three limits: on an attempt, on a task, and on the wait for the first start.

Output:
2 s: quick, after a first attempt that was cut off
4 s: the next attempt could not start within timeout (7 s)
5 s: not started, waiting for busy
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, QueueTimeout, RetryPolicy, TaskTimeout


async def call(data: list[float]) -> str:
    await asyncio.sleep(data.pop(0))
    return "quick"


async def main() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    def now() -> str:
        return f"{loop.time() - began:.0f} s"

    async with Pool([FunctionWorker(call)], retry=RetryPolicy.fixed(1, attempts=5)) as pool:
        answer = await pool.submit([60, 0], attempt_timeout=1)
        print(f"{now()}: {answer}, after a first attempt that was cut off")

        later = RetryPolicy.fixed(10)  # the next attempt would be at 14 s, the task ends at 9 s
        task = pool.submit([60, 60], attempt_timeout=2, timeout=7, retry=later)
        try:
            await task
        except TaskTimeout as error:
            print(f"{now()}: {error}")

        long = pool.submit([60])
        await asyncio.sleep(1)
        try:
            await pool.submit([0], queue_timeout=0)  # now or not at all
        except QueueTimeout as error:
            print(f"{now()}: not started, waiting for {error.reason}")
        long.cancel()


if __name__ == "__main__":
    asyncio.run(main())
