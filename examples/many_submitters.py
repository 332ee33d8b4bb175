"""A thousand submitters, ten workers, and a look at the progress every 0.3 seconds.

Output:
 0 running, about 1000 to go
10 running, about  700 to go
10 running, about  400 to go
10 running, about  100 to go
 0 running, about    0 to go
sum of all results: 499500
workers: 10, tasks in all: 1000
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, Snapshot, TaskState


async def work(data: int) -> int:
    await asyncio.sleep(0.01)
    return data


async def main() -> None:
    async with Pool([FunctionWorker(work) for _ in range(10)], max_queue=None) as pool:

        async def submitter(n: int) -> int:
            return await pool.submit(n)

        def idle(snapshot: Snapshot) -> bool:
            running = snapshot.tasks[TaskState.RUNNING]
            left = snapshot.submitted - snapshot.succeeded
            print(f"{running:2} running, about {round(left, -2):4} to go")
            return left == 0

        everybody = asyncio.gather(*(submitter(n) for n in range(1000)))
        await asyncio.sleep(0)  # let them submit
        await pool.wait_until(idle, interval=0.3)
        print("sum of all results:", sum(await everybody))
        served = [worker.served for worker in pool.snapshot().workers]
        print(f"workers: {len(served)}, tasks in all: {sum(served)}")


if __name__ == "__main__":
    asyncio.run(main())
