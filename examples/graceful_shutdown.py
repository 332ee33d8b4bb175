"""What runs is finished, what waits is handed back, and the report says so.

Output:
finished: 1, 2
handed back: 3, 4
late: the pool is closing or closed
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, PoolClosed


async def job(data: int) -> int:
    await asyncio.sleep(2)
    return data


async def main() -> None:
    pool = Pool([FunctionWorker(job), FunctionWorker(job)])
    await pool.start()
    tasks = [pool.submit(n) for n in (1, 2, 3, 4)]
    await asyncio.sleep(1)
    closing = asyncio.ensure_future(pool.close("running"))
    await asyncio.sleep(0)
    late = ""
    try:
        pool.submit(5)
    except PoolClosed as error:
        late = str(error)
    report = await closing
    print("finished:", ", ".join(str(t.result()) for t in tasks if not t.cancelled()))
    print("handed back:", ", ".join(str(task.data) for task in report.unfinished))
    print("late:", late)


if __name__ == "__main__":
    asyncio.run(main())
